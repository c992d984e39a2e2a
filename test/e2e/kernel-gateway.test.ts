/**
 * A gateway of class `kernel` between workloads and a partner behind a firewall: pods, gateway, firewall and partner are hosts joined by
 * cables. Workloads reach the partner by its own address, and the gateway's kernel does the rest.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderKernelGateway, type KernelRendering } from '../../src/backends/kernel/index.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { DesiredObject } from '../../src/core/objects/index.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { createKernelDriver, type KernelDriver, type RunProgram } from '../../src/kernel/index.ts';
import { addressesOf, gatewayOf } from '../backends/kernel/example-world.ts';
import * as world from '../core/world.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { nftablesOf, type Nftables } from '../support/nftables.ts';
import { requireAbility, requirePeer } from '../support/peers.ts';
import { rejection } from '../support/rejection.ts';
import { startServerProcess, type ServerProcess } from '../support/server-process.ts';
import { startVsftpd, type Vsftpd } from '../support/vsftpd.ts';

type Host = 'pods' | 'gateway' | 'firewall' | 'partner';

/** Addresses as documents have them (RFC 5737, RFC 3849). */
const pods = { productpage: '192.0.2.2', batch: '192.0.2.3', nettools: '192.0.2.4', nobody: '192.0.2.9' } as const;
const pods6 = { productpage: '2001:db8:a::2', batch: '2001:db8:a::3' } as const;
type Pod = keyof typeof pods;
const snat = { productpage: '198.51.100.11', batch: '198.51.100.12', spare: '198.51.100.13' } as const;
const snat6 = { productpage: '2001:db8:b::11', batch: '2001:db8:b::12' } as const;
const partner = '203.0.113.10';
const partner6 = '2001:db8:c::10';
const stranger = '203.0.113.99';
const ports = { echo: 7000, ftp: 2121, reverse: 9000, workload: 8080 } as const;

const workloads = { [pods.productpage]: 'bookinfo/productpage', [pods6.productpage]: 'bookinfo/productpage', [pods.batch]: 'reports/batch', [pods6.batch]: 'reports/batch', [pods.nettools]: 'nettools/any' };

/** Lets in connections from the addresses of identities, and what FTP's control connections say of others. */
const firewallRules = `
table inet firewall {
  ct helper ftp { type "ftp" protocol tcp; }
  set arrived { type ipv4_addr; flags dynamic; size 1000; counter; }
  counter dropped { }
  chain arriving {
    type filter hook prerouting priority filter; policy accept;
    tcp dport ${ports.ftp} ct helper set "ftp"
    iifname "gateway" ct state new update @arrived { ip saddr counter }
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr { ${Object.values(snat).join(', ')} } accept
    ip6 saddr { ${Object.values(snat6).join(', ')} } accept
    ip daddr { ${Object.values(snat).join(', ')} } tcp dport ${ports.reverse} accept
    meta l4proto ipv6-icmp accept
    counter name dropped
  }
}`;

const service = world.externalService('bookinfo/partner', {
  gateway: 'router',
  addresses: [partner, partner6],
  ports: [{ name: 'echo', port: ports.echo }, { name: 'files', port: ports.ftp, protocol: 'FTP' }],
  reverse: [{ name: 'push', port: ports.reverse, workloadPort: ports.workload }],
});
const datagramsAt = (addresses: string[]) => world.externalService('bookinfo/datagrams', { gateway: 'router', agentAddress: '127.0.2.2', addresses, ports: [{ name: 'echo', port: ports.echo, protocol: 'UDP' }] });
const allowing = (namespace: string, ...services: readonly string[]) => world.policy(`bookinfo/${namespace}`, { subjects: [{ namespace }], to: services.map((name) => ({ service: name })) });
const bound = (namespace: string, addresses: string[]) => world.binding(`${namespace}/all`, { subject: { namespace }, addresses });

interface Wish {
  readonly policies?: readonly DesiredObject[];
  readonly workloads?: Readonly<Record<string, string>>;
  readonly addresses?: Readonly<Partial<Record<string, string[]>>>;
  readonly connectionsPerIdentity?: number;
  /** Of the service of datagrams. */
  readonly datagrams?: string[];
  /** Whether "reports" has a block of source ports. */
  readonly sharing?: boolean;
}

const both = [allowing('bookinfo', 'partner', 'datagrams'), allowing('reports', 'partner', 'datagrams')];

function renderingOf({ policies = both, workloads: names = workloads, addresses = {}, connectionsPerIdentity = 50, datagrams = [partner], sharing = false }: Wish = {}): KernelRendering {
  const plan = world.planOf(
    world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'firewall' }, limits: { connectionsPerIdentity } }),
    world.pool('own', [...Object.values(snat), ...Object.values(snat6)]),
    bound('bookinfo', addresses['bookinfo'] ?? [snat.productpage, snat6.productpage]),
    ...(sharing ? [world.pool('shared', ['198.51.100.14'], { sharing: { mode: 'PortBlocks', blockSize: 16 } }), world.binding('reports/all', { subject: { namespace: 'reports' }, pool: 'shared' })] : [bound('reports', addresses['reports'] ?? [snat.batch, snat6.batch])]),
    service,
    datagramsAt(datagrams),
    ...policies,
  );
  return renderKernelGateway(plan, gatewayOf(plan), addressesOf(names));
}

describe('a Linux router as gateway', function () {
  this.timeout(40_000);
  const closing: (() => unknown)[] = [];
  const report = randomBytes(300_000);
  let network: Network<Host>;
  let firewall: Nftables;
  let driver: KernelDriver;
  let vsftpd: Vsftpd;
  let echo: ServerProcess;
  let home: string;
  let healthy = true;
  /** Whether conntrack is run: the table has to cut by itself. */
  let forgetting = true;

  before(async function () {
    requireNetwork(this);
    const [nft, ftpServer] = (['nft', 'vsftpd', 'curl', 'conntrack'] as const).map((peer) => requirePeer(this, peer)) as [string, string];
    network = makeNetwork<Host>({
      hosts: ['pods', 'gateway', 'firewall', 'partner'],
      links: [
        [{ host: 'pods', addresses: [...Object.values(pods).map((address) => `${address}/24`), ...Object.values(pods6).map((address) => `${address}/64`)] }, { host: 'gateway', addresses: ['192.0.2.1/24', '2001:db8:a::1/64'] }],
        [{ host: 'gateway', addresses: ['198.51.100.1/24', '2001:db8:b::1/64'] }, { host: 'firewall', addresses: ['198.51.100.254/24', '2001:db8:b::fe/64'] }],
        [{ host: 'firewall', addresses: ['203.0.113.254/24', '2001:db8:c::fe/64'] }, { host: 'partner', addresses: [`${partner}/24`, `${stranger}/24`, `${partner6}/64`] }],
      ],
      routes: {
        pods: ['default via 192.0.2.1', '2001:db8:c::/64 via 2001:db8:a::1'],
        gateway: ['203.0.113.0/24 via 198.51.100.254', '2001:db8:c::/64 via 2001:db8:b::fe'],
        firewall: ['192.0.2.0/24 via 198.51.100.1'],
        partner: ['198.51.100.0/24 via 203.0.113.254', '192.0.2.0/24 via 203.0.113.254', '2001:db8:b::/64 via 2001:db8:c::fe'],
      },
      routers: ['gateway', 'firewall'],
    });
    closing.push(network.close);
    for (const host of ['gateway', 'firewall'] as const) await succeed(host, 'sysctl', '-qw', 'net.ipv6.conf.all.forwarding=1');
    firewall = nftablesOf(nft, network.hosts.firewall);
    const knowsFtp = await firewall.load(firewallRules).then(() => true, () => false);
    requireAbility(this, knowsFtp, 'nf_conntrack_ftp, the part of the kernel that reads FTP');
    home = await mkdtemp(join(tmpdir(), 'sallyport-kernel-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    vsftpd = await startVsftpd(ftpServer, {}, { address: partner, port: ports.ftp, enter: network.hosts.partner.enter });
    closing.push(vsftpd.stop);
    await writeFile(join(vsftpd.directory, 'report.bin'), report);
    echo = await startNode('partner', 'echo-host.ts', [String(ports.echo)], /ready/);
    const awaiting = await startNode('pods', 'echo-host.ts', [String(ports.workload)], /ready/);
    closing.push(echo.stop, awaiting.stop);
    for (const host of ['pods', 'gateway', 'firewall', 'partner'] as const) await waitFor(`addresses of ${host}`, 5_000, async () => ((await succeed(host, 'ip', '-6', 'address', 'show', 'tentative')) === '' ? true : undefined));
    driver = newDriver();
    await driver.check();
  });
  const atGateway: RunProgram = (program, args, input = '') => (program === 'sh' && !forgetting ? Promise.resolve({ status: 0, stdout: '', stderr: '' }) : network.hosts.gateway.run(program, args, { input }));
  const newDriver = (run = atGateway): KernelDriver => createKernelDriver({ run, holdsAddresses: true, isHealthy: () => Promise.resolve(healthy) });
  beforeEach(async () => {
    await firewall.load(firewallRules);
    await driver.apply(renderingOf());
  });
  afterEach(async () => {
    for (const stop of clients.splice(0)) await stop();
    [healthy, forgetting] = [true, true];
    await driver.remove();
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function succeed(host: Host, program: string, ...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await network.hosts[host].run(program, args);
    assert.equal(status, 0, `${program} ${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  async function startNode(host: Host, file: string, args: readonly string[], ready: RegExp): Promise<ServerProcess> {
    return await startServerProcess(process.execPath, [join(import.meta.dirname, '..', 'support', file), ...args], { directory: await mkdtemp(join(tmpdir(), 'sallyport-node-')), ready, enter: network.hosts[host].enter });
  }

  const clients: (() => Promise<void>)[] = [];
  /** Until it has heard something, or is refused. */
  async function startClient(source: string, { host = 'pods', transport = 'tcp', to = partner, port = ports.echo, text = 'tick' }: { host?: Host; transport?: 'tcp' | 'udp'; to?: string; port?: number; text?: string } = {}): Promise<ServerProcess> {
    const client = await startNode(host, 'ticking-client.ts', [transport, source, to, String(port), text], text.startsWith('silent') ? /sending/ : /you|ended/);
    clients.push(client.stop);
    return client;
  }
  const ticksOf = (client: ServerProcess): number => Number([...client.output().matchAll(/^ticks (\d+)$/gm)].at(-1)?.[1] ?? 0);
  const endOf = (client: ServerProcess): string | undefined => /^ended (.*)$/m.exec(client.output())?.[1];
  /** The address from which it has been seen; or how it ended. */
  const seenAs = async (source: string, where?: Parameters<typeof startClient>[1]): Promise<string> => {
    const client = await startClient(source, where);
    return /^you (\S+)/m.exec(client.output())?.[1] ?? endOf(client)!;
  };
  const ticksOn = (client: ServerProcess): Promise<true> => {
    const before = ticksOf(client);
    return waitFor('more ticks', 2_000, () => (ticksOf(client) > before + 3 ? true : undefined));
  };
  const curl = (pod: Pod, ...args: readonly string[]) => network.hosts.pods.run('curl', ['-q', '-sS', '--max-time', '10', '--interface', pods[pod], ...args], { directory: home });
  const table = () => network.hosts.gateway.run('nft', ['list', 'table', 'inet', 'sallyport']);

  it('lets each identity out from its own address, and nobody else', async () => {
    const seen = await Promise.all((Object.keys(pods) as readonly Pod[]).map(async (pod) => [pod, await seenAs(pods[pod])]));
    assert.deepEqual(Object.fromEntries(seen), { productpage: snat.productpage, batch: snat.batch, nettools: 'ECONNREFUSED', nobody: 'ECONNREFUSED' });
    const { counters, sets } = await firewall.counts();
    assert.equal(counters['dropped'], 0);
    assert.deepEqual(Object.keys(sets['arrived']!).sort(), [snat.productpage, snat.batch]);
  });

  it('does so over IPv6', async () => {
    assert.equal(await seenAs(pods6.productpage, { to: partner6 }), snat6.productpage);
    assert.equal(await seenAs(pods6.batch, { to: partner6 }), snat6.batch);
  });

  it('keeps an identity that shares an address within its block of source ports', async () => {
    await firewall.load(firewallRules.replaceAll(snat.spare, '198.51.100.14'));
    const rendering = renderingOf({ sharing: true });
    await driver.apply(rendering);
    const block = [...rendering.grants.values()].find(({ identity }) => identity === 'reports/batch')!.snat.ipv4!;
    const seen = (await Promise.all(Array.from({ length: 3 }, () => startClient(pods.batch)))).map((client) => /^you (\S+) (\d+)$/m.exec(client.output()));
    for (const [, address, from] of seen.map((each) => each ?? [])) assert.ok(address === block.address && Number(from) >= block.ports.first && Number(from) <= block.ports.last, `${address!} ${from!}`);
    assert.equal(block.ports.last - block.ports.first, 15);
    assert.notEqual((await curl('batch', '--max-time', '2', `ftp://${partner}:${ports.ftp}/`)).status, 0, 'FTP would leave its block');
  });

  it('carries datagrams, and none of whom nobody has allowed to', async () => {
    await startClient(pods.nettools, { transport: 'udp', text: 'silent nettools' });
    assert.equal(await seenAs(pods.productpage, { transport: 'udp' }), snat.productpage);
    assert.equal(await seenAs(pods.batch, { transport: 'udp' }), snat.batch);
    assert.ok(!echo.output().includes('nettools'));
  });

  for (const [mode, options] of [['passive', []], ['active', ['--ftp-port', '-']]] as const) {
    it(`lets ${mode} data connections of FTP through at a port of its own, from the same address`, async () => {
      const before = (await vsftpd.log()).length;
      for (const direction of [['-o', 'got.bin', `ftp://${partner}:${ports.ftp}/report.bin`], ['-T', 'got.bin', `ftp://${partner}:${ports.ftp}/upload/${mode}.bin`]]) {
        const { status, stderr } = await curl('productpage', ...options, ...direction);
        assert.equal(status, 0, stderr);
      }
      assert.ok((await readFile(join(home, 'got.bin'))).equals(report));
      assert.ok((await readFile(join(vsftpd.directory, 'upload', `${mode}.bin`))).equals(report));
      assert.deepEqual(new Set([...(await vsftpd.log()).slice(before).matchAll(/CONNECT: Client "([^"]+)"/g)].map(([, address]) => address)), new Set([snat.productpage]));
      assert.equal((await firewall.counts()).counters['dropped'], 0);
    });
  }

  it('lets no data connection through that no control connection has spoken of', async () => {
    assert.equal(await seenAs(pods.productpage, { port: 30_000 }), 'ECONNREFUSED');
    assert.deepEqual(Object.keys((await firewall.counts()).sets['arrived']!), []);
  });

  it('lets the service connect to the workload at its SNAT address, and nobody but the service', async () => {
    assert.equal(await seenAs(partner, { host: 'partner', to: snat.productpage, port: ports.reverse }), partner);
    assert.equal(await seenAs(stranger, { host: 'partner', to: snat.productpage, port: ports.reverse }), 'ECONNREFUSED');
  });

  it('keeps connections of whom a change does not concern, and cuts those of whom it refuses, within a second', async () => {
    forgetting = false;
    const kept = await Promise.all(Array.from({ length: 3 }, () => startClient(pods.productpage)));
    const revoked = await Promise.all(Array.from({ length: 3 }, () => startClient(pods.batch)));
    const started = performance.now();
    await driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] }));
    await waitFor('the end of those who are refused', 1_000, () => (revoked.every((client) => endOf(client) !== undefined) ? true : undefined));
    assert.ok(performance.now() - started < 1_000, `cut within ${performance.now() - started} ms`);
    assert.deepEqual(new Set(revoked.map(endOf)), new Set(['ECONNRESET']));
    await driver.repair(); // the whole table anew
    await driver.apply(renderingOf());
    for (const client of kept) {
      await ticksOn(client);
      assert.equal(endOf(client), undefined);
    }
  });

  it('cuts the connections of an address that is another workload\'s now', async () => {
    forgetting = false;
    const client = await startClient(pods.productpage);
    await driver.apply(renderingOf({ workloads: { ...workloads, [pods.productpage]: 'reports/batch' } }));
    await waitFor('its end', 1_000, () => endOf(client));
    assert.equal(await seenAs(pods.productpage), snat.batch);
  });

  it('goes on where another process has ended, and cuts what that had let in', async () => {
    const [kept, revoked] = await Promise.all([startClient(pods.productpage), startClient(pods.batch, { transport: 'udp' })]);
    driver = newDriver();
    await driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] }));
    await ticksOn(kept);
    assert.equal(endOf(kept), undefined);
    assert.ok(revoked.output().includes(`you ${snat.batch}`));
    assert.doesNotMatch(await succeed('gateway', 'conntrack', '-L', '-p', 'udp', '--orig-src', pods.batch), /mark=[1-9]/);
  });

  it('sends datagrams that nobody answers from the new address as soon as a binding changes', async () => {
    await startClient(pods.productpage, { transport: 'udp', text: 'silent before' });
    await waitFor('its datagrams', 2_000, () => (echo.output().includes(`datagram ${snat.productpage} silent before`) ? true : undefined));
    await driver.apply(renderingOf({ addresses: { bookinfo: [snat.spare] } }));
    await waitFor('its datagrams from the new address', 1_000, () => (echo.output().includes(`datagram ${snat.spare} silent before`) ? true : undefined));
  });

  it('forgets connections to an address that is taken from the service, and no others of the same grant', async () => {
    await driver.apply(renderingOf({ datagrams: [partner, stranger] }));
    const known = async (to: string) => /mark=[1-9]/.test(await succeed('gateway', 'conntrack', '-L', '-p', 'udp', '--orig-dst', to));
    for (const to of [partner, stranger]) {
      await startClient(pods.productpage, { transport: 'udp', to, text: 'silent' });
      await waitFor(`datagrams to ${to}`, 2_000, async () => (await known(to)) || undefined);
    }
    await driver.apply(renderingOf({ datagrams: [partner] }));
    assert.deepEqual([await known(partner), await known(stranger)], [true, false]);
  });

  it('holds an identity to as many connections as it may have', async () => {
    await driver.apply(renderingOf({ connectionsPerIdentity: 2 }));
    const [one] = await Promise.all([startClient(pods.productpage), startClient(pods.productpage)]);
    assert.equal(await seenAs(pods.productpage), 'ECONNREFUSED');
    assert.equal(await seenAs(pods.batch), snat.batch);
    await Promise.all(clients.splice(clients.indexOf(one.stop), 1).map((stop) => stop()));
    await waitFor('room for another', 5_000, async () => ((await seenAs(pods.productpage)) === snat.productpage ? true : undefined));
  });

  it('counts by grant, and goes on counting over a change', async () => {
    const packets = async () => (await driver.counters()).filter(({ identity, servicePort }) => identity === 'bookinfo/productpage' && servicePort === 'bookinfo/partner:echo').map((each) => each.packets)[0]!;
    const client = await startClient(pods.productpage);
    await ticksOn(client);
    const before = await packets();
    await driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] }));
    assert.ok(before > 6 && (await packets()) >= before);
  });

  it('finds what somebody has changed by hand, and undoes it', async () => {
    assert.deepEqual(await driver.drift(), []);
    const nft = async (...command: readonly string[]) => assert.equal((await network.hosts.gateway.run('nft', command)).status, 0, command.join(' '));
    await nft('add', 'element', 'inet', 'sallyport', 'addresses4', '{ 198.51.100.77 }');
    await nft('insert', 'rule', 'inet', 'sallyport', 'leaving', 'accept');
    await succeed('gateway', 'ip', 'address', 'del', `${snat.batch}/32`, 'dev', 'firewall');
    assert.deepEqual(await driver.drift(), ['set addresses4 has beside its own 198.51.100.77', 'the chains, or how the sets are made, have been changed', `interface "firewall" lacks ${snat.batch}`]);
    await driver.repair();
    assert.deepEqual(await driver.drift(), []);
    await nft('delete', 'table', 'inet', 'sallyport');
    assert.deepEqual(await driver.drift(), ['there is no table inet sallyport']);
    await driver.apply(renderingOf({ policies: [allowing('reports', 'partner')] })); // a change to what is not there
    assert.equal(await seenAs(pods.batch), snat.batch);
  });

  it('puts right with the next change what somebody has changed in between, also where that is in its way', async () => {
    const withoutReports = renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] });
    await succeed('gateway', 'nft', 'insert', 'rule', 'inet', 'sallyport', 'leaving', 'accept');
    await driver.apply(withoutReports);
    assert.deepEqual([await driver.drift(), await seenAs(pods.batch), await seenAs(pods.productpage)], [[], 'ECONNREFUSED', snat.productpage]);
    await succeed('gateway', 'nft', 'flush', 'set', 'inet', 'sallyport', 'grants');
    await driver.apply(renderingOf({ policies: [allowing('reports', 'partner', 'datagrams')] })); // it takes out what is not there any more
    assert.deepEqual([await driver.drift(), await seenAs(pods.batch), await seenAs(pods.productpage)], [[], snat.batch, 'ECONNREFUSED']);
  });

  it('takes nothing for done that it does not read back, names what is otherwise, and goes back', async () => {
    let interferences = 0;
    driver = newDriver(async (program, args, input) => {
      const result = await atGateway(program, args, input);
      if (program === 'nft' && args.includes('--file') && interferences-- > 0) await succeed('gateway', 'nft', 'add', 'element', 'inet', 'sallyport', 'addresses4', '{ 198.51.100.77 }');
      return result;
    });
    await driver.apply(renderingOf());
    interferences = 2; // with the change, and with the whole table
    const refusal = await rejection(driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] })));
    assert.deepEqual([refusal.code, refusal.message, refusal.hint], ['ruleset-refused', 'the table is not what it was told to be: set addresses4 has beside its own 198.51.100.77', 'somebody else may be changing it at the same time']);
    assert.deepEqual([await driver.drift(), await seenAs(pods.batch)], [[], snat.batch]);
  });

  it('stays closed by the very first table where that is not healthy', async () => {
    await driver.remove();
    driver = newDriver();
    healthy = false;
    await assert.rejects(driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')] })), /is not healthy/);
    assert.equal(await seenAs(pods.batch), 'ECONNREFUSED');
  });

  it('goes back to what was before where a change is not healthy, or is not taken', async () => {
    const client = await startClient(pods.productpage);
    healthy = false;
    await assert.rejects(driver.apply(renderingOf({ policies: [allowing('bookinfo', 'partner', 'datagrams')], addresses: { reports: [snat.spare] } })), (error) => error instanceof SallyportError && error.code === 'ruleset-refused');
    healthy = true;
    const refused = renderingOf();
    await assert.rejects(driver.apply({ ...refused, ruleset: 'nonsense', table: { ...refused.table, settings: { ...refused.table.settings, connectionsPerIdentity: 7 } } }), /nft: /);
    assert.deepEqual(await driver.drift(), []);
    await ticksOn(client);
    assert.equal(await seenAs(pods.batch), snat.batch);
    assert.doesNotMatch(await succeed('gateway', 'ip', 'address', 'show', 'dev', 'firewall'), new RegExp(snat.spare));
  });

  it('tells its neighbours of addresses that were another host\'s', async () => {
    await driver.remove();
    await succeed('firewall', 'ip', 'neigh', 'replace', snat.productpage, 'lladdr', '02:00:00:00:00:99', 'dev', 'gateway', 'nud', 'stale');
    await driver.apply(renderingOf());
    const [link] = JSON.parse(await succeed('gateway', 'ip', '-json', 'link', 'show', 'dev', 'firewall')) as [{ readonly address: string }];
    await waitFor('the neighbour to know', 1_000, async () => ((await succeed('firewall', 'ip', 'neigh', 'show', snat.productpage)).includes(link.address) ? true : undefined));
  });

  it('removes all that is its own, and nothing else', async () => {
    await succeed('gateway', 'ip', 'address', 'add', `${snat.spare}/32`, 'dev', 'firewall');
    await startClient(pods.productpage);
    await driver.apply(renderingOf({ addresses: { bookinfo: [snat.spare, snat6.productpage] } }));
    await newDriver().remove();
    assert.notEqual((await table()).status, 0);
    const left = JSON.parse(await succeed('gateway', 'ip', '-json', 'address', 'show', 'dev', 'firewall')) as [{ readonly addr_info: readonly { readonly local: string; readonly scope: string }[] }];
    assert.deepEqual(left[0].addr_info.filter(({ scope }) => scope === 'global').map(({ local }) => local).sort(), ['198.51.100.1', snat.spare, '2001:db8:b::1'].sort());
    await succeed('gateway', 'ip', 'address', 'del', `${snat.spare}/32`, 'dev', 'firewall');
    assert.equal((await succeed('gateway', 'conntrack', '-L', '-m', '0/0')).split('\n').filter((line) => /mark=[1-9]/.test(line)).length, 0, 'no connection has a mark of ours');
  });
});
