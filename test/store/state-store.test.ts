import assert from 'node:assert/strict';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import type { Assignment, Assignments, Holder } from '../../src/core/snat/assignments.ts';
import { emptyDesiredState, type DesiredState } from '../../src/core/desired-state.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { schemas, type DesiredObject } from '../../src/core/objects/index.ts';
import { openStateStore, type StateStore, type StateStoreOptions } from '../../src/store/index.ts';
import { hasCode, inDirectory, unexpected } from './support/directory.ts';
import { faultyDisk } from './support/disk.ts';

interface Sections {
  readonly tokens: { readonly spiffeId: string; readonly expiresAtMs: number };
  readonly slots: { readonly active: string | null };
}

function open(directory: string, more: Partial<StateStoreOptions<Sections>> = {}): Promise<StateStore<Sections>> {
  return openStateStore<Sections>({ directory, now: () => 1_000, ...more });
}

const apiVersion = 'sallyport.dev/v1alpha1';

/** One object of each kind, with everything that JSON cannot hold by itself. */
const objects: readonly DesiredObject[] = [
  schemas.SnatPool.parse({ apiVersion, kind: 'SnatPool', metadata: { name: 'eu' }, spec: { addresses: ['10.0.0.0/24', '10.0.1.1-10.0.1.9', '2001:db8::/64', 'fe80::1'], exclude: ['10.0.0.0'], quarantine: '1h', sharing: { mode: 'PortBlocks', blockSize: 256 } } }),
  schemas.SnatBinding.parse({ apiVersion, kind: 'SnatBinding', metadata: { name: 'bookinfo', namespace: 'bookinfo' }, spec: { subject: { namespace: 'bookinfo' }, pool: 'eu' } }),
  schemas.EgressGateway.parse({ apiVersion, kind: 'EgressGateway', metadata: { name: 'gw' }, spec: { class: 'sallyport', listen: [{ address: '127.0.0.1', port: 8443 }] } }),
  schemas.EgressPolicy.parse({ apiVersion, kind: 'EgressPolicy', metadata: { name: 'p', namespace: 'bookinfo' }, spec: { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'proxy' }], constraints: { connectAuthorities: ['Example.com:443'] } } }),
  schemas.ExternalService.parse({ apiVersion, kind: 'ExternalService', metadata: { name: 'proxy', namespace: 'bookinfo', labels: { apps: 'bigip-proxy' } }, spec: { addresses: ['10.4.0.201'], ports: [{ port: 3128, protocol: 'HTTPConnect' }] } }),
  schemas.Namespace.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bookinfo', labels: { team: 'a' } } }),
  schemas.ReferenceGrant.parse({ apiVersion, kind: 'ReferenceGrant', metadata: { name: 'reviews-to-proxy', namespace: 'bookinfo' }, spec: { from: [{ group: 'sallyport.dev', kind: 'EgressPolicy', namespace: 'reviews' }], to: [{ group: 'sallyport.dev', kind: 'ExternalService', name: 'proxy' }] } }),
  schemas.Service.parse({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'reviews', namespace: 'bookinfo', annotations: { 'alpha.istio.io/kubernetes-serviceaccounts': 'a,b' } } }),
  schemas.WorkloadEntry.parse({ apiVersion, kind: 'WorkloadEntry', metadata: { name: 'till', namespace: 'bookinfo' }, spec: { addresses: ['10.4.7.21', '2001:db8::15'], namespace: 'reviews' } }),
];

function assignment(holder: string, address: string): Assignment {
  return { pool: 'eu', holder: holder as Holder, family: 'ipv4', address: address as IpAddress, ports: { first: 1024, last: 65535 }, releasedAt: null };
}

function contentOf(store: StateStore<Sections>): { readonly desired: DesiredState; readonly assignments: Assignments; readonly tokens: unknown; readonly slots: unknown } {
  return { desired: store.desired, assignments: store.assignments, tokens: new Map(store.entries('tokens')), slots: new Map(store.entries('slots')) };
}

describe('state store', () => {
  it('is empty at first', () =>
    inDirectory(async (directory) => {
      const store = await open(join(directory, 'made', 'by', 'it'));
      assert.deepEqual(contentOf(store), { desired: emptyDesiredState, assignments: [], tokens: new Map(), slots: new Map() });
      await store.close();
    }));

  it('has one object of each kind in this test', () => {
    assert.deepEqual(objects.map(({ kind }) => kind).sort(), Object.keys(schemas).sort());
  });

  it('gives back everything of a transaction after it was opened again, address ranges and all', () =>
    inDirectory(async (directory) => {
      const store = await open(directory);
      const assignments = [assignment('ns/bookinfo', '10.0.0.1'), assignment('sa/bookinfo/reviews', '10.0.0.2')];
      const committed = await store.commit({ desired: { put: objects, remove: [] }, assignments, put: { tokens: { t1: { spiffeId: 'a', expiresAtMs: 5_000 } }, slots: { ca: { active: null } } } });
      const content = contentOf(store);
      assert.deepEqual(committed, { desired: store.desired, assignments });
      assert.deepEqual(content.desired.SnatPool.get('eu'), objects[0]);
      await store.close();
      const again = await open(directory);
      assert.deepEqual(contentOf(again), content);
      assert.equal(again.torn, null);
      await again.close();
    }));

  it('shows a change at once, so that what is checked and committed in one turn happens once', () =>
    inDirectory(async (directory) => {
      const store = await open(directory);
      await store.commit({ put: { tokens: { t1: { spiffeId: 'a', expiresAtMs: 5_000 } } } });
      const spend = async (): Promise<boolean> => {
        if (store.get('tokens', 't1') === undefined) return false;
        await store.commit({ put: { tokens: { t1: null } } });
        return true;
      };
      assert.deepEqual(await Promise.all([spend(), spend(), spend()]), [true, false, false]);
      await store.close();
    }));

  it('resolves a commit with its own state, not that of a later one', () =>
    inDirectory(async (directory) => {
      const store = await open(directory);
      const [first, second] = await Promise.all([store.commit({ desired: { put: [objects[0]!], remove: [] } }), store.commit({ desired: { put: [objects[5]!], remove: [] } })]);
      assert.equal(first.desired.Namespace.size, 0);
      assert.equal(second.desired.Namespace.size, 1);
      assert.equal(second.desired.SnatPool, first.desired.SnatPool, 'a kind that did not change keeps its map');
      await store.close();
    }));

  it('writes down only those assignments that changed', () =>
    inDirectory(async (directory) => {
      const store = await open(directory);
      const many = Array.from({ length: 200 }, (_, index) => assignment(`ns/n${String(index).padStart(3, '0')}`, `10.0.0.${index + 1}`));
      await store.commit({ assignments: many });
      const { size: before } = await stat(join(directory, 'state.journal'));
      const changed = many.with(7, { ...many[7]!, releasedAt: 12 }).toSpliced(3, 1);
      await store.commit({ assignments: changed });
      const { size: after } = await stat(join(directory, 'state.journal'));
      assert.ok(after - before < 500, `${after - before} bytes`);
      await store.close();
      const again = await open(directory);
      assert.deepEqual(again.assignments, changed);
      await again.close();
    }));

  it('is the same after any transactions, whether it was opened again, rewrote its journal, or neither', () => {
    const key = fc.constantFrom('k1', 'k2', '__proto__', 'constructor');
    const transaction = fc.record(
      {
        desired: fc.record({ put: fc.subarray([...objects]), remove: fc.subarray(objects.map(({ kind, metadata }) => ({ kind, name: metadata.name, namespace: 'namespace' in metadata ? metadata.namespace : '' }))) }, { noNullPrototype: true }),
        assignments: fc.subarray(['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']).map((addresses) => addresses.map((address) => assignment('ns/a', address))),
        put: fc.record({ tokens: fc.dictionary(key, fc.option(fc.record({ spiffeId: fc.string(), expiresAtMs: fc.constant(5_000) }, { noNullPrototype: true })), { noNullPrototype: true }) }, { noNullPrototype: true }),
      },
      { requiredKeys: [], noNullPrototype: true },
    );
    return fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(transaction, fc.constantFrom('wait', 'go on', 'open again')), { maxLength: 12 }), (steps) =>
        inDirectory(async (directory) => {
          const options = { growthBytesMin: 1_500, onRewriteFailure: unexpected };
          const twinDirectory = join(directory, 'twin');
          const twin = await open(twinDirectory);
          let store = await open(join(directory, 'store'), options);
          for (const [step, then] of steps) {
            const commits = [store.commit(step), twin.commit(step)];
            if (then !== 'go on') await Promise.all(commits);
            if (then === 'open again') {
              await store.close();
              store = await open(join(directory, 'store'), options);
            }
          }
          assert.deepEqual(contentOf(store), contentOf(twin));
          await store.close();
          store = await open(join(directory, 'store'), options);
          assert.deepEqual(contentOf(store), contentOf(twin));
          await Promise.all([store.close(), twin.close()]);
        }),
      ),
      { numRuns: 60 },
    );
  });

  it('keeps its journal short however often a value changes, and loses nothing while it is being rewritten', () =>
    inDirectory(async (directory) => {
      const options = { growthBytesMin: 20_000, onRewriteFailure: unexpected };
      const store = await open(directory, options);
      for (let round = 0; round < 40; round++) {
        await Promise.all(Array.from({ length: 50 }, (_, index) => store.commit({ put: { tokens: { [`t${index}`]: { spiffeId: `round ${round}`, expiresAtMs: 5_000 } } } })));
      }
      await store.close();
      const { size } = await stat(join(directory, 'state.journal'));
      assert.ok(size < 80_000, `${size} bytes`);
      const again = await open(directory, options);
      assert.deepEqual([...again.entries('tokens')].map(([, { spiffeId }]) => spiffeId), Array.from({ length: 50 }, () => 'round 39'));
      await again.close();
    }));

  it('forgets expired entries of the sections that expire when it is opened', () =>
    inDirectory(async (directory) => {
      const expiresAt = { tokens: ({ expiresAtMs }: Sections['tokens']) => expiresAtMs };
      let store = await open(directory, { expiresAt });
      await store.commit({ put: { tokens: { old: { spiffeId: 'a', expiresAtMs: 2_000 }, young: { spiffeId: 'b', expiresAtMs: 9_000 } } } });
      await store.close();
      store = await open(directory, { expiresAt, now: () => 2_000 });
      assert.deepEqual([...store.entries('tokens')].map(([key]) => key), ['young']);
      await store.close();
    }));

  it('applies a transaction as a whole or not at all when the end of its journal is torn', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'state.journal');
      const store = await open(directory);
      await store.commit({ desired: { put: [objects[0]!], remove: [] } });
      const { length: before } = await readFile(path);
      await store.commit({ desired: { put: [objects[5]!], remove: [] }, put: { slots: { ca: { active: 'x' } } } });
      await store.close();
      const content = await readFile(path);
      for (let length = before; length < content.length; length += 7) {
        await writeFile(path, content.subarray(0, length));
        const torn = await open(directory);
        assert.equal(torn.desired.SnatPool.size, 1);
        assert.equal(torn.desired.Namespace.size, 0);
        assert.equal(torn.get('slots', 'ca'), undefined);
        assert.deepEqual(torn.torn, length === before ? null : { path, offset: before, droppedBytes: length - before });
        await torn.close();
      }
    }));

  it('refuses a second process, or a second opening, and a corrupt journal, whose lock it gives back', () =>
    inDirectory(async (directory) => {
      const store = await open(directory);
      await store.commit({ put: { slots: { a: { active: 'x' } } } });
      await store.commit({ put: { slots: { b: { active: 'x' } } } });
      await assert.rejects(open(directory), hasCode('journal-locked', directory));
      await store.close();
      const path = join(directory, 'state.journal');
      const content = await readFile(path);
      const at = content.indexOf('"a"');
      content[at + 1] = 'c'.charCodeAt(0);
      await writeFile(path, content);
      for (let attempt = 0; attempt < 2; attempt++) await assert.rejects(open(directory), hasCode('journal-corrupt', `${path}:${content.lastIndexOf('\n', at) + 1}`));
    }));

  it('takes nothing after the disk has refused a write, or after it was closed, and does not show what it refused', () =>
    inDirectory(async (directory) => {
      const disk = faultyDisk();
      const store = await open(directory, { openFile: disk.openFile });
      disk.fail('ENOSPC');
      await assert.rejects(store.commit({ put: { slots: { a: { active: 'x' } } } }), hasCode('store-failed'));
      await assert.rejects(store.commit({ put: { slots: { b: { active: 'x' } } } }), hasCode('store-failed'));
      assert.equal(store.get('slots', 'b'), undefined);
      await store.close();
      const again = await open(directory);
      assert.equal(again.get('slots', 'a'), undefined);
      await again.close();
      await assert.rejects(again.commit({}), hasCode('unavailable'));
    }));
});
