/** The smallest pipes that Node can make, each a process: what a mesh would do without anything that knows FTP, with mTLS between two of them or without. */
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import type { Issued } from '../../test/support/pki.ts';

/** What a pipe's process is told: from the same ports of one address to those of another. */
export interface PipeOrder {
  readonly kind: 'wrap' | 'unwrap' | 'plain';
  readonly identity: Issued;
  readonly from: string;
  readonly to: string;
  readonly ports: readonly number[];
}

const ciphers = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256';

/** Runs in a process forked for it. */
export async function runPipe(): Promise<void> {
  const [{ kind, identity, from, to, ports }] = (await once(process, 'message')) as [PipeOrder];
  const context = { cert: identity.certificateChainPem, key: identity.privateKeyPem, ca: identity.trustBundlePem, ciphers };
  const secureContext = tls.createSecureContext(context);
  const carry = (client: net.Socket, target: net.Socket): void => {
    client.pipe(target).pipe(client);
    for (const socket of [client, target]) socket.on('error', () => undefined);
  };
  const options = { noDelay: true, allowHalfOpen: true };
  const connect = (port: number): net.Socket => net.connect({ ...options, host: to, port });
  const listener: Readonly<Record<PipeOrder['kind'], (port: number) => net.Server>> = {
    wrap: (port) => net.createServer(options, (client) => carry(client, tls.connect({ socket: connect(port), secureContext, checkServerIdentity: () => undefined }))),
    unwrap: (port) => tls.createServer({ ...options, ...context, requestCert: true }, (client) => carry(client, connect(port))),
    plain: (port) => net.createServer(options, (client) => carry(client, connect(port))),
  };
  await Promise.all(ports.map((port) => once(listener[kind](port).listen(port, from), 'listening')));
  process.send?.('ready');
}
