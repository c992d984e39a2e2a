/** What makes a pair of two Linux routers, with the real programs, on hosts that are network namespaces. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { renderFtpFarm, type FtpFarm } from '../../src/backends/kernel/index.ts';
import { parseAddress, type IpAddress } from '../../src/core/ip-address.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { shortBytes, startPairTraffic, type Flow, type PairTraffic } from '../support/kernel-pair-traffic.ts';
import { startKernelPair, type KernelPair, type Router } from '../support/kernel-pair.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { requirePeer } from '../support/peers.ts';
import { startVsftpd } from '../support/vsftpd.ts';

const address = (text: string): IpAddress => parseAddress(text)!;

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
  this.timeout(60_000);
  const closing: (() => Promise<void>)[] = [];
  let pair: KernelPair;
  let traffic: PairTraffic;

  before(async function () {
    requireNetwork(this);
    const [keepalived, conntrackd, vsftpd] = (['keepalived', 'conntrackd', 'vsftpd', 'conntrack', 'nft'] as const).map((peer) => requirePeer(this, peer)) as [string, string, string];
    pair = await startKernelPair({ keepalived, conntrackd });
    closing.push(pair.close);
    traffic = await startPairTraffic(pair, vsftpd, 6);
    closing.push(traffic.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const progressOf = (flows: readonly Flow[]): Promise<readonly number[]> => Promise.all(flows.map(({ progress }) => progress()));
  /** Resolves once something has come through on each. */
  async function goOn(flows: readonly Flow[], more = 10): Promise<void> {
    const before = await progressOf(flows);
    await waitFor('more on each', 10_000, async () => ((await progressOf(flows)).every((now, index) => now > before[index]! + more) ? true : undefined));
  }

  /** Every connection and datagram, and every transfer, the other one on its control connection too, goes on where `router` is no more. */
  async function carriesOnWithout(router: Router, other: Router): Promise<void> {
    assert.deepEqual(await pair.inCharge(), [router]);
    const before = await traffic.controlConnections();
    const [transfers, late] = [await traffic.startTransfers(), await traffic.startLateTransfers()];
    await pair.routers[router].retell();
    assert.deepEqual(await Promise.all(transfers.map(({ isUnderWay }) => isUnderWay())), transfers.map(() => true), 'all are under way');
    await pair.routers[router].lose();
    await goOn(traffic.echoes);
    assert.deepEqual(await pair.inCharge(), [other]);
    assert.deepEqual(await Promise.all(late.map(({ go }) => go())), late.map(() => shortBytes));
    assert.deepEqual(await Promise.all(transfers.map(async ({ name, done }) => `${name}: ${await done}`)), transfers.map(({ name }) => `${name}: complete`));
    assert.deepEqual([...(await traffic.controlConnections())].sort(), [...before, ...[...transfers, ...late].map(({ source }) => source)].sort(), 'each had one control connection, from its SNAT address');
    for (const { name, seen, source } of traffic.echoes) assert.deepEqual(seen().map((each) => each.replace(/ [0-9]+$/, '')), [source], `${name}: one connection, from its SNAT address`);
  }

  it('carries on without the one in charge: connections, datagrams, long transfers, and data connections that are opened only then', () => carriesOnWithout('first', 'second'));

  it('gives nothing back to a router that returns', async () => {
    await pair.routers.first.start();
    await goOn(traffic.echoes, 200); // four seconds, in which it would take them back
    assert.deepEqual(await pair.inCharge(), ['second']);
  });

  it('carries on by the one that has returned, with what has been opened before it went and since', () => carriesOnWithout('second', 'first'));
});
