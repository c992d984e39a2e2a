import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { numberToAddress, type IpAddress } from '../../../src/core/ip-address.ts';
import { schemas, type ExternalService } from '../../../src/core/objects/index.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { registrationOf, serviceNameOf } from '../../../src/kubernetes/registration/registration.ts';

const trustDomain = 'cluster.local' as TrustDomain;
const owner = { apiVersion: 'sallyport.dev/v1alpha1', name: 'proxy', uid: '6a4c0a7e-0000-4000-8000-000000000001' };
const external = (spec: object = {}, metadata: object = {}): ExternalService =>
  schemas.ExternalService.parse({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name: 'proxy', namespace: 'bookinfo', ...metadata }, spec: { addresses: ['192.0.2.7'], ports: [{ name: 'web', port: 8080, targetPort: 3128, protocol: 'HTTPConnect' }, { port: 53, protocol: 'UDP' }], ...spec } });
const addresses = (...list: string[]): readonly IpAddress[] => list as IpAddress[];

describe('the registration of an external service', () => {
  it('is a Service without a selector, and a slice of endpoints a family', () => {
    const { service, slices } = registrationOf(external({}, { labels: { apps: 'bigip' } }), owner, addresses('192.0.2.7', '2001:db8::1', '192.0.2.3'), trustDomain);
    assert.deepEqual(service['spec'], { type: 'ClusterIP', selector: null, externalIPs: null, ports: [{ name: 'web', port: 8080, targetPort: 3128, protocol: 'TCP' }, { name: 'udp-53', port: 53, targetPort: 53, protocol: 'UDP' }] });
    assert.equal(service.metadata.labels!['apps'], 'bigip');
    assert.deepEqual(slices!.map(({ metadata, addressType, endpoints }) => [metadata.name, addressType, (endpoints as readonly { addresses: string[] }[]).map(({ addresses: [address] }) => address)]), [['proxy-ipv4', 'IPv4', ['192.0.2.3', '192.0.2.7']], ['proxy-ipv6', 'IPv6', ['2001:db8::1']]]);
    assert.deepEqual(slices![0]!['ports'], [{ name: 'web', port: 3128, protocol: 'TCP' }, { name: 'udp-53', port: 53, protocol: 'UDP' }]);
    assert.equal(slices![0]!.metadata.labels!['endpointslice.kubernetes.io/managed-by'], 'sallyport.dev');
  });

  it('goes with the custom resource, unless that is of another namespace', () => {
    const { service, slices } = registrationOf(external(), owner, addresses('192.0.2.7'), trustDomain);
    for (const { metadata } of [service, ...slices!]) assert.deepEqual(metadata.ownerReferences, [{ ...owner, kind: 'ExternalService', controller: true, blockOwnerDeletion: true }]);
    assert.equal(registrationOf(external(), null, [], trustDomain).service.metadata.ownerReferences, undefined);
  });

  it('has no slice while there is no address', () => assert.deepEqual(registrationOf(external(), owner, [], trustDomain).slices, []));

  it('names the identities of the server as istioctl register did', () => {
    const annotationsOf = (subjectAltNames: readonly string[] | undefined, annotations?: object) => registrationOf(external(subjectAltNames === undefined ? {} : { subjectAltNames }, annotations === undefined ? {} : { annotations }), owner, [], trustDomain).service.metadata.annotations;
    assert.deepEqual(annotationsOf(['spiffe://cluster.local/ns/bookinfo/sa/a', 'spiffe://cluster.local/ns/bookinfo/sa/b', 'spiffe://cluster.local/ns/other/sa/c']), { 'alpha.istio.io/kubernetes-serviceaccounts': 'a,b', 'alpha.istio.io/canonical-serviceaccounts': 'spiffe://cluster.local/ns/other/sa/c' });
    assert.deepEqual(annotationsOf(undefined, { 'alpha.istio.io/kubernetes-serviceaccounts': 'bigip', other: 'x' }), { 'alpha.istio.io/kubernetes-serviceaccounts': 'bigip' });
    assert.deepEqual(annotationsOf(undefined), {});
  });

  it('has more slices where there are more addresses than one may hold', () => {
    const many = Array.from({ length: 2_001 }, (_, index) => numberToAddress('ipv4', 0xc6120000n + BigInt(index)));
    const { slices } = registrationOf(external(), owner, [...many, ...addresses('2001:db8::1')], trustDomain);
    assert.deepEqual(slices!.map(({ metadata, endpoints }) => [metadata.name, (endpoints as readonly unknown[]).length]), [['proxy-ipv4', 1_000], ['proxy-ipv4-2', 1_000], ['proxy-ipv4-3', 1], ['proxy-ipv6', 1]]);
    assert.deepEqual(slices!.map(({ metadata }) => serviceNameOf(metadata.name)), slices!.map(() => 'proxy'));
    assert.deepEqual(new Set(slices!.flatMap(({ endpoints }) => (endpoints as readonly { addresses: string[] }[]).flatMap((endpoint) => endpoint.addresses))).size, 2_002);
  });

  it('leaves its slices open while its addresses are not known', () => assert.equal(registrationOf(external({ addresses: undefined, hosts: ['ftp.partner.example'] }), owner, null, trustDomain).slices, null));
});

describe('the reference of faults', () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
  it('explains every code of registration, and no other', () => {
    const raised = [...read('src/kubernetes/registration/registrar.ts').matchAll(/code: (?:.* \? '([a-z-]+)' : )?'([a-z-]+)'/g)].flatMap(([, first, second]) => [first, second]).filter((code) => code !== undefined);
    const explained = [...read('docs/reference/faults.md').split('\n## Registration\n')[1]!.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code);
    assert.deepEqual(explained, raised.sort());
  });
});
