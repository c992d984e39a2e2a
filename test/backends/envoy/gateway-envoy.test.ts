import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Grant } from '../../../src/core/plan/plan.ts';
import { grantTo, readAll, servicePort, startServer, until, type TestServer } from '../../support/gateway.ts';
import { requirePeer } from '../../support/peers.ts';
import { startEnvoyGateway, workload, type EnvoyGateway } from './envoy-gateway.ts';

/** A server that speaks first, and says to whom. */
const greet = (): Promise<TestServer> => startServer((socket) => socket.end(`220 ${socket.remoteAddress}\r\n`));
/** A server that holds its connections. */
const hold = (): Promise<TestServer> => startServer((socket) => socket.write('220 ready\r\n'));

const account = (namespace: string, serviceAccount: string, address: string): Grant => grantTo(namespace, address, { subject: { namespace, serviceAccount } });

describe('a stock Envoy as a gateway', function () {
  this.timeout(40_000);
  const stops: (() => unknown)[] = [];
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });
  const ended = <Stoppable extends { stop(): unknown }>(each: Stoppable): Stoppable => {
    stops.push(() => each.stop());
    return each;
  };

  it('lets each of many identities that come at the same moment leave from its own address', async function () {
    const program = requirePeer(this, 'envoy');
    const target = ended(await greet());
    const namespaces = Array.from({ length: 6 }, (_, index) => `team-${index}`);
    const grants = namespaces.map((namespace, index) => grantTo(namespace, `127.0.1.${index + 1}`));
    const gateway = ended(await startEnvoyGateway(program, [servicePort({ targetPort: target.port, grants })]));
    const workloads = namespaces.map((namespace) => workload(gateway.pki, namespace));
    for (let round = 0; round < 5; round += 1) {
      const said = await Promise.all(workloads.map((identity) => gateway.ask(identity)));
      assert.deepEqual(said, namespaces.map((_, index) => `220 127.0.1.${index + 1}\r\n`));
    }
  });
});
