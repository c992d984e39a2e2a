/** `npm run demo` tells the truth: it succeeds on this machine, leaves nothing behind, and its cases fail in a world without Sallyport. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { connect, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { demoCases, playCase } from '../../src/demo/cases.ts';
import { openPlain } from '../../src/demo/clients.ts';
import { startForwardProxy } from '../../src/demo/forward-proxy.ts';
import { startFtpServer } from '../../src/demo/ftp-server.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceHosts, workloads } from '../../src/demo/story.ts';
import type { World } from '../../src/demo/world.ts';
import { workloadIdentities } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki } from '../support/pki.ts';

const program = fileURLToPath(new URL('../../src/demo/main.ts', import.meta.url));

const names = [
  'proxy-allowed',
  'proxy-denied',
  'second-namespace-own-address',
  'ftp-list',
  'ftp-download',
  'ftp-upload',
  'ftp-data-port-hijack-refused',
  'no-binding-refused',
  'address-survives-restart',
  'revoke-closes-live-connection',
  'whois',
];

/** Processes whose environment or arguments name the directory. Linux only; elsewhere none. */
async function processesOf(directory: string): Promise<readonly number[]> {
  const processes = (await readdir('/proc').catch(() => [])).filter((entry) => /^[0-9]+$/.test(entry) && Number(entry) !== process.pid);
  const texts = await Promise.all(processes.map(async (id) => [Number(id), ...(await Promise.all(['environ', 'cmdline'].map((file) => readFile(`/proc/${id}/${file}`, 'latin1').catch(() => ''))))] as const));
  return texts.filter(([, environment, command]) => environment?.includes(directory) === true || command?.includes(directory) === true).map(([id]) => id);
}

describe('the demo', function () {
  this.timeout(70_000);
  let temporary: string;

  beforeEach(async () => {
    temporary = await mkdtemp(join(tmpdir(), 'sallyport-demo-test-'));
  });
  afterEach(() => rm(temporary, { recursive: true, force: true }));

  /** Runs it with a temporary directory of its own; `stop` is asked at each line that it tells. */
  async function runDemo(args: readonly string[], stop?: (line: string) => NodeJS.Signals | undefined) {
    const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, TMPDIR: temporary }, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000, killSignal: 'SIGKILL' });
    let stdout = '';
    let told = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      told += text;
      const signal = stop?.(told);
      if (signal !== undefined) child.kill(signal);
    });
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
    return { status, stdout, told };
  }

  it('prints one JSON object with every case as it should be, and leaves no process and no file', () => playsAsItShould([]));

  it('prints the same where the gateway is a stock Envoy', async function () {
    await playsAsItShould(['--gateway', 'envoy', '--envoy', requirePeer(this, 'envoy')]);
  });

  it('says where an Envoy could come from when there is none', async () => {
    const { status, told } = await runDemo(['--gateway', 'envoy', '--envoy', '/nonexistent/envoy']);
    assert.deepEqual([status, told], [2, 'error: "/nonexistent/envoy" cannot be run\n']);
  });

  async function playsAsItShould(args: readonly string[]): Promise<void> {
    const { status, stdout, told } = await runDemo(['--json', ...args]);
    assert.equal(status, 0, told);
    assert.match(stdout, /^\{.*\}\n$/);
    const { ok, cases } = JSON.parse(stdout) as { ok: boolean; cases: { name: string; decision: string; sourceAddress: string | null }[] };
    assert.equal(ok, true);
    assert.deepEqual(cases.map(({ name }) => name), names);
    for (const one of cases) assert.deepEqual(Object.keys(one).sort(), ['decision', 'identity', 'name', 'ok', 'sourceAddress', 'target']);
    const addresses = Object.fromEntries(cases.map(({ name, decision, sourceAddress }) => [name, [decision, sourceAddress]]));
    assert.deepEqual(addresses, {
      'proxy-allowed': ['allowed', '127.0.1.11'],
      'proxy-denied': ['denied', null],
      'second-namespace-own-address': ['allowed', '127.0.1.12'],
      'ftp-list': ['allowed', '127.0.1.11'],
      'ftp-download': ['allowed', '127.0.1.11'],
      'ftp-upload': ['allowed', '127.0.1.11'],
      'ftp-data-port-hijack-refused': ['denied', null],
      'no-binding-refused': ['denied', null],
      'address-survives-restart': ['allowed', '127.0.1.11'],
      'revoke-closes-live-connection': ['denied', '127.0.1.11'],
      whois: ['allowed', '127.0.1.11'],
    });
    assert.deepEqual(await readdir(temporary), []);
    assert.deepEqual(await processesOf(temporary), []);
  }

  it('leaves nothing behind when it is interrupted', async () => {
    const { status } = await runDemo(['--json'], (told) => (told.includes('gateway egress-1 runs') ? 'SIGINT' : undefined));
    assert.equal(status, 130);
    await waitFor('its processes to be gone', 5_000, async () => ((await processesOf(temporary)).length === 0 ? true : undefined));
    assert.deepEqual(await readdir(temporary), []);
  });

  it('fails in a world where everybody is let out, from the address of the machine', async () => {
    const closing: (() => unknown)[] = [];
    try {
      const world = await startOpenWorld(temporary, closing);
      const results = [];
      for (const demoCase of demoCases) results.push(await playCase(world, demoCase));
      assert.deepEqual(results.map(({ name, ok }) => [name, ok]), names.map((name) => [name, false]));
    } finally {
      for (const close of closing) await close();
    }
  });
});

/** The demo's services without Sallyport: agents and gateway are pipes that ask nobody. */
async function startOpenWorld(directory: string, closing: (() => unknown)[]): Promise<World> {
  const forwardProxy = await startForwardProxy();
  closing.push(() => forwardProxy.close());
  const ftpServer = await startFtpServer({
    files: { '/statement.txt': Buffer.from('statement\r\n'), '/slow.bin': Buffer.alloc(16 * 1024 * 1024) },
    bytesPerSecond: (path) => (path === '/slow.bin' ? 256 * 1024 : Infinity),
  });
  closing.push(() => ftpServer.close());
  const originText = 'the origin\n';
  const origin = createServer((_request, response) => response.end(originText));
  const originPort = await listen(origin);
  const pki = makePki();
  const svid = pki.issue(workloadIdentities.productpage);
  const svidDirectory = (workload: string) => join(directory, workload);
  for (const workload of workloads) {
    await mkdir(svidDirectory(workload));
    await writeFile(join(svidDirectory(workload), 'svid.pem'), svid.certificateChainPem);
    await writeFile(join(svidDirectory(workload), 'svid_key.pem'), svid.privateKeyPem);
    await writeFile(join(svidDirectory(workload), 'svid_bundle.pem'), svid.trustBundlePem);
  }
  const identity = { cert: svid.certificateChainPem, key: svid.privateKeyPem, requestCert: true, rejectUnauthorized: false };
  const data = createTlsServer(identity, (socket) => socket.end('for everybody'));
  const endlessData = createTlsServer(identity, (socket) => void socket.write('whatever the policy says'));
  const [dataPort, endlessDataPort] = await Promise.all([listen(data), listen(endlessData)]);
  const gateway = createTlsServer(identity, (socket) => {
    const serverName = String(socket.servername);
    socket.on('error', () => socket.destroy());
    if (serverName === serviceHosts.partner) serveWithoutAsking(socket, dataPort);
    else if (serverName === serviceHosts.archive) serveWithoutAsking(socket, endlessDataPort);
    else socket.pipe(connect(forwardProxy.port, '127.0.0.1').on('error', () => socket.destroy())).pipe(socket);
  });
  const gatewayPort = await listen(gateway);
  const [nowhere] = (await findFreePorts(1)) as [number];
  for (const server of [origin, data, endlessData, gateway]) {
    const open = new Set<Socket>();
    server.on('connection', (socket: Socket) => open.add(socket));
    closing.push(() => {
      server.close();
      for (const socket of open) socket.destroy();
    });
  }
  return {
    environment: {},
    cli: () => Promise.resolve({ status: 0, stdout: '{"connections": []}', stderr: '' }),
    kill: () => Promise.resolve(),
    startControl: () => Promise.resolve(),
    startGateway: () => Promise.resolve(),
    killGateway: () => Promise.resolve(),
    ports: { gateway: gatewayPort, beside: nowhere, forwardProxy: forwardProxy.port, ftpServer: ftpServer.port, proxyAtAgent: forwardProxy.port, ftpAtAgent: ftpServer.port, archiveAtAgent: nowhere },
    originPort,
    originText,
    forwardProxy,
    ftpServer,
    openAtAgent: () => (port) => openPlain(port === nowhere ? ftpServer.port : port),
    svidDirectory,
    agentAddress: () => '127.0.0.1',
    denialOf: () => Promise.resolve('a record that says so'),
    close: () => Promise.resolve(),
  };
}

/** An FTP control channel whose data connections are anybody's. */
function serveWithoutAsking(control: TLSSocket, dataPort: number): void {
  const replies: Readonly<Record<string, string>> = { USER: '331 -', PASS: '230 -', TYPE: '200 -', EPSV: `229 Entering Extended Passive Mode (|||${dataPort}|)`, RETR: '150 -' };
  control.on('data', (line: Buffer) => control.write(`${replies[line.toString('latin1', 0, 4)] ?? '502 -'}\r\n`));
  control.write('220 -\r\n');
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
