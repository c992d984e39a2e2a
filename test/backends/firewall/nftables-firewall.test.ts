/** The sets in a Linux firewall of the kernel's own, between a gateway's host and a service. */
import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { allowList, renderFirewall } from '../../../src/backends/firewall/index.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { makeNetwork, requireNetwork, type Network } from '../../support/network-namespaces.ts';
import { requirePeer } from '../../support/peers.ts';
import { startServerProcess } from '../../support/server-process.ts';
import * as world from '../../core/world.ts';
import { exampleWorld, service } from './example-world.ts';

const [shop, stranger, warehouse] = ['203.0.113.8', '203.0.113.99', '198.51.100.7'];
const chain = `table inet sallyport_allowed {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr . tcp sport . ip daddr . tcp dport @tcp4 accept
    reject with icmp type admin-prohibited
  }
}`;
const granting = (...policies: readonly DesiredObject[]): string =>
  renderFirewall('nftables', allowList(world.planOf(world.gateway('egress-1'), world.pool('own', [shop]), world.binding('shop/shop', { subject: { namespace: 'shop' }, pool: 'own' }), service('shop/warehouse', { addresses: [warehouse], ports: [{ port: 8080 }] }), ...policies)));
const granted = granting(world.policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'warehouse' }] }));

describe('a Linux firewall with the allow list in sets', function () {
  let network: Network<'gateway' | 'firewall' | 'partner'>;
  let nft: (text: string) => Promise<void>;
  const closing: (() => unknown)[] = [];

  before(async function () {
    requireNetwork(this);
    const [python] = (['python', 'nft', 'curl'] as const).map((peer) => requirePeer(this, peer)) as [string, string, string];
    network = makeNetwork({
      hosts: ['gateway', 'firewall', 'partner'],
      links: [
        [{ host: 'gateway', addresses: [`${shop}/24`, `${stranger}/24`] }, { host: 'firewall', addresses: ['203.0.113.1/24'] }],
        [{ host: 'firewall', addresses: ['198.51.100.1/24'] }, { host: 'partner', addresses: [`${warehouse}/24`] }],
      ],
      routes: { gateway: ['default via 203.0.113.1'], partner: ['default via 198.51.100.1'] },
      routers: ['firewall'],
    });
    closing.push(network.close);
    nft = async (text) => {
      const { status, stderr } = await network.hosts.firewall.run('nft', ['-f', '-'], { input: text });
      assert.equal(status, 0, stderr);
    };
    for (const port of [8080, 8081]) {
      const directory = await mkdtemp(join(tmpdir(), 'sallyport-partner-'));
      const server = await startServerProcess(python, ['-u', '-m', 'http.server', '--bind', warehouse, String(port)], { directory, ready: /Serving/, enter: network.hosts.partner.enter });
      closing.push(server.stop);
    }
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const reaches = async (source: string, port: number): Promise<boolean> => (await network.hosts.gateway.run('curl', ['-q', '-sS', '-o', '/dev/null', '--max-time', '5', '--interface', source, `http://${warehouse}:${port}/`])).status === 0;

  it('lets through what the plan grants, and nothing else', async () => {
    await nft(granted);
    await nft(chain);
    assert.deepEqual([await reaches(shop, 8080), await reaches(shop, 8081), await reaches(stranger, 8080)], [true, false, false]);
  });

  it('takes a later list in the place of an earlier one, its own chain as it was', async () => {
    await nft(granting());
    assert.equal(await reaches(shop, 8080), false);
    await nft(granted);
    assert.equal(await reaches(shop, 8080), true);
    assert.equal(await reaches(stranger, 8080), false);
  });

  it('takes lists with every kind of line', async () => {
    const text = renderFirewall('nftables', allowList(exampleWorld()));
    await nft(text);
    const { stdout } = await network.hosts.firewall.run('nft', ['-j', 'list', 'table', 'inet', 'sallyport_allowed']);
    const sets = (JSON.parse(stdout) as { readonly nftables: readonly { readonly set?: { readonly elem?: readonly unknown[] } }[] }).nftables.flatMap(({ set }) => set?.elem ?? []);
    assert.equal(sets.length, text.split('\n').filter((line) => /^ {2}\S+ \. /.test(line)).length);
  });
});
