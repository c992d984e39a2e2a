import assert from 'node:assert/strict';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { consistencyFaultsOf, createResource, createSnapshot, createSnapshotCache, envoyReferences, envoyTypes, readReferences, type Reference, type Resource } from '../../src/xds/index.ts';
import { edsCluster, endpoints, field, fromAds, staticCluster, tcpListener } from './envoy-messages.ts';
import { FRUIT, fruit } from './stream-play.ts';

const EXTENSIONS = 'type.googleapis.com/envoy.extensions';
const join = (...parts: readonly Uint8Array[]) => Buffer.concat(parts);
const any = (type: string, value: Uint8Array) => join(field(1, `${EXTENSIONS}.${type}`), field(2, value));
const listener = (name: string, chain: Uint8Array, chainField = 3): Resource => createResource({ name, typeUrl: envoyTypes.listener, value: join(field(1, name), field(chainField, chain)) });
const filter = (type: string, config: Uint8Array) => field(3, join(field(1, 'f'), field(4, any(type, config))));
const socket = (type: string, config: Uint8Array, number = 6) => field(number, field(3, any(`transport_sockets.${type}`, config)));
const route = (name: string, action: Uint8Array) => createResource({ name, typeUrl: envoyTypes.route, value: join(field(1, name), field(2, field(3, field(2, action)))) });
const sds = (name: string, source: Uint8Array = fromAds) => join(field(1, name), field(2, source));

const httpManager = 'filters.network.http_connection_manager.v3.HttpConnectionManager';
const tls = 'tls.v3.DownstreamTlsContext';
const faults = (...resources: readonly Resource[]) => consistencyFaultsOf(createSnapshot('1', resources)).map(({ message }) => message);

describe('the consistency of a snapshot', () => {
  it('is given where every reference leads to a resource', () => {
    const manager = join(field(3, join(field(1, fromAds), field(2, 'routes'))));
    const all = [
      tcpListener('tcp', 1, 'one'),
      listener('http', filter(httpManager, manager)),
      route('routes', field(1, 'two')),
      staticCluster('one', 1),
      edsCluster('two', 'endpoints of two'),
      endpoints('endpoints of two', 1),
    ];
    assert.deepEqual(faults(...all), []);
  });

  for (const [what, resource, expected] of [
    ['a listener and the cluster of its TCP proxy', tcpListener('front', 1, 'gone'), ['Listener "front" refers to Cluster "gone", which is not there']],
    ['a listener and the clusters that its TCP proxy divides connections among', listener('front', filter('filters.network.tcp_proxy.v3.TcpProxy', field(10, join(field(1, field(1, 'a')), field(1, field(1, 'b')))))), ['Listener "front" refers to Cluster "a", which is not there', 'Listener "front" refers to Cluster "b", which is not there']],
    ['a listener and its routes', listener('front', filter(httpManager, field(3, join(field(1, fromAds), field(2, 'gone'))))), ['Listener "front" refers to RouteConfiguration "gone", which is not there']],
    ['a listener and the clusters of routes within it', listener('front', filter(httpManager, field(4, field(2, field(3, field(2, field(1, 'gone'))))))), ['Listener "front" refers to Cluster "gone", which is not there']],
    ['a listener and what its default chain refers to', listener('front', filter('filters.network.tcp_proxy.v3.TcpProxy', field(2, 'gone')), 25), ['Listener "front" refers to Cluster "gone", which is not there']],
    ['a listener and its certificate', listener('front', socket(tls, field(1, field(6, sds('cert'))))), ['Listener "front" refers to Secret "cert", which is not there']],
    ['a listener and its trust bundle', listener('front', socket(tls, field(1, field(7, sds('roots'))))), ['Listener "front" refers to Secret "roots", which is not there']],
    ['a listener and a trust bundle with conditions', listener('front', socket(tls, field(1, field(8, field(2, sds('roots')))))), ['Listener "front" refers to Secret "roots", which is not there']],
    ['a listener and its session tickets', listener('front', socket(tls, field(5, sds('tickets')))), ['Listener "front" refers to Secret "tickets", which is not there']],
    ['a cluster and its endpoints', edsCluster('c'), ['Cluster "c" refers to ClusterLoadAssignment "c", which is not there']],
    ['a cluster and the internal listener that it leads to', createResource({ name: 'c', typeUrl: envoyTypes.cluster, value: field(33, field(2, field(2, field(1, field(1, field(3, field(1, 'inner'))))))) }), ['Cluster "c" refers to Listener "inner", which is not there']],
    ['a cluster and endpoints of another name', edsCluster('c', 'of c'), ['Cluster "c" refers to ClusterLoadAssignment "of c", which is not there']],
    ['a cluster and its certificate, also below an internal connection', createResource({ name: 'c', typeUrl: envoyTypes.cluster, value: socket('internal_upstream.v3.InternalUpstreamTransport', field(3, field(3, any('transport_sockets.tls.v3.UpstreamTlsContext', field(1, field(6, sds('cert'))))))  , 24) }), ['Cluster "c" refers to Secret "cert", which is not there']],
    ['a cluster and the certificate of some of its endpoints', createResource({ name: 'c', typeUrl: envoyTypes.cluster, value: field(43, field(3, field(3, any('transport_sockets.tls.v3.UpstreamTlsContext', field(1, field(6, sds('cert'))))))) }), ['Cluster "c" refers to Secret "cert", which is not there']],
    ['a route and its cluster', route('r', field(1, 'gone')), ['RouteConfiguration "r" refers to Cluster "gone", which is not there']],
    ['a route and the clusters that it divides calls among', route('r', field(3, field(1, field(1, 'gone')))), ['RouteConfiguration "r" refers to Cluster "gone", which is not there']],
    ['a resource that cannot be read', createResource({ name: 'torn', typeUrl: envoyTypes.listener, value: Uint8Array.of(0x1a, 0x7f) }), ['Listener "torn" cannot be read']],
  ] as const) {
    it(`names ${what}`, () => assert.deepEqual(faults(resource), expected));
  }

  it('takes no heed of what comes from elsewhere: files, the bootstrap, other servers', () => {
    const fromFile = field(8, field(1, 'secret.yaml'));
    const eds = new BinaryWriter().tag(2, WireType.Varint).uint32(3).finish();
    assert.deepEqual(
      faults(
        listener('file', socket(tls, field(1, field(6, sds('cert', fromFile))))),
        listener('bootstrap', socket(tls, field(1, field(6, field(1, 'cert'))))),
        createResource({ name: 'c', typeUrl: envoyTypes.cluster, value: join(field(1, 'c'), eds, field(3, field(1, fromFile))) }),
      ),
      [],
    );
    const snapshot = createSnapshot('1', [tcpListener('front', 1, 'xds')]);
    assert.deepEqual(consistencyFaultsOf(snapshot, { isElsewhere: ({ typeUrl, name }) => typeUrl === envoyTypes.cluster && name === 'xds' }), []);
  });

  it('passes types that nobody has told it of, and looks at those that somebody has', () => {
    assert.deepEqual(consistencyFaultsOf(fruit('1', { apple: '1' })), []);
    const references = { ...envoyReferences, [FRUIT]: (value: Uint8Array): Iterable<Reference> => [{ typeUrl: 'test.Tree', name: Buffer.from(value).toString() }] };
    assert.deepEqual(consistencyFaultsOf(fruit('1', { apple: 'old tree' }), { references }), [
      { from: { typeUrl: FRUIT, name: 'apple' }, to: { typeUrl: 'test.Tree', name: 'old tree' }, message: 'Fruit "apple" refers to Tree "old tree", which is not there' },
    ]);
  });

  it('reads a resource once, however many snapshots it is in', () => {
    let reads = 0;
    const references = { [FRUIT]: (): Iterable<Reference> => ((reads += 1), []) };
    const first = fruit('1', { apple: '1' });
    const second = createSnapshot('2', [...first.types.get(FRUIT)!.values()], first);
    for (const snapshot of [first, second]) consistencyFaultsOf(snapshot, { references });
    assert.equal(reads, 1);
  });

  it('is that of what has changed, where an earlier snapshot has it', () => {
    const read: string[] = [];
    const references = { [envoyTypes.listener]: (value: Uint8Array): Iterable<Reference> => (read.push(Buffer.from(value).toString()), [{ typeUrl: FRUIT, name: 'apple' }]) };
    const listeners = (versions: readonly string[]) => versions.map((version, index) => createResource({ name: `l${index}`, version, typeUrl: envoyTypes.listener, value: Buffer.from(version) }));
    const apple = createResource({ name: 'apple', typeUrl: FRUIT, value: Buffer.from('1') });
    const since = createSnapshot('1', [...listeners(['a', 'b', 'c']), apple]);
    const changed = createSnapshot('2', [...listeners(['a', 'B', 'c', 'd']), apple], since);
    assert.deepEqual(consistencyFaultsOf(changed, { references, since }), []);
    assert.deepEqual(read, ['B', 'd']);
    // What is gone may be missed by what has not changed.
    const without = createSnapshot('3', listeners(['a', 'B']), changed);
    assert.deepEqual(consistencyFaultsOf(without, { references, since: changed }).map(({ message }) => message), ['Listener "l0" refers to Fruit "apple", which is not there', 'Listener "l1" refers to Fruit "apple", which is not there']);
  });

  it('costs look-ups only where its resources were read ahead', () => {
    let reads = 0;
    const references = { [FRUIT]: (): Iterable<Reference> => ((reads += 1), []) };
    const snapshot = fruit('1', { apple: '1', pear: '1' });
    for (const resource of snapshot.types.get(FRUIT)!.values()) readReferences(resource, references);
    consistencyFaultsOf(snapshot, { references });
    assert.equal(reads, 2);
  });

  it('is asked for before a snapshot is served, where the owner wants that: with a fault the last good one stays', () => {
    const cache = createSnapshotCache({ check: consistencyFaultsOf });
    const good = createSnapshot('good', [tcpListener('front', 1, 'c'), staticCluster('c', 1)]);
    cache.setSnapshot('node', good);
    const bad = createSnapshot('bad', [tcpListener('front', 1, 'c')]);
    assert.throws(() => cache.setSnapshot('node', bad), new RangeError('snapshot "bad" for "node" is not served: Listener "front" refers to Cluster "c", which is not there'));
    assert.equal(cache.getSnapshot('node'), good);
    const many = createSnapshot('many', Array.from({ length: 7 }, (_, index) => tcpListener(`l${index}`, 1, 'c')));
    assert.throws(() => cache.setSnapshot('node', many), /"l4" refers to Cluster "c", which is not there; and 2 more$/);
    const seen: unknown[] = [];
    const checked = createSnapshotCache({ check: (snapshot, { since }) => (seen.push([snapshot.version, since?.version]), []) });
    for (const snapshot of [good, bad]) checked.setSnapshot('node', snapshot);
    assert.deepEqual(seen, [['good', undefined], ['bad', 'good']]);
  });
});
