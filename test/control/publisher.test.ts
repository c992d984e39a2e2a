import assert from 'node:assert/strict';
import { nodeKeyOf, type Proxy } from '../../src/control/proxy.ts';
import { decodeWorkloadAddress } from '../../src/api/table-codec.ts';
import { typeUrls } from '../../src/api/type-urls.ts';
import { createPublisher, envoyFaultsOf } from '../../src/control/publisher.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Plan } from '../../src/core/plan/plan.ts';
import type { WorkloadAddresses } from '../../src/core/plan/workload-addresses.ts';
import { runThrough } from '../../src/core/steps.ts';
import { createSnapshot, createSnapshotCache, envoyTypes, type AttachedStream, type ResourceMap, type Snapshot } from '../../src/xds/index.ts';
import { binding, externalService, gateway, identity, planOf, policy, pool } from '../core/world.ts';

const base = [gateway('gw'), externalService('shop/bank')];
const first = planOf(...base);
const second = planOf(...base, policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] }));
const proxyAs = (account: string): Proxy => ({ identity: identity(account), form: 'sallyport' });
const gatewayProxy = proxyAs('sallyport-system/gw');
const agents = ['shop/a', 'shop/b', 'shop/c'].map(proxyAs);

describe('publishing', () => {
  const stream: AttachedStream = { nodeId: 'agent', userAgent: { name: '', version: '' }, variant: 'delta', connectedSinceMs: 0, onSnapshot: () => undefined, status: () => [], resources: () => [] };
  const published = (plan: Plan) => ({ plan, trustBundlePem: '', revoked: [] });

  /** A publisher of the first plan, with a gateway and agents that are connected. */
  function connected(options: Partial<Parameters<typeof createPublisher>[0]> = {}) {
    const cache = createSnapshotCache();
    const publisher = createPublisher({ cache, svids: { get: () => undefined, isPending: () => false, keep: () => undefined, drop: () => undefined }, ...options });
    runThrough(publisher.publish(published(first)));
    for (const proxy of [gatewayProxy, ...agents]) {
      publisher.admit(proxy);
      cache.attach(nodeKeyOf(proxy), stream);
    }
    return { cache, publisher, revisions: (proxies: readonly Proxy[]) => proxies.map((proxy) => cache.getSnapshot(nodeKeyOf(proxy))?.version) };
  }

  it('reaches gateways at once, and every agent in steps', () => {
    const { publisher, revisions } = connected();
    const steps = publisher.publish(published(second));
    assert.deepEqual(revisions([gatewayProxy, ...agents]), [second.revision, first.revision, first.revision, first.revision]);
    steps.next();
    assert.deepEqual(revisions(agents), [second.revision, first.revision, first.revision]);
    runThrough(steps);
    assert.deepEqual(revisions(agents), agents.map(() => second.revision));
  });

  it('of something newer ends what is under way, so that nobody goes back', () => {
    const { publisher, revisions } = connected();
    const older = publisher.publish(published(second));
    runThrough(publisher.publish(published(first)));
    assert.equal(older.next().done, true);
    assert.deepEqual(revisions([gatewayProxy, ...agents]), [gatewayProxy, ...agents].map(() => first.revision));
  });

  describe('who is behind an address', () => {
    const router = proxyAs('sallyport-system/router');
    const withKernel = planOf(gateway('gw'), externalService('shop/bank', { gateway: 'gw' }), gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'eth1' } }));
    const whose = (...pairs: readonly (readonly [address: string, serviceAccount: string])[]): WorkloadAddresses['addresses'] => new Map(pairs.map(([address, serviceAccount]) => [address as IpAddress, { namespace: 'shop', serviceAccount }]));
    const addressesOf = (snapshot: Snapshot | undefined) => snapshot && Array.from(snapshot.types.get(typeUrls.workloadAddress)?.values() ?? [], ({ name, value }) => `${name} ${decodeWorkloadAddress(value).workload.serviceAccount}`);

    it('reaches gateways of class kernel, and nobody else', () => {
      const { cache, publisher } = connected();
      runThrough(publisher.publish(published(withKernel)));
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'till'], ['10.0.0.2', 'desk'])));
      assert.deepEqual(addressesOf(cache.getSnapshot(nodeKeyOf(router))), ['10.0.0.1 till', '10.0.0.2 desk']);
      for (const proxy of [gatewayProxy, ...agents]) assert.deepEqual(addressesOf(cache.getSnapshot(nodeKeyOf(proxy))), []);
    });

    it('changes nothing else that the gateway holds, its revision neither, and resends what has changed only', () => {
      const { cache, publisher } = connected();
      runThrough(publisher.publish(published(withKernel)));
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'till'], ['10.0.0.2', 'desk'])));
      const before = cache.getSnapshot(nodeKeyOf(router))!;
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'till'], ['10.0.0.2', 'till'])));
      const after = cache.getSnapshot(nodeKeyOf(router))!;
      assert.equal(after.version, before.version);
      assert.deepEqual([...after.types.keys()].filter((typeUrl) => after.types.get(typeUrl) !== before.types.get(typeUrl)), [typeUrls.workloadAddress]);
      const [ofBefore, ofAfter] = [before, after].map((snapshot) => snapshot.types.get(typeUrls.workloadAddress)!) as [ResourceMap, ResourceMap];
      assert.deepEqual([...ofAfter.keys()].filter((address) => ofAfter.get(address) !== ofBefore.get(address)), ['10.0.0.2']);
    });

    it('is known before such a gateway is told anything: what it was told before stays in force with it', () => {
      const { cache, publisher } = connected();
      runThrough(publisher.publish(published(withKernel)));
      publisher.admit(router);
      assert.equal(cache.getSnapshot(nodeKeyOf(router)), undefined);
      runThrough(publisher.publishAddresses(whose()));
      assert.equal(cache.getSnapshot(nodeKeyOf(router))?.version, withKernel.revision);
    });

    it('is not kept for a gateway that comes later, when it may be otherwise', () => {
      const { cache, publisher } = connected();
      runThrough(publisher.publish(published(withKernel)));
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'till'])));
      cache.clearSnapshot(nodeKeyOf(router));
      runThrough(publisher.publish(published(first)));
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'desk'])));
      runThrough(publisher.publish(published(withKernel)));
      assert.equal(cache.getSnapshot(nodeKeyOf(router)), undefined);
    });

    it('is what was told last, where that comes before the other is through', () => {
      const { cache, publisher } = connected();
      runThrough(publisher.publish(published(withKernel)));
      const many = whose(...Array.from({ length: 100 }, (_, index) => [`10.0.1.${index}`, 'till'] as const));
      const older = publisher.publishAddresses(many);
      older.next();
      runThrough(publisher.publishAddresses(whose(['10.0.0.1', 'till'])));
      runThrough(older);
      assert.deepEqual(addressesOf(cache.getSnapshot(nodeKeyOf(router))), ['10.0.0.1 till']);
    });
  });

  it('says what a gateway of class envoy refuses because it cannot do it, until it need not', () => {
    const { publisher } = connected();
    const shared = [pool('eu', ['127.0.1.11'], { sharing: { mode: 'PortBlocks', blockSize: 1000 } }), binding('shop/source', { subject: { namespace: 'shop' }, pool: 'eu' })];
    const world = (spec: Parameters<typeof gateway>[1]) => planOf(gateway('gw', spec), externalService('shop/bank'), policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] }), ...shared);
    const refused = (spec: Parameters<typeof gateway>[1]) => {
      runThrough(publisher.publish(published(world(spec))));
      return publisher.conditions();
    };
    assert.match(refused({ class: 'envoy' }).join(), /^gateway gw refuses shop\/bank:tcp-443: ports 1024-2023 of 127\.0\.1\.11 are outside the range 32768-60999 /);
    assert.match(refused({ class: 'envoy', localPorts: { first: 1_025, last: 65_535 } }).join(), /outside the range 1025-65535 /);
    assert.deepEqual(refused({ class: 'envoy', localPorts: { first: 1_024, last: 65_535 } }), []);
    assert.deepEqual(refused({ class: 'sallyport' }), []);
  });

  it('leaves whom the plan has something for that does not hang together with what he holds, and says so until it does', () => {
    const checked: unknown[] = [];
    const { publisher, revisions } = connected({
      check(snapshot, since) {
        checked.push([snapshot.version, since?.version]);
        return snapshot.version === second.revision && snapshot.types.has(typeUrls.gatewaySettings) ? [{ from: { typeUrl: 'x.Listener', name: 'web' }, to: undefined, message: 'Listener "web" cannot be read' }] : [];
      },
    });
    checked.length = 0;
    runThrough(publisher.publish(published(second)));
    assert.deepEqual(checked, [gatewayProxy, ...agents].map(() => [second.revision, first.revision]));
    assert.deepEqual(revisions([gatewayProxy, ...agents]), [first.revision, ...agents.map(() => second.revision)]);
    assert.deepEqual(publisher.conditions(), [`${gatewayProxy.identity} keeps what it holds, for what it is to hold does not hang together: Listener "web" cannot be read`]);
    assert.deepEqual([...publisher.withheld], [[nodeKeyOf(gatewayProxy), 'Listener "web" cannot be read']]);
    runThrough(publisher.publish(published(first)));
    assert.deepEqual([publisher.conditions(), publisher.withheld.size], [[], 0]);
  });

  it('finds nothing missing in what is rendered for an Envoy, and what is when it is not there', () => {
    const plan = planOf(gateway('gw', { class: 'envoy' }), externalService('shop/bank', { hosts: ['a.example', 'b.example'], addresses: undefined }), policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] }), pool('eu', ['127.0.1.11']), binding('shop/source', { subject: { namespace: 'shop' }, pool: 'eu' }));
    const cache = createSnapshotCache();
    const { publisher } = connected({ cache });
    runThrough(publisher.publish(published(plan)));
    const resources = [...cache.getSnapshot(`envoy ${gatewayProxy.identity}`)!.types.values()].flatMap((ofType) => [...ofType.values()]);
    assert.deepEqual(envoyFaultsOf(createSnapshot('', resources), undefined), []);
    // What clients ask for, by SNI or by connecting, nothing else refers to.
    const referred = resources.filter(({ name }) => !name.startsWith('sni|') && !name.startsWith('entrance|'));
    assert.deepEqual(new Set(referred.map(({ typeUrl }) => typeUrl)), new Set([envoyTypes.cluster, envoyTypes.listener, envoyTypes.secret]));
    for (const gone of referred) {
      const [fault] = envoyFaultsOf(createSnapshot('', resources.filter((resource) => resource !== gone)), undefined);
      assert.deepEqual(fault?.to, { typeUrl: gone.typeUrl, name: gone.name });
    }
  });

  it('forgets whoever is not connected, and renders it when it comes', () => {
    const { cache, publisher, revisions } = connected();
    const gone = proxyAs('shop/gone');
    publisher.admit(gone);
    const steps = publisher.publish(published(second));
    assert.equal(cache.getSnapshot(nodeKeyOf(gone)), undefined);
    publisher.admit(gone);
    cache.attach(nodeKeyOf(gone), stream);
    runThrough(steps);
    assert.deepEqual(revisions([gone]), [second.revision]);
  });
});
