/** Where the admin API is heard: a Unix socket that only its owner can open, and mTLS for named administrators. */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { TLSSocket } from 'node:tls';
import { SallyportError } from '../core/errors.ts';
import { parseX509Svid, type X509Svid } from '../core/x509/x509-svid.ts';
import { listening } from './listening.ts';

const timeouts = { requestTimeout: 60_000, headersTimeout: 10_000, connectionsCheckingInterval: 5_000 } as const;

/** Listens on a Unix socket of mode 0600. A socket file that nobody answers on is a leftover and is replaced. */
export async function listenOnUnixSocket(path: string, listener: RequestListener): Promise<Server> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  if (await isAnswered(path)) throw new SallyportError('journal-locked', `another control plane answers on ${JSON.stringify(path)}`, { hint: 'stop it, or give --socket another path' });
  await rm(path, { force: true });
  const server = createHttpServer(timeouts, listener);
  // The umask closes the moment between creation and chmod.
  const previousUmask = process.umask(0o177);
  try {
    await listening(server, path, () => server.listen(path));
  } finally {
    process.umask(previousUmask);
  }
  await chmod(path, 0o600);
  return server;
}

/** Listens in plain HTTP: for what anybody on that address may read. */
export async function listenOnPlainHttp(endpoint: { readonly host: string; readonly port: number }, listener: RequestListener): Promise<Server> {
  const server = createHttpServer(timeouts, listener);
  await listening(server, `${endpoint.host}:${endpoint.port}`, () => server.listen(endpoint));
  return server;
}

export interface AdminTls {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

/** Listens with mTLS 1.3. The certificate is replaced by `setSecureContext` as it is renewed. */
export async function listenOnMutualTls(endpoint: { readonly host: string; readonly port: number }, tls: AdminTls, listener: RequestListener) {
  const server = createHttpsServer({ ...timeouts, ...tlsOptions(tls), requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', allowPartialTrustChain: true }, listener);
  await listening(server, `${endpoint.host}:${endpoint.port}`, () => server.listen(endpoint));
  return server;
}

export function tlsOptions({ certificateChainPem, privateKeyPem, trustBundlePem }: AdminTls) {
  return { cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem };
}

/** The SPIFFE ID of an mTLS caller, who must be one of `administrators`. TLS has verified the chain. */
export function authorizeAdministrator(request: IncomingMessage, administrators: ReadonlySet<string>, isRevoked: (svid: X509Svid) => boolean): string {
  const certificate = request.socket instanceof TLSSocket ? request.socket.getPeerX509Certificate() : undefined;
  const parsed = certificate === undefined ? undefined : parseX509Svid(certificate.raw);
  if (!parsed?.ok) throw new SallyportError('admin-unauthorized', 'the client certificate is not an X509-SVID', { hint: 'make one: sallyport cert issue --purpose admin SPIFFE-ID' });
  const { spiffeId } = parsed.svid;
  if (!administrators.has(spiffeId) || isRevoked(parsed.svid)) {
    throw new SallyportError('admin-unauthorized', `${spiffeId} is not an administrator`, { value: spiffeId, hint: `start the control plane with --admin ${spiffeId}` });
  }
  return spiffeId;
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
