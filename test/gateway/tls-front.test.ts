import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { createTlsFront, type HandshakeRefusal } from '../../src/gateway/tls-front.ts';
import { loopback, productpage, settings, until } from '../support/gateway.ts';
import { makePki } from '../support/pki.ts';

describe('TLS handshakes', () => {
  it('are bounded in number: beyond that, a connection is reset at once and the others are not disturbed', async () => {
    const pki = makePki();
    const refusals: HandshakeRefusal[] = [];
    const verified: string[] = [];
    const front = createTlsFront({ material: pki.issue(settings.identity), handshakeTimeoutMs: () => 1_000, isRevoked: () => false, now: Date.now, handshakesMax: 3 });
    const listener = net.createServer((carrier) => front.accept(carrier, { refused: (refusal) => refusals.push(refusal), verified: (socket, peer) => (socket.destroy(), verified.push(peer.spiffeId)) }));
    listener.listen(0, loopback);
    await once(listener, 'listening');
    const { port } = listener.address() as net.AddressInfo;
    const silent = Array.from({ length: 2 }, () => net.connect(port, loopback).on('error', () => undefined));
    await until(() => front.handshakes === 2);
    const { certificateChainPem: cert, privateKeyPem: key } = pki.issue(productpage);
    const client = tls.connect({ host: loopback, port, cert, key, ca: pki.rootPem, checkServerIdentity: () => undefined }).on('error', () => undefined);
    await until(() => verified.length === 1);
    silent.push(net.connect(port, loopback).on('error', () => undefined));
    await until(() => front.handshakes === 3);
    const beyond = net.connect(port, loopback);
    const [error] = (await once(beyond, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    assert.deepEqual(refusals.map(({ reason }) => reason), ['limit-exceeded']);
    for (const socket of [...silent, client, beyond]) socket.destroy();
    await until(() => front.handshakes === 0, undefined, 3_000);
    listener.close();
  });
});
