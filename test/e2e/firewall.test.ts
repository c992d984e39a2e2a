/**
 * A partner behind a firewall of its own that knows addresses and nothing else: the workload, the gateway, the firewall and the partner
 * are hosts joined by cables, the firewall is nftables.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adminPaths, type AssignmentList } from '../../src/api/admin.ts';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import { serviceManifests, snatAddressesIn, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { nftablesOf, type Nftables } from '../support/nftables.ts';
import { requireAbility, requirePeer } from '../support/peers.ts';
import { startServerProcess } from '../support/server-process.ts';
import { modeOnly, startVsftpd, type Vsftpd } from '../support/vsftpd.ts';
import type { ProgramResult } from './support/programs.ts';

type Host = 'workload' | 'gateway' | 'firewall' | 'partner';
const modes = ['Passive', 'Active'] as const satisfies readonly FtpDataMode[];

/** Addresses as documents have them (RFC 5737). */
const workloadAddress = '192.0.2.2';
const gatewayMeshAddress = '192.0.2.1';
const gatewayAddress = '198.51.100.1';
const snatAddresses = snatAddressesIn('198.51.100');
const sharedAddress = '198.51.100.21';
/** A server for each mode, which takes part in no other. */
const partners = { Passive: '203.0.113.10', Active: '203.0.113.11' } as const;
const passivePorts = { first: 30_100, last: 30_149 };

/** Where agents offer what is outside. */
const ports = { Passive: 2121, Active: 2122, web: 8080, shared: 2123 } as const;
type Service = keyof typeof ports;
const ownAddressServices = ['Passive', 'Active', 'web'] as const satisfies readonly Service[];
const services: readonly string[] = [
  ...modes.map((mode) => serviceManifests({ name: `partner-${mode.toLowerCase()}`, protocol: 'FTP', dataMode: mode, addresses: [partners[mode]], port: ports[mode], targetPort: 21, allowed: ['productpage', 'batch'] })),
  serviceManifests({ name: 'web', addresses: [partners.Passive], port: ports.web, targetPort: 80, allowed: ['productpage', 'batch'] }),
  serviceManifests({ name: 'shared', protocol: 'FTP', dataMode: 'Active', addresses: [partners.Active], port: ports.shared, targetPort: 21, allowed: ['productpage', 'batch'] }),
  `
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: shared}
spec: {addresses: [${sharedAddress}], sharing: {mode: PortBlocks, blockSize: 4096}}`,
  ...(['bookinfo', 'reports'] as const).map(
    (namespace) => `
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: shared-address, namespace: ${namespace}}
spec: {subject: {namespace: ${namespace}}, pool: shared, targets: [{service: shared, namespace: bookinfo}]}`,
  ),
];

interface FirewallShape {
  /** Whose connections are let in, and to where, by the first packet. */
  readonly admitted: readonly string[];
  /** What the table has beside its rules. */
  readonly objects?: readonly string[];
  /** Rules for what comes, before anything is decided. */
  readonly arriving?: readonly string[];
}

/** Drops all else. Counts by source what has come from the gateway's side, and what was dropped. */
const firewallRules = ({ admitted, objects = [], arriving = [] }: FirewallShape): string => `
table inet firewall {
  counter established { }
  counter control { }
  counter data { }
  counter web { }
  set arrived { typeof ip saddr; flags dynamic; size 1000; counter; }
  set dropped { typeof ip saddr; flags dynamic; size 1000; counter; }
  ${objects.join('\n  ')}
  chain arriving {
    type filter hook prerouting priority filter; policy accept;
    iifname "gateway" update @arrived { ip saddr counter }
    ${arriving.join('\n    ')}
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established counter name established accept
    ${admitted.join('\n    ')}
    update @dropped { ip saddr counter }
  }
}`;

const ftpAndWebFrom = (source: string): readonly string[] => [`ip saddr ${source} tcp dport 21 ct state new counter name control accept`, `ip saddr ${source} tcp dport 80 ct state new counter name web accept`];

/** The kernel reads on control connections which data connections belong to them (nf_conntrack_ftp): no other port is open. */
const readingFtp = (source: string): string =>
  firewallRules({
    objects: ['ct helper ftp { type "ftp" protocol tcp; }'],
    arriving: ['tcp dport 21 ct helper set "ftp"'],
    admitted: [...ftpAndWebFrom(source), 'ct state related counter name data accept'],
  });

/** Data connections are let in by the ports that each end has said to use. */
const openingPorts = (source: string): string =>
  firewallRules({
    admitted: [
      ...ftpAndWebFrom(source),
      `ip saddr ${source} ip daddr ${partners.Passive} tcp dport ${passivePorts.first}-${passivePorts.last} ct state new counter name data accept`,
      `ip saddr ${partners.Active} ip daddr ${source} tcp dport 1024-65535 ct state new counter name data accept`,
    ],
  });

describe('a partner behind a firewall that lets in SNAT addresses only', function () {
  this.timeout(40_000);
  const statement = randomBytes(1_000_000);
  const report = randomBytes(700_000);
  const closing: (() => unknown)[] = [];
  let network: Network<Host>;
  let firewall: Nftables;
  let servers: Readonly<Record<FtpDataMode, Vsftpd>>;
  let webLog: string;
  let sallyport: TestDeployment;
  let home: string;

  before(async function () {
    requireNetwork(this);
    const [nft, vsftpd, python] = (['nft', 'vsftpd', 'python'] as const).map((peer) => requirePeer(this, peer)) as [string, string, string];
    network = makeNetwork<Host>({
      hosts: ['workload', 'gateway', 'firewall', 'partner'],
      links: [
        [{ host: 'workload', addresses: [`${workloadAddress}/24`] }, { host: 'gateway', addresses: [`${gatewayMeshAddress}/24`] }],
        [{ host: 'gateway', addresses: [`${gatewayAddress}/24`, ...[...Object.values(snatAddresses), sharedAddress].map((address) => `${address}/32`)] }, { host: 'firewall', addresses: ['198.51.100.254/24'] }],
        [{ host: 'firewall', addresses: ['203.0.113.254/24'] }, { host: 'partner', addresses: Object.values(partners).map((address) => `${address}/24`) }],
      ],
      routes: {
        workload: [`203.0.113.0/24 via ${gatewayMeshAddress}`],
        gateway: ['203.0.113.0/24 via 198.51.100.254'],
        firewall: [`192.0.2.0/24 via ${gatewayAddress}`],
        partner: ['198.51.100.0/24 via 203.0.113.254', '192.0.2.0/24 via 203.0.113.254'],
      },
      routers: ['gateway', 'firewall'],
    });
    closing.push(network.close);
    firewall = nftablesOf(nft, network.hosts.firewall);
    const knowsFtp = await firewall.load('table inet probe { ct helper ftp { type "ftp" protocol tcp; }; }').then(() => true, () => false);
    requireAbility(this, knowsFtp, 'nf_conntrack_ftp, the part of the kernel that reads FTP');
    home = await mkdtemp(join(tmpdir(), 'sallyport-firewall-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    await writeFile(join(home, 'report.bin'), report);
    const { enter } = network.hosts.partner;
    const rangeOfPorts = { pasv_min_port: String(passivePorts.first), pasv_max_port: String(passivePorts.last) };
    servers = {
      Passive: await startVsftpd(vsftpd, { ...modeOnly.Passive, ...rangeOfPorts }, { address: partners.Passive, port: 21, enter }),
      Active: await startVsftpd(vsftpd, modeOnly.Active, { address: partners.Active, port: 21, enter }),
    };
    for (const { directory, stop } of Object.values(servers)) {
      closing.push(stop);
      await writeFile(join(directory, 'statement.bin'), statement);
    }
    webLog = join(home, 'web.log');
    const web = [python, '-u', '-m', 'http.server', '80', '--bind', partners.Passive, '--directory', servers.Passive.directory];
    const { stop } = await startServerProcess('sh', ['-c', 'exec "$@" 2> "$0"', webLog, ...web], { directory: await mkdtemp(join(tmpdir(), 'sallyport-web-')), ready: 80, enter });
    closing.push(stop);
    sallyport = await startTestDeployment({
      meshAddress: gatewayMeshAddress,
      snatNetwork: '198.51.100',
      limits: { connectTimeout: '1s' },
      hosts: { enter: (name) => hostOf(name).enter, fetch: (name, url, timeoutMs) => hostOf(name).fetch(url, timeoutMs) },
      manifests: services.join('\n---'),
    });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const hostOf = (name: string) => network.hosts[name in workloadIdentities ? 'workload' : 'gateway'];

  const urlOf = (workload: Workload, service: Service): string => `${service === 'web' ? 'http' : 'ftp'}://${sallyport.agentAddress(workload)}:${ports[service]}/`;

  const curl = (host: Host, ...args: readonly string[]): Promise<ProgramResult> => network.hosts[host].run('curl', ['-q', '-sS', '--max-time', '10', ...args], { directory: home, env: { HOME: home } });

  /** What it printed. */
  async function succeed(host: Host, ...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await curl(host, ...args);
    assert.equal(status, 0, `curl ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** Lists, downloads and uploads, by the workload's agent. */
  async function transfer(workload: Workload, service: Exclude<Service, 'web'>): Promise<void> {
    const url = urlOf(workload, service);
    const { directory } = servers[service === 'shared' ? 'Active' : service];
    assert.match(await succeed('workload', '-l', url), /^statement\.bin$/m);
    const got = `got-${service}.bin`;
    await succeed('workload', '-o', got, `${url}statement.bin`);
    assert.ok((await readFile(join(home, got))).equals(statement));
    await succeed('workload', '-T', 'report.bin', `${url}upload/report.bin`);
    const uploaded = join(directory, 'upload', 'report.bin');
    assert.ok((await readFile(uploaded)).equals(report));
    await rm(uploaded);
  }

  /** An HTTP request as a sidecar carries it: by mTLS with the workload's own certificate, and no agent. */
  const curlAsSidecar = (workload: Workload): Promise<ProgramResult> => {
    const file = (name: string) => join(sallyport.svidDirectory(workload), name);
    const place = `web.bookinfo.svc.cluster.local:${sallyport.gatewayPort}`;
    return curl('workload', '--cert', file('svid.pem'), '--key', file('svid_key.pem'), '--insecure', '--resolve', `${place}:${gatewayMeshAddress}`, '-o', 'got-as-sidecar.bin', '-w', '%{size_download}', `https://${place}/statement.bin`);
  };

  /** Nobody answers, and nobody refuses. */
  async function assertDropped(tries: readonly (readonly [Host, string])[]): Promise<void> {
    const results = await Promise.all(tries.map(([host, url]) => curl(host, '--connect-timeout', '0.5', url)));
    for (const { status, stderr } of results) assert.equal(status, 28, stderr); // timed out
  }

  /** The same by way of the gateway, whose agent takes the connection: an FTP client is told so. */
  async function assertUnanswered(workload: Workload, services: readonly Service[]): Promise<void> {
    const results = await Promise.all(services.map((service) => curl('workload', '-v', urlOf(workload, service))));
    for (const [index, { status, stdout, stderr }] of results.entries()) {
      assert.ok(status !== 0 && stdout === '', stderr);
      if (services[index] !== 'web') assert.match(stderr, /^< 421 .* cannot be reached/m);
    }
  }

  /** The address of each connection that the partner's servers have logged while `run` ran. */
  async function clientsDuring(run: () => Promise<unknown>): Promise<readonly string[]> {
    const logged = () => Promise.all([...Object.values(servers).map((server) => server.log()), readFile(webLog, 'utf8')]);
    const before = await logged();
    await run();
    return (await logged()).flatMap((log, index) => [...log.slice(before[index]!.length).matchAll(/CONNECT: Client "([^"]+)"|^(\S+) - - /gm)].map(([, ftp, web]) => (ftp ?? web)!));
  }

  for (const [kind, rules] of [
    ['reads FTP', readingFtp],
    ['has the data ports open by rule', openingPorts],
  ] as const) {
    describe(`and ${kind}`, () => {
      beforeEach(() => firewall.load(rules(snatAddresses.productpage)));

      it('is reached by the identity whose address that is, by FTP in both data modes and by HTTP, and nothing of it is dropped', async () => {
        const seen = await clientsDuring(async () => {
          for (const mode of modes) await transfer('productpage', mode);
          await succeed('workload', '-o', 'got.bin', `${urlOf('productpage', 'web')}statement.bin`);
          assert.ok((await readFile(join(home, 'got.bin'))).equals(statement));
        });
        assert.deepEqual(seen, Array.from({ length: 7 }, () => snatAddresses.productpage));
        const { counters, sets } = await firewall.counts();
        assert.deepEqual({ ...counters, established: 0 }, { established: 0, control: 6, data: 6, web: 1 });
        assert.ok(counters['established']! > 6);
        assert.deepEqual(Object.keys(sets['arrived']!), [snatAddresses.productpage]);
        assert.deepEqual(sets['dropped'], {});
      });

      it('drops another identity that Sallyport lets go there, and lets the first one in at the same moment', async () => {
        const seen = await clientsDuring(() => Promise.all([assertUnanswered('batch', ownAddressServices), ...modes.map((mode) => transfer('productpage', mode))]));
        assert.deepEqual(new Set(seen), new Set([snatAddresses.productpage]));
        const { counters, sets } = await firewall.counts();
        assert.deepEqual({ ...counters, established: 0 }, { established: 0, control: 6, data: 6, web: 0 });
        assert.deepEqual(Object.keys(sets['dropped']!), [snatAddresses.batch]);
      });

      it('drops what hosts send there by themselves, past the gateway', async () => {
        const urls = [`ftp://${partners.Passive}/`, `ftp://${partners.Active}/`, `http://${partners.Passive}/`];
        const seen = await clientsDuring(() => assertDropped((['workload', 'gateway'] as const).flatMap((host) => urls.map((url) => [host, url] as const))));
        assert.deepEqual(seen, []);
        const { counters, sets } = await firewall.counts();
        assert.deepEqual(counters, { established: 0, control: 0, data: 0, web: 0 });
        assert.deepEqual(new Set(Object.keys(sets['dropped']!)), new Set([workloadAddress, gatewayAddress]));
        assert.deepEqual(sets['dropped'], sets['arrived']);
      });

      it('never hears of an identity that Sallyport refuses, though it would let its address in', async () => {
        await firewall.load(rules(`{ ${snatAddresses.productpage}, ${snatAddresses.nettools} }`));
        assert.equal((await curlAsSidecar('productpage')).stdout, String(statement.length));
        const seen = await clientsDuring(async () => {
          const { status, stdout, stderr } = await curlAsSidecar('nettools');
          assert.ok(status !== 0 && stdout === '0', stderr);
          for (const service of ownAddressServices) assert.match((await curl('workload', urlOf('nettools', service))).stderr, /Failed to connect/); // its agent does not even offer them
        });
        assert.deepEqual(seen, []);
        const { counters, sets } = await firewall.counts();
        assert.deepEqual({ ...counters, established: 0 }, { established: 0, control: 0, data: 0, web: 1 });
        assert.deepEqual(Object.keys(sets['arrived']!), [snatAddresses.productpage]);
      });
    });
  }

  describe('and has source ports in its rules', () => {
    it('lets in one of two identities behind one address, by its block of ports, active data connections too', async () => {
      const { items } = await sallyport.admin.get<AssignmentList>(adminPaths.assignments);
      const blocks = items.filter(({ pool }) => pool === 'shared').map(({ address, holder, ports: { first, last } }) => ({ address, holder, first, last }));
      assert.deepEqual(blocks.map(({ address, first, last }) => [address, last - first + 1]), [[sharedAddress, 4096], [sharedAddress, 4096]]);
      const { first, last } = blocks.find(({ holder }) => holder.includes('bookinfo'))!;
      const admitted = [
        `ip saddr ${sharedAddress} tcp sport ${first}-${last} tcp dport 21 ct state new counter name control accept`,
        `ip saddr ${partners.Active} ip daddr ${sharedAddress} tcp dport ${first}-${last} ct state new counter name data accept`,
      ];
      await firewall.load(firewallRules({ admitted }));
      const seen = await clientsDuring(() => Promise.all([transfer('productpage', 'shared'), assertUnanswered('batch', ['shared'])]));
      assert.deepEqual(seen, Array.from({ length: 3 }, () => sharedAddress));
      const { counters, sets } = await firewall.counts();
      assert.deepEqual({ ...counters, established: 0 }, { established: 0, control: 3, data: 3, web: 0 });
      assert.deepEqual(Object.keys(sets['dropped']!), [sharedAddress]);
    });
  });

  describe('and asks who it was', () => {
    it('finds in the ledger whom nobody answered, and whom Sallyport refused', async () => {
      const denied = async () => {
        const { stdout } = await sallyport.cli(['ledger', 'tail', '--type', 'connection-denied']);
        const records = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { spiffeId: string; service: string; reason: string });
        return [...new Set(records.map(({ spiffeId, service, reason }) => `${spiffeId} ${service} ${reason}`))].sort();
      };
      const expected = [
        ...['partner-active', 'partner-passive', 'shared', 'web'].map((service) => `${workloadIdentities.batch} bookinfo/${service}:main connect-timeout`),
        `${workloadIdentities.nettools} bookinfo/web:main no-policy`,
      ];
      assert.deepEqual(await denied(), expected);
    });
  });
});
