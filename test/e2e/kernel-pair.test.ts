/** What makes a pair of two Linux routers, with the real programs: hosts joined by cables, and by switches where several meet. */
import assert from 'node:assert/strict';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderConntrackd, renderFtpFarm, renderKeepalived, renderKernelGateway, type FtpFarm, type PairMember } from '../../src/backends/kernel/index.ts';
import { parseAddress, type IpAddress } from '../../src/core/ip-address.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { addressesOf, gatewayOf } from '../backends/kernel/example-world.ts';
import * as world from '../core/world.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { librariesOf, requirePeer } from '../support/peers.ts';
import { startServerProcess, type ServerProcess } from '../support/server-process.ts';
import { startVsftpd } from '../support/vsftpd.ts';

const address = (text: string): IpAddress => parseAddress(text)!;
const support = join(import.meta.dirname, '..', 'support');

async function succeed<Host extends string>(network: Network<Host>, host: Host, command: string, input = ''): Promise<string> {
  const [program, ...args] = command.split(' ') as [string, ...string[]];
  const { status, stdout, stderr } = await network.hosts[host].run(program, args, { input });
  assert.equal(status, 0, `${command}: ${stderr}`);
  return stdout;
}

describe('FTP servers at one address', function () {
  this.timeout(30_000);
  const closing: (() => unknown)[] = [];
  const clients = ['192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.5', '192.0.2.6', '192.0.2.7'];
  const servers = { one: '10.2.1.2', other: '10.2.2.2' } as const;
  const farm: FtpFarm = { address: address('192.0.2.21'), servers: Object.values(servers).map(address), passivePorts: { first: 30_000, last: 30_100 }, ipvs: false };
  let network: Network<'clients' | 'router' | keyof typeof servers>;

  before(async function () {
    requireNetwork(this);
    const [vsftpd] = [requirePeer(this, 'vsftpd'), requirePeer(this, 'nft')];
    network = makeNetwork({
      hosts: ['clients', 'router', 'one', 'other'],
      links: [
        [{ host: 'clients', addresses: clients.map((each) => `${each}/24`) }, { host: 'router', addresses: ['192.0.2.1/24', `${farm.address}/32`] }],
        ...(['one', 'other'] as const).map((host, index) => [{ host: 'router' as const, addresses: [`10.2.${index + 1}.1/24`] }, { host, addresses: [`${servers[host]}/24`] }] as const),
      ],
      routes: { one: ['default via 10.2.1.1'], other: ['default via 10.2.2.1'] },
      routers: ['router'],
    });
    closing.push(network.close);
    await succeed(network, 'router', 'nft --file -', renderFtpFarm(farm));
    await succeed(network, 'clients', 'nft --file -', `table ip firewall { chain input { type filter hook input priority filter; policy accept; ip saddr != ${farm.address} drop; }; }`);
    for (const [host, own] of Object.entries(servers) as [keyof typeof servers, string][]) {
      const server = await startVsftpd(vsftpd, { pasv_address: farm.address, pasv_min_port: '30000', pasv_max_port: '30100', connect_from_port_20: 'YES' }, { address: own, port: 21, enter: network.hosts[host].enter });
      closing.push(server.stop);
      await writeFile(join(server.directory, 'whoami'), host);
    }
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  for (const [mode, options] of [['PASV', ['--disable-epsv']], ['EPSV', []], ['PORT', ['--disable-eprt', '--ftp-port', '-']]] as const) {
    it(`have control and data connections of a session at the same server: ${mode}`, async () => {
      const files = await Promise.all(clients.map(async (client) => {
        const { status, stdout, stderr } = await network.hosts.clients.run('curl', ['-q', '-sS', '--max-time', '5', '--interface', client, ...options, ...['whoami', 'whoami', 'whoami'].map((file) => `ftp://${farm.address}/${file}`)]);
        assert.equal(status, 0, `${client}: ${stderr}`);
        return stdout;
      }));
      assert.deepEqual([...new Set(files)].sort(), ['one'.repeat(3), 'other'.repeat(3)], 'both serve, and each client is at one of them');
    });
  }
});

describe('a pair of Linux routers', function () {
  this.timeout(40_000);
  type Host = 'pods' | 'inner' | 'first' | 'second' | 'outer' | 'partner';
  const closing: (() => unknown)[] = [];
  const [pod, snat, partner, nextHop] = ['192.0.2.10', '198.51.100.11', '198.51.100.20', '192.0.2.1'];
  let network: Network<Host>;

  before(async function () {
    requireNetwork(this);
    const [keepalived, conntrackd] = [requirePeer(this, 'keepalived'), requirePeer(this, 'conntrackd'), requirePeer(this, 'nft')];
    const cable = (host: Host, addresses: readonly string[], other: Host, others: readonly string[] = []) => [{ host, addresses }, { host: other, addresses: others }] as const;
    network = makeNetwork<Host>({
      hosts: ['pods', 'inner', 'first', 'second', 'outer', 'partner'],
      links: [
        cable('pods', [`${pod}/24`], 'inner'),
        cable('first', ['192.0.2.2/24'], 'inner'),
        cable('second', ['192.0.2.3/24'], 'inner'),
        cable('partner', [`${partner}/24`], 'outer'),
        cable('first', ['198.51.100.2/24'], 'outer'),
        cable('second', ['198.51.100.3/24'], 'outer'),
        cable('first', ['10.9.0.2/24'], 'second', ['10.9.0.3/24']),
      ],
      routes: { pods: [`default via ${nextHop}`] },
      routers: ['first', 'second'],
    });
    closing.push(network.close);
    for (const [host, ends] of [['inner', ['pods', 'first', 'second']], ['outer', ['partner', 'first', 'second']]] as const) {
      await succeed(network, host, 'ip link add switch type bridge');
      await succeed(network, host, 'ip link set switch up');
      for (const end of ends) await succeed(network, host, `ip link set ${end} master switch`);
    }
    const plan = world.planOf(
      world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'outer' } }),
      world.pool('own', [snat]),
      world.binding('shop/all', { subject: { namespace: 'shop' }, addresses: [snat] }),
      world.externalService('shop/partner', { gateway: 'router', addresses: [partner], ports: [{ name: 'echo', port: 7000 }] }),
      world.policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }] }),
    );
    const { ruleset, addresses } = renderKernelGateway(plan, gatewayOf(plan), addressesOf({ [pod]: 'shop/till' }));
    for (const [role, other, own, peer] of [['first', 'second', '10.9.0.2', '10.9.0.3'], ['second', 'first', '10.9.0.3', '10.9.0.2']] as const) {
      const member: PairMember = { role, link: { interface: other, own: address(own), peer: address(peer) }, inside: 'inner', nextHops: [{ address: address(nextHop), prefixLength: 24 }], virtualRouterId: 51 };
      await succeed(network, role, 'nft --file -', ruleset);
      await startDaemon(role, conntrackd, (directory) => renderConntrackd(member.link).replace('Syslog yes', 'Syslog no').replace('/run/lock/', `${directory}/`).replace('/run/', `${directory}/`), (file) => ['-C', file], /resync requested/);
      await startDaemon(role, keepalived, () => renderKeepalived({ interface: 'outer', addresses }, member), (file) => ['--dont-fork', '--log-console', '--use-file', file, ...['pid', 'vrrp_pid', 'checkers_pid'].flatMap((kind) => [`--${kind}`, `${file}.${kind}`])], /Entering BACKUP STATE/);
      await waitFor('the first router', 5_000, () => holders().then((own) => (own.length > 0 ? true : undefined)));
    }
    closing.push((await startNode('partner', 'echo-host.ts', ['7000'], /ready/)).stop);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function startDaemon(host: Host, program: string, text: (directory: string) => string, args: (file: string) => readonly string[], ready: RegExp): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-pair-'));
    const file = join(directory, 'daemon.conf');
    await writeFile(file, text(directory), { mode: 0o600 });
    closing.push((await startServerProcess(program, args(file), { directory, ready, enter: network.hosts[host].enter, env: librariesOf(program) })).stop);
  }
  const startNode = async (host: Host, file: string, args: readonly string[], ready: RegExp): Promise<ServerProcess> =>
    startServerProcess(process.execPath, [join(support, file), ...args], { directory: await mkdtemp(join(tmpdir(), 'sallyport-node-')), ready, enter: network.hosts[host].enter });

  /** Routers that have both the next hop and the SNAT address. */
  async function holders(): Promise<readonly Host[]> {
    const own = await Promise.all((['first', 'second'] as const).map(async (host) => ({ host, listed: await succeed(network, host, 'ip address show') })));
    return own.filter(({ listed }) => [`${nextHop}/`, `${snat}/`].every((each) => listed.includes(`inet ${each}`))).map(({ host }) => host);
  }

  it('carries established connections on where one of them is gone, and gives nothing back to it', async () => {
    assert.deepEqual(await holders(), ['first']);
    const client = await startNode('pods', 'ticking-client.ts', ['tcp', pod, partner, '7000'], /ticks/);
    closing.push(client.stop);
    const ticks = (): number => Number([...client.output().matchAll(/^ticks (\d+)$/gm)].at(-1)?.[1] ?? 0);
    const moreThan = (before: number) => waitFor('more ticks', 10_000, () => (ticks() > before + 10 ? true : undefined));
    await moreThan(0);
    const since = performance.now();
    for (const end of ['second', 'inner', 'outer']) await succeed(network, 'first', `ip link set ${end} down`); // the link first: it is not to say farewell
    const before = ticks();
    await moreThan(before);
    const awayMs = performance.now() - since;
    assert.match(client.output(), new RegExp(`^you ${snat} `, 'm'));
    assert.doesNotMatch(client.output(), /ended/);
    assert.deepEqual(await holders(), ['second']);
    assert.ok(awayMs < 5_000, `away for ${awayMs} ms`);

    for (const end of ['second', 'inner', 'outer']) await succeed(network, 'first', `ip link set ${end} up`);
    await moreThan(ticks() + 200); // four seconds, in which it would take them back
    assert.deepEqual(await holders(), ['second']);
  });
});
