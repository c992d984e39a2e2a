import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import type { AgentUpstream } from '../../src/core/plan/agent-view.ts';
import { createGatewayDialler } from '../../src/agent/gateway-dialler.ts';
import { reset } from '../../src/relay/reset.ts';
import { loopback, productpage, settings } from '../support/gateway.ts';
import { makePki } from '../support/pki.ts';

describe('a connection to a gateway', () => {
  // Where it may not, the process ends by SIGSEGV, and this run with it.
  it('may be reset by whoever gets it at once', async () => {
    const pki = makePki();
    const { certificateChainPem: cert, privateKeyPem: key } = pki.issue(settings.identity);
    const server = tls.createServer({ cert, key, ca: pki.rootPem, requestCert: true }, (socket) => {
      socket.on('error', () => undefined);
      socket.write('what a server says first');
    });
    server.listen(0, loopback);
    await once(server, 'listening');
    const upstream = { serverName: 'partner', serverIdentities: [settings.identity] } as unknown as AgentUpstream; // the rest is nothing to it
    const dial = createGatewayDialler({ current: pki.issue(productpage), subscribe: () => () => undefined }, { now: Date.now, dialTimeoutMs: 2_000 });
    for (let turn = 0; turn < 5; turn++) {
      const socket = await dial(upstream, { address: loopback, port: (server.address() as AddressInfo).port }, new AbortController().signal);
      const closed = once(socket, 'close');
      reset(socket);
      await closed;
    }
    server.close();
  });
});
