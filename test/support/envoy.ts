/** A real Envoy, with files of its own, told what to do by a bootstrap. */
import type { JsonValue } from '@bufbuild/protobuf';
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { renderEnvoyBootstrap, renderEnvoySecretFiles, type SecretFiles } from '../../src/backends/envoy/index.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { Svid, TestControl } from './control.ts';

export interface Envoy {
  /** What its administration answers to a GET. */
  readonly admin: (path: string) => Promise<string>;
  readonly adminSocketPath: string;
  readonly log: () => Promise<string>;
  readonly stop: () => Promise<void>;
}

const readyWithinMs = 20_000;

/** As an operator runs it (docs/decisions/0611), and strict: a field that Envoy does not know is an error. */
const flags = ['--use-dynamic-base-id', '--concurrency', '2', '--drain-time-s', '1', '--drain-strategy', 'immediate', '--reject-unknown-dynamic-fields', '--log-level', 'warning'];

/**
 * Resolves when it serves. Throws with its log where it does not.
 *
 * @param program path of envoy, see `requirePeer`
 * @param bootstrapWith makes the bootstrap for the path of the administration's socket
 */
export async function startEnvoy(program: string, bootstrapWith: (adminSocketPath: string) => JsonValue): Promise<Envoy> {
  const base = await mkdtemp(join(tmpdir(), 'sallyport-envoy-'));
  const socketPath = join(base, 'admin.sock');
  const bootstrap = join(base, 'envoy.json');
  const logFile = join(base, 'envoy.log');
  await writeFile(bootstrap, JSON.stringify(bootstrapWith(socketPath)));
  const child = spawn(program, ['-c', bootstrap, '--log-path', logFile, ...flags], { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  const admin = (path: string) => get(socketPath, path);
  const log = () => readFile(logFile, 'utf8');

  async function stop(): Promise<void> {
    kill();
    process.off('exit', kill);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  try {
    await waitFor('envoy', readyWithinMs, async () => {
      if (child.exitCode !== null) throw new Error(`envoy has ended: ${await log()}`);
      return (await admin('/ready').catch(() => '')).startsWith('LIVE') ? true : undefined;
    });
  } catch (error) {
    const said = await log().catch(() => '');
    await stop();
    throw new Error(`envoy is not ready: ${said}`, { cause: error });
  }
  return { admin, adminSocketPath: socketPath, log, stop };
}

/** Writes an identity into files of `directory`, for an Envoy that is to be started. */
export function writeSecretFiles(directory: string, { certificateChainPem, privateKeyPem, trustBundlePem }: Svid): SecretFiles {
  const write = (name: string, content: string): string => {
    writeFileSync(join(directory, name), content, { mode: 0o600 });
    return join(directory, name);
  };
  const secrets = renderEnvoySecretFiles({ certificateChain: write('svid.pem', certificateChainPem), privateKey: write('key.pem', privateKeyPem), trustBundle: write('bundle.pem', trustBundlePem) });
  return { svid: write('svid.json', JSON.stringify(secrets.svid)), trustBundle: write('bundle.json', JSON.stringify(secrets.trustBundle)) };
}

/** An Envoy with nothing but a bootstrap for this identity, which gets all else from the control plane. */
export async function startEnvoyAs(control: TestControl, program: string, identity: SpiffeId): Promise<Envoy> {
  const [svid, mesh] = await Promise.all([control.svid(identity), control.mesh()]);
  return await startEnvoy(program, (socketPath) =>
    renderEnvoyBootstrap({ nodeId: identity, controlPlane: { host: '127.0.0.1', port: control.control.meshPort! }, controlIdentity: mesh.identity, identity: writeSecretFiles(dirname(socketPath), svid), admin: { socketPath } }),
  );
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.once('end', () => resolve(text));
    });
    asking.once('error', reject);
    asking.end();
  });
}
