/**
 * What a kernel gateway lets out and refuses is in the ledger: `sallyport serve` and `sallyport kernel-gateway` as processes on a Linux router between
 * workloads and a partner, and the real kernel.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAdminClient, type AdminClient } from '../../src/api/admin-client.ts';
import { adminPaths, type WhoisConnection, type WhoisResult } from '../../src/api/admin.ts';
import type { ConnectionDenied, ConnectionOpened } from '../../src/core/ledger-record.ts';
import { createProcesses, waitFor, type Processes } from '../../src/demo/processes.ts';
import type { KernelGatewayStatus } from '../../src/kernel/index.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { requirePeer } from '../support/peers.ts';
import { startServerProcess, type ServerProcess } from '../support/server-process.ts';
import { startVsftpd } from '../support/vsftpd.ts';

type Host = 'pods' | 'router' | 'partner';
/** Addresses as documents have them (RFC 5737, RFC 3849). */
const pods = { productpage: '192.0.2.2', batch: '192.0.2.3', six: '2001:db8:a::2', nobody: '192.0.2.9' } as const;
const snat = { bookinfo: ['203.0.113.11', '2001:db8:b::11'], reports: ['203.0.113.12'] } as const;
const partner = '203.0.113.10';
const partner6 = '2001:db8:b::10';
const ports = { echo: 7000, other: 7001, ftp: 2121 } as const;
const probes = '127.0.0.1:9901';
const productpage = 'spiffe://cluster.local/ns/bookinfo/sa/default';
const batch = 'spiffe://cluster.local/ns/reports/sa/default';
/** Of the file that is fetched over FTP. */
const fileBytes = 100_000;

const object = (kind: string, name: string, spec: object) => {
  const [namespace, own] = name.includes('/') ? (name.split('/') as [string, string]) : [undefined, name];
  return JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name: own, ...(namespace === undefined ? {} : { namespace }) }, spec });
};
const batchEntry = object('WorkloadEntry', 'reports/batch', { addresses: [pods.batch] });
const manifests = [
  object('EgressGateway', 'router', { class: 'kernel', kernel: { interface: 'partner' }, limits: { udpIdleTimeout: '2s' } }),
  object('SnatPool', 'own', { addresses: Object.values(snat).flat() }),
  ...Object.entries(snat).map(([namespace, addresses]) => object('SnatBinding', `${namespace}/all`, { subject: { namespace }, addresses })),
  object('ExternalService', 'bookinfo/partner', {
    addresses: [partner, partner6],
    ports: [{ name: 'echo', port: ports.echo }, { name: 'datagrams', port: ports.echo, protocol: 'UDP' }, { name: 'files', port: ports.ftp, protocol: 'FTP' }],
  }),
  object('EgressPolicy', 'bookinfo/partner', { subjects: [{ namespace: 'bookinfo' }, { namespace: 'reports' }], to: [{ service: 'partner' }] }),
  object('WorkloadEntry', 'bookinfo/productpage', { addresses: [pods.productpage, pods.six] }),
  batchEntry,
];

describe('the ledger of a kernel gateway', function () {
  this.timeout(60_000);
  let network: Network<Host>;
  let processes: Processes;
  let directory: string;
  /** The admin API is a file, for whichever network. */
  let admin: AdminClient;
  const closing: (() => unknown)[] = [];
  const clients: ServerProcess[] = [];

  before(async function () {
    requireNetwork(this);
    const [ftpServer] = (['vsftpd', 'nft', 'conntrack', 'curl'] as const).map((peer) => requirePeer(this, peer)) as [string];
    network = makeNetwork<Host>({
      hosts: ['pods', 'router', 'partner'],
      links: [
        [{ host: 'pods', addresses: Object.values(pods).map((address) => `${address}/${address.includes(':') ? 64 : 24}`) }, { host: 'router', addresses: ['192.0.2.1/24', '2001:db8:a::1/64'] }],
        [{ host: 'router', addresses: ['203.0.113.1/24', '2001:db8:b::1/64'] }, { host: 'partner', addresses: [`${partner}/24`, `${partner6}/64`] }],
      ],
      routes: { pods: ['default via 192.0.2.1', '2001:db8:b::/64 via 2001:db8:a::1'], partner: ['192.0.2.0/24 via 203.0.113.1', '2001:db8:a::/64 via 2001:db8:b::1'] },
      routers: ['router'],
    });
    closing.push(network.close);
    await succeedOn('router', 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
    directory = await mkdtemp(join(tmpdir(), 'sallyport-kernel-ledger-'));
    closing.push(() => rm(directory, { recursive: true, force: true }));
    const echo = await startNode('partner', 'echo-host.ts', [String(ports.echo)], /ready/);
    const vsftpd = await startVsftpd(ftpServer, {}, { address: partner, port: ports.ftp, enter: network.hosts.partner.enter });
    closing.push(echo.stop, vsftpd.stop);
    await writeFile(join(vsftpd.directory, 'report.bin'), Buffer.alloc(fileBytes));
    processes = createProcesses(directory, { ...process.env, SALLYPORT_STATE: directory }, { enter: () => network.hosts.router.enter });
    closing.push(processes.stop);
    admin = createAdminClient({ kind: 'unix', socketPath: join(directory, 'control', 'admin.sock') });
    startControl();
    await waitFor('the control plane', 15_000, async () => ((await processes.run(['ca', 'show'])).status === 0 ? true : undefined));
    await sallyport(['ca', 'init']);
    await sallyport(['apply', '-f', '-'], manifests.join('\n---\n'));
    await writeFile(join(directory, 'bundle.pem'), await sallyport(['ca', 'export']));
    await writeFile(join(directory, 'token'), await sallyport(['token', 'create', 'spiffe://cluster.local/ns/sallyport-system/sa/router']));
    startGateway();
    await statusIs(({ ready }) => ready);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.stop();
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const startControl = (): void => processes.start('control', ['serve']);
  const startGateway = (...options: readonly string[]): void => processes.start('gateway', ['kernel-gateway', ...options, '--name', 'router', '--trust-bundle', join(directory, 'bundle.pem'), '--join-token-file', join(directory, 'token'), '--probe-listen', probes]);

  async function sallyport(args: readonly string[], stdin?: string): Promise<string> {
    const { status, stdout, stderr } = await processes.run(args, stdin);
    assert.equal(status, 0, stderr);
    return stdout;
  }
  async function succeedOn(host: Host, program: string, ...args: readonly string[]): Promise<void> {
    const { status, stderr } = await network.hosts[host].run(program, args);
    assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`);
  }
  async function startNode(host: Host, file: string, args: readonly string[], ready: RegExp): Promise<ServerProcess> {
    return await startServerProcess(process.execPath, [join(import.meta.dirname, '..', 'support', file), ...args], { directory: await mkdtemp(join(tmpdir(), 'sallyport-node-')), ready, enter: network.hosts[host].enter });
  }
  /** Nobody answers while it starts. */
  const statusIs = (isSo: (status: KernelGatewayStatus) => boolean): Promise<KernelGatewayStatus> =>
    waitFor('the gateway', 20_000, async () => {
      const answer = await network.hosts.router.fetch(`http://${probes}/readyz`, 2_000).catch(() => undefined);
      const status = (await answer?.json()) as KernelGatewayStatus | undefined;
      return status !== undefined && isSo(status) ? status : undefined;
    });

  async function startClient(pod: keyof typeof pods, { transport = 'tcp', port = ports.echo }: { transport?: 'tcp' | 'udp'; port?: number } = {}): Promise<ServerProcess> {
    const source = pods[pod];
    const client = await startNode('pods', 'ticking-client.ts', [transport, source, source.includes(':') ? partner6 : partner, String(port)], /you|ended/);
    clients.push(client);
    return client;
  }
  async function stopClient(client: ServerProcess): Promise<void> {
    clients.splice(clients.indexOf(client), 1);
    await client.stop();
  }
  /** Where the partner sees a client. */
  function endOf(client: ServerProcess): string {
    const [, address, port] = /^you (\S+) (\d+)/m.exec(client.output())!;
    return address!.includes(':') ? `[${address!}]:${port!}` : `${address!}:${port!}`;
  }

  const isOver = ({ closed }: WhoisConnection): boolean => closed !== null;
  /** The kernel does so by itself up to three minutes later. */
  async function forgetWhatIsOver(): Promise<void> {
    for (const family of ['ipv4', 'ipv6']) for (const state of ['TIME_WAIT', 'CLOSE']) await network.hosts.router.run('conntrack', ['--delete', '--family', family, '--proto', 'tcp', '--state', state]);
    await succeedOn('router', 'conntrack', '--dump'); // what has expired
  }
  /** Who is behind it by the ledger, once that is as asked; now, or at the time of a record. */
  const whois = (end: string, isSo: (connection: WhoisConnection) => boolean = () => true, time?: string): Promise<WhoisConnection> =>
    waitFor(`what the ledger is to know of ${end}`, 10_000, async () => {
      await forgetWhatIsOver();
      const [connection] = (await admin.get<WhoisResult>(adminPaths.whois, { address: hostIn(end), port: end.slice(end.lastIndexOf(':') + 1), time: time ?? new Date().toISOString() })).connections;
      return connection !== undefined && isSo(connection) ? connection : undefined;
    });
  async function recordsOf<Type extends 'connection-opened' | 'connection-denied'>(type: Type): Promise<readonly (Type extends 'connection-opened' ? ConnectionOpened : ConnectionDenied)[]> {
    const records: (Type extends 'connection-opened' ? ConnectionOpened : ConnectionDenied)[] = [];
    for await (const line of admin.lines(adminPaths.ledger, { type, last: '200' }, AbortSignal.timeout(5_000))) records.push(JSON.parse(line) as (typeof records)[number]);
    return records;
  }
  const hostIn = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(':')).replace(/[[\]]/g, '');

  /** Processes that tell the gateway of connections. */
  async function watchersOf(): Promise<readonly number[]> {
    const gateway = processes.pid('gateway');
    const children = (await readFile(`/proc/${gateway}/task/${gateway}/children`, 'utf8')).split(' ').filter((pid) => pid !== '');
    const commands = await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
    return children.filter((_, index) => commands[index]!.includes('--event\0')).map(Number);
  }

  /** Whether the kernel tells a process of anything: proc(5), net/netlink. */
  function isListening(pid: number): boolean {
    const own = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)));
    const sockets = readFileSync(`/proc/${pid}/net/netlink`, 'utf8').trimEnd().split('\n').slice(1).map((line) => line.trim().split(/ +/));
    return sockets.some((columns) => Number.parseInt(columns[3]!, 16) !== 0 && own.has(`socket:[${columns.at(-1)!}]`));
  }

  for (const [what, pod, transport, identity, service, channel, reason] of [
    ['a connection', 'batch', 'tcp', batch, 'bookinfo/partner:echo', 'stream', 'finished'],
    ['a connection by IPv6', 'six', 'tcp', productpage, 'bookinfo/partner:echo', 'stream', 'finished'],
    ['datagrams', 'batch', 'udp', batch, 'bookinfo/partner:datagrams', 'udp', 'idle-timeout'],
  ] as const) {
    it(`tells who is behind the address and port of ${what}, and how it ended`, async () => {
      const client = await startClient(pod, { transport });
      const end = endOf(client);
      const { opened, closed } = await whois(end);
      assert.deepEqual([opened.spiffeId, opened.service, opened.policies, opened.origin, opened.channel, hostIn(opened.client), closed], [identity, service, ['bookinfo/partner'], 'router', channel, pods[pod], null]);
      assert.equal(opened.revision, (await statusIs(({ ready }) => ready)).revision);
      await stopClient(client);
      const { closed: ended } = await whois(end, isOver, opened.time);
      assert.deepEqual([ended!.reason, ended!.connectionId], [reason, opened.connectionId]);
      assert.ok(ended!.bytesSent > 100 && ended!.bytesReceived > 100 && ended!.durationMs > 0, JSON.stringify(ended));
    });
  }

  for (const [mode, options] of [['passive', []], ['active', ['--ftp-port', '-']]] as const) {
    it(`tells a data connection of FTP by its control connection: ${mode}`, async () => {
      const before = new Set((await recordsOf('connection-opened')).map(({ connectionId }) => connectionId));
      await succeedOn('pods', 'curl', '-q', '-sS', '--max-time', '10', '--interface', pods.productpage, ...options, '-o', '/dev/null', `ftp://${partner}:${ports.ftp}/report.bin`);
      const data = await waitFor('its record', 10_000, async () => (await recordsOf('connection-opened')).find(({ connectionId, channel }) => channel === 'ftp-data' && !before.has(connectionId)));
      const control = (await recordsOf('connection-opened')).find(({ connectionId }) => connectionId === data.parentId);
      assert.deepEqual([control?.channel, control?.target], ['ftp-control', `${partner}:${ports.ftp}`]);
      for (const { spiffeId, service } of [control!, data]) assert.deepEqual([spiffeId, service], [productpage, 'bookinfo/partner:files']);
      assert.deepEqual([hostIn(data.client), hostIn(data.target), data.snatAddress], [pods.productpage, partner, snat.bookinfo[0]]);
      const { closed } = await whois(`${data.snatAddress}:${data.snatPort}`, isOver, data.time);
      assert.ok(closed!.bytesReceived > fileBytes && closed!.bytesSent < fileBytes, JSON.stringify(closed));
    });
  }

  for (const [who, pod, port, reason, identity, service] of [
    ['a stranger', 'nobody', ports.echo, 'not-a-workload', null, 'bookinfo/partner:echo'],
    ['a workload that asks for what there is not', 'productpage', ports.other, 'no-such-service', productpage, null],
    ['the same by IPv6', 'six', ports.other, 'no-such-service', productpage, null],
  ] as const) {
    it(`records that ${who} is refused, and why`, async () => {
      const startedMs = Date.now();
      assert.match((await startClient(pod, { port })).output(), /^ended ECONNREFUSED$/m);
      const isIt = (record: ConnectionDenied): boolean => hostIn(record.client) === pods[pod] && record.reason === reason;
      const denied = await waitFor('the record', 10_000, async () => (await recordsOf('connection-denied')).find(isIt));
      assert.deepEqual([denied.spiffeId, denied.service, denied.origin], [identity, service, 'router']);
      assert.ok(Math.abs(Date.parse(denied.time) - startedMs) < 3_000, `${denied.time} is when it was`);
      assert.ok(denied.detail.includes(service ?? `:${port} (tcp)`), denied.detail);
      assert.equal((await recordsOf('connection-denied')).filter(isIt).length, 1);
    });
  }

  it('says of a connection that is cut that it was revoked', async () => {
    const client = await startClient('batch');
    const { opened } = await whois(endOf(client));
    await sallyport(['delete', 'workloadentry', 'batch', '-n', 'reports']);
    assert.equal((await whois(endOf(client), isOver, opened.time)).closed!.reason, 'policy-revoked');
    await sallyport(['apply', '-f', '-'], batchEntry);
    await statusIs(({ workloadAddresses }) => workloadAddresses === 3);
  });

  it('loses no end of a connection while it is away, and no record while the control plane is', async () => {
    const [over, kept] = await Promise.all([startClient('productpage'), startClient('batch')]);
    const before = await Promise.all([over, kept].map((client) => whois(endOf(client))));
    const watchers = await watchersOf();
    await Promise.all([processes.kill('gateway'), processes.kill('control')]);
    assert.equal(watchers.length, 1);
    await waitFor('what it had started to end with it', 2_000, () => (watchers.some((pid) => existsSync(`/proc/${pid}`)) ? undefined : true));
    await stopClient(over);
    await succeedOn('router', 'conntrack', '--delete', '--orig-src', pods.productpage);
    startGateway();
    await statusIs(({ ready, controlPlane }) => ready && controlPlane === 'disconnected');
    const meanwhile = await startClient('productpage');
    await stopClient(kept);
    startControl();
    await statusIs(({ controlPlane }) => controlPlane === 'connected');
    const after = [await whois(endOf(over), isOver, before[0]!.opened.time), await whois(endOf(kept), isOver, before[1]!.opened.time)];
    assert.deepEqual(after.map(({ opened, closed }) => [opened.connectionId, closed!.connectionId]), before.map(({ opened: { connectionId } }) => [connectionId, connectionId]));
    assert.deepEqual(after.map(({ closed }) => closed!.reason), ['end-unseen', 'finished']);
    assert.equal((await whois(endOf(meanwhile))).opened.spiffeId, productpage);
  });

  it('answers whoever asks by the command line', async () => {
    const client = await startClient('batch');
    await whois(endOf(client));
    assert.match(await sallyport(['whois', endOf(client)]), /^identity: +spiffe:\/\/cluster.local\/ns\/reports\/sa\/default\nservice: +bookinfo\/partner:echo\npolicies: +bookinfo\/partner\n/);
  });

  it('goes on being told of connections where what tells it is ended', async () => {
    const [watcher] = await watchersOf();
    process.kill(watcher!, 'SIGKILL');
    const client = await startClient('batch'); // before anybody listens again: it is found
    const { opened } = await whois(endOf(client));
    // An end that nobody is told of is found a minute later only.
    await waitFor('somebody who listens again', 10_000, async () => (await watchersOf()).find((pid) => pid !== watcher && isListening(pid)));
    await stopClient(client);
    assert.equal((await whois(endOf(client), isOver, opened.time)).closed!.reason, 'finished');
  });

  it('records of a pair what goes through it, and not what the other router tells its kernel of', async () => {
    await stopClient(await startClient('batch'));
    const { stdout } = await network.hosts.router.run('conntrack', ['--dump', '--orig-src', pods.batch]);
    const mark = / mark=(\d+)/.exec(stdout)![1]!;
    await processes.kill('gateway');
    const addresses = async (verb: 'add' | 'del'): Promise<void> => {
      for (const address of Object.values(snat).flat()) await succeedOn('router', 'ip', 'address', verb, `${address}/${address.includes(':') ? 128 : 32}`, 'dev', 'partner');
    };
    await addresses('del');
    startGateway('--no-addresses');
    await statusIs(({ ready }) => ready);
    const [told, carried] = [45_000, 45_001];
    const connection = (port: number): readonly string[] => ['--proto', 'tcp', '--orig-src', pods.batch, '--orig-dst', partner, '--sport', String(port), '--dport', String(ports.echo)];
    // As conntrackd does.
    const tell = (port: number): Promise<void> =>
      succeedOn('router', 'conntrack', '--create', ...connection(port), '--reply-src', partner, '--reply-dst', snat.reports[0], '--reply-port-src', String(ports.echo), '--reply-port-dst', String(port), '--state', 'ESTABLISHED', '--timeout', '600', '--mark', mark);
    await tell(told);
    await succeedOn('router', 'conntrack', '--delete', ...connection(told));
    await tell(carried);
    await addresses('add');
    assert.equal((await whois(`${snat.reports[0]}:${carried}`)).opened.spiffeId, batch);
    assert.equal((await recordsOf('connection-opened')).filter(({ snatPort }) => snatPort === told).length, 0);
  });
});
