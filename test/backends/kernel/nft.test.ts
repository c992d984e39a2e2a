/** What nft and the kernel make of renderings, in a network of one host. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readListing, renderChange, renderKernelGateway, setNames, type Listing, type Table } from '../../../src/backends/kernel/index.ts';
import { makeNetwork, requireNetwork, type Network } from '../../support/network-namespaces.ts';
import { requirePeer } from '../../support/peers.ts';
import { exampleWorld, gatewayOf } from './example-world.ts';
import { everyonesAddresses, someKernelWorld, type KernelWorld } from './random-world.ts';

describe('nftables with a rendering', function () {
  this.timeout(30_000);
  let network: Network<'router'>;

  before(function () {
    requireNetwork(this);
    requirePeer(this, 'nft');
    network = makeNetwork({ hosts: ['router'], links: [] });
  });
  after(() => network.close());

  async function nft(args: readonly string[], input = ''): Promise<string> {
    const { status, stdout, stderr } = await network.hosts.router.run('nft', args, { input });
    assert.equal(status, 0, `${stderr}\n${input}`);
    return stdout;
  }
  const listed = async (): Promise<Listing> => readListing(await nft(['--json', 'list', 'table', 'inet', 'sallyport']));
  const renderingOf = ({ plan }: KernelWorld) => renderKernelGateway(plan, gatewayOf(plan), everyonesAddresses);
  const assertHolds = ({ elements, revision }: Listing, table: Table): void => {
    for (const name of setNames) assert.deepEqual(elements[name], table.elements[name], name);
    assert.ok(revision !== null && table.revision.startsWith(revision));
  };

  it('takes each as it stands, and checking it changes nothing', async () => {
    await fc.assert(
      fc.asyncProperty(someKernelWorld, async (world) => {
        await nft(['--check', '--file', '-'], renderingOf(world).ruleset);
      }),
      { numRuns: 20 },
    );
    assert.equal(await nft(['list', 'tables']), '');
  });

  it('lists every element in the spelling of the rendering', async () => {
    const { plan, workloads } = exampleWorld();
    const { ruleset, table } = renderKernelGateway(plan, gatewayOf(plan), workloads);
    await nft(['--file', '-'], ruleset);
    assertHolds(await listed(), table);
  });

  it('comes from any table to any other by a change, with the same chains', async () => {
    await fc.assert(
      fc.asyncProperty(someKernelWorld, someKernelWorld, async (one, other) => {
        const [before, after] = [renderingOf(one), renderingOf(other)];
        await nft(['--file', '-'], before.ruleset);
        await nft(['--file', '-'], renderChange(before.table, after.table));
        const changed = await listed();
        assertHolds(changed, after.table);
        await nft(['--file', '-'], after.ruleset);
        assert.equal((await listed()).structure, changed.structure);
      }),
      { numRuns: 15 },
    );
  });
});
