import assert from 'node:assert/strict';
import type { JsonValue } from '@bufbuild/protobuf';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { startEnvoy, type Envoy } from '../support/envoy.ts';
import { requirePeer } from '../support/peers.ts';

const root = new URL('../../', import.meta.url).pathname;

/** The blocks of the guide, by language, as they are written. */
async function blocks(language: string): Promise<readonly string[]> {
  const text = await readFile(join(root, 'docs/guides/xds-server.md'), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))].map(([, block]) => block!);
}

/** A folder in which `sallyport` is installed, its exports leading to the sources of what they will be built from. */
async function installSallyport(directory: string): Promise<void> {
  const { exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { exports: Record<string, string | { default: string }> };
  const fromSource = Object.entries(exports).flatMap(([name, target]) => (typeof target === 'string' ? [] : [[name, target.default.replace('./dist/', './src/').replace(/\.js$/, '.ts')]]));
  await mkdir(join(directory, 'package'));
  await writeFile(join(directory, 'package/package.json'), JSON.stringify({ name: 'sallyport', type: 'module', exports: Object.fromEntries(fromSource) as object }));
  await symlink(join(root, 'src'), join(directory, 'package/src'));
  await mkdir(join(directory, 'node_modules'));
  await symlink(join(directory, 'package'), join(directory, 'node_modules/sallyport'));
  await symlink(join(root, 'node_modules/@bufbuild'), join(directory, 'node_modules/@bufbuild'));
}

async function startUpstream(says: string, stops: (() => void)[]): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined); // who has heard it may be gone
    socket.end(says);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  stops.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

async function ask(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let heard = '';
  socket.setEncoding('utf8').on('data', (part: string) => (heard += part));
  return await new Promise((resolve) => {
    socket.on('error', () => resolve('')); // not there yet
    socket.on('close', () => resolve(heard));
  });
}

describe('the guide to the xDS server', function () {
  this.timeout(60_000);
  const stops: (() => void)[] = [];
  let envoy: Envoy | undefined;
  let server: ChildProcess | undefined;
  let directory: string | undefined;

  afterEach(async () => {
    await envoy?.stop();
    server?.kill('SIGKILL');
    for (const stop of stops.splice(0)) stop();
    if (directory !== undefined) await rm(directory, { recursive: true, force: true });
  });

  it('serves an Envoy from what it says, and has it follow a change', async function () {
    const program = requirePeer(this, 'envoy');
    const [code, ...others] = await blocks('ts');
    assert.deepEqual(others, []);
    const [yaml] = await blocks('yaml');
    directory = await mkdtemp(join(tmpdir(), 'sallyport-guide-'));
    await installSallyport(directory);
    await writeFile(join(directory, 'serve.ts'), code!);
    await writeFile(join(directory, 'package.json'), '{"type": "module"}');

    const [xdsPort, listenPort] = (await findFreePorts(2)) as [number, number];
    const [one, two] = [await startUpstream('one', stops), await startUpstream('two', stops)];
    const running = spawn(process.execPath, ['serve.ts', String(xdsPort), String(listenPort), String(one)], { cwd: directory, stdio: ['pipe', 'ignore', 'pipe'] });
    server = running;
    let errors = '';
    running.stderr.on('data', (part: Buffer) => (errors += part.toString()));
    const bootstrap = parse(yaml!.replace('18000', String(xdsPort))) as Record<string, JsonValue>;
    envoy = await startEnvoy(program, (path) => ({ ...bootstrap, admin: { address: { pipe: { path } } } })).catch((error: unknown) => {
      throw new Error(`the server said: ${errors}`, { cause: error });
    });
    await waitFor(`the first upstream; the server said: ${errors}`, 15_000, async () => ((await ask(listenPort)) === 'one' ? true : undefined));
    running.stdin.write(`${two}\n`);
    await waitFor('the second upstream', 15_000, async () => ((await ask(listenPort)) === 'two' ? true : undefined));
  });

  it('takes about forty lines', async () => {
    const [code] = await blocks('ts');
    const lines = code!.split('\n').filter((line) => line.trim() !== '');
    assert.ok(lines.length <= 45, `${lines.length} lines`);
  });
});
