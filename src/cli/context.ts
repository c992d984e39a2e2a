/** What every command is given: where to print, where the control plane is, and the options that all of them share. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { createAdminClient, type AdminClient } from '../api/admin-client.ts';
import { SallyportError } from '../core/errors.ts';
import { parseSpiffeId } from '../core/spiffe-id.ts';

export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Buffer>;
  /** Data. */
  out(line: string): void;
  /** Talk. */
  say(line: string): void;
  /** The exit status of a command that answered "no" or found differences. */
  setExitStatus(status: number): void;
  /** Aborted by SIGINT and SIGTERM from the first call on; a command that does not ask ends by them, as programs do. */
  interruption(): AbortSignal;
}

/** Where `serve`, `gateway` and `agent` keep what must survive them. */
export function defaultStateDirectory(env: CliContext['env'], part: string): string {
  const base = env['SALLYPORT_STATE'] ?? (process.getuid?.() === 0 ? '/var/lib/sallyport' : join(env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state'), 'sallyport'));
  return join(base, part);
}

export function defaultSocketPath(env: CliContext['env']): string {
  return env['SALLYPORT_SOCKET'] ?? join(defaultStateDirectory(env, 'control'), 'admin.sock');
}

interface ServerOptions {
  readonly server?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly trustBundle?: string;
  readonly serverIdentity?: string;
}

/** Adds the options that say where the control plane is. */
export function withServerOptions(command: Command): Command {
  return command
    .addOption(new Option('--server <address>', 'control plane: the path of its Unix socket, or HOST:PORT for mTLS').env('SALLYPORT_SERVER').helpGroup('Control plane:'))
    .addOption(new Option('--cert <file>', "administrator's certificate chain, PEM (mTLS)").env('SALLYPORT_CERT').helpGroup('Control plane:'))
    .addOption(new Option('--key <file>', 'its private key, PEM (mTLS)').env('SALLYPORT_KEY').helpGroup('Control plane:'))
    .addOption(new Option('--trust-bundle <file>', 'trust bundle, PEM (mTLS)').env('SALLYPORT_TRUST_BUNDLE').helpGroup('Control plane:'))
    .addOption(new Option('--server-identity <spiffe-id>', "the control plane's SPIFFE ID (mTLS)").default('spiffe://cluster.local/ns/sallyport-system/sa/control').env('SALLYPORT_SERVER_IDENTITY').helpGroup('Control plane:'));
}

export function adminClientOf(context: CliContext, options: ServerOptions): AdminClient {
  const { server = defaultSocketPath(context.env) } = options;
  const endpoint = /^(?:\[([^\]]+)\]|([^/:]+)):([0-9]{1,5})$/.exec(server);
  if (endpoint === null) return createAdminClient({ kind: 'unix', socketPath: server });
  const { cert, key, trustBundle, serverIdentity = '' } = options;
  if (cert === undefined || key === undefined || trustBundle === undefined) {
    throw new SallyportError('usage', `${JSON.stringify(server)} is spoken to with mTLS, which needs --cert, --key and --trust-bundle`, { hint: 'make a certificate: sallyport cert issue --purpose admin SPIFFE-ID' });
  }
  const identity = parseSpiffeId(serverIdentity);
  if (!identity.ok) throw new SallyportError('usage', identity.reason, { place: '--server-identity' });
  return createAdminClient({
    kind: 'mtls',
    host: endpoint[1] ?? endpoint[2]!,
    port: Number(endpoint[3]),
    certificateChainPem: readFile(cert),
    privateKeyPem: readFile(key),
    trustBundlePem: readFile(trustBundle),
    serverIdentity: identity.id,
  });
}

/** Reads a file, or says which one could not be read and why. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SallyportError('file-unreadable', `${JSON.stringify(path)} cannot be read (${errorCodeOf(cause)})`, { place: path, cause });
  }
}

export function readFile(path: string): string {
  return readBytes(path).toString('utf8');
}

/** The first line of a file that holds nothing else. */
export function readPassphrase(path: string): string {
  return readFile(path).replace(/\r?\n$/, '');
}

/** Writes a file that only its owner may read. One that is there already is replaced, not written into: it may be open to others. */
export function writeFile(path: string, content: string | Buffer): void {
  try {
    rmSync(path, { force: true });
    writeFileSync(path, content, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new SallyportError('usage', `${JSON.stringify(path)} cannot be written (${errorCodeOf(cause)})`, { place: path, cause });
  }
}

/** `ENOENT` and the like. */
export function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'error';
}
