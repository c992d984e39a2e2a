import { KubernetesObjectApi, type KubernetesObject } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { schemas, type ExternalService } from '../../../src/core/objects/index.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { isOurs, registrationOf, saysAlready, type OwnedObject } from '../../../src/kubernetes/registration/registration.ts';
import { useKubernetes } from '../../support/kubernetes.ts';

const trustDomain = 'cluster.local' as TrustDomain;
const owner = { apiVersion: 'sallyport.dev/v1alpha1', name: 'proxy', uid: '6a4c0a7e-0000-4000-8000-000000000001' };
const external = (spec: object = {}, metadata: object = {}): ExternalService =>
  schemas.ExternalService.parse({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name: 'proxy', namespace: 'bookinfo', ...metadata }, spec: { addresses: ['192.0.2.7'], ports: [{ name: 'web', port: 8080, targetPort: 3128, protocol: 'HTTPConnect' }, { port: 53, protocol: 'UDP' }], ...spec } });
const addresses = (...list: string[]): readonly IpAddress[] => list as IpAddress[];

describe('the registration of an external service', () => {
  it('is a Service without a selector, and a slice of endpoints a family', () => {
    const { service, slices } = registrationOf(external({}, { labels: { apps: 'bigip' } }), owner, addresses('192.0.2.7', '2001:db8::1', '192.0.2.3'), trustDomain);
    assert.deepEqual(service['spec'], { ports: [{ name: 'web', port: 8080, targetPort: 3128, protocol: 'TCP' }, { name: 'udp-53', port: 53, targetPort: 53, protocol: 'UDP' }] });
    assert.equal(service.metadata.labels!['apps'], 'bigip');
    assert.deepEqual(slices.map(({ metadata, addressType, endpoints }) => [metadata.name, addressType, (endpoints as readonly { addresses: string[] }[]).map(({ addresses: [address] }) => address)]), [['proxy-ipv4', 'IPv4', ['192.0.2.3', '192.0.2.7']], ['proxy-ipv6', 'IPv6', ['2001:db8::1']]]);
    assert.deepEqual(slices[0]!['ports'], [{ name: 'web', port: 3128, protocol: 'TCP' }, { name: 'udp-53', port: 53, protocol: 'UDP' }]);
    assert.equal(slices[0]!.metadata.labels!['endpointslice.kubernetes.io/managed-by'], 'sallyport.dev');
  });

  it('goes with the custom resource, unless that is of another namespace', () => {
    const { service, slices } = registrationOf(external(), owner, addresses('192.0.2.7'), trustDomain);
    for (const { metadata } of [service, ...slices]) assert.deepEqual(metadata.ownerReferences, [{ ...owner, kind: 'ExternalService', controller: true, blockOwnerDeletion: true }]);
    assert.equal(registrationOf(external(), null, [], trustDomain).service.metadata.ownerReferences, undefined);
  });

  it('has no slice while there is no address', () => assert.deepEqual(registrationOf(external(), owner, [], trustDomain).slices, []));

  it('names the identities of the server as istioctl register did', () => {
    const annotationsOf = (subjectAltNames: readonly string[] | undefined, annotations?: object) => registrationOf(external(subjectAltNames === undefined ? {} : { subjectAltNames }, annotations === undefined ? {} : { annotations }), owner, [], trustDomain).service.metadata.annotations;
    assert.deepEqual(annotationsOf(['spiffe://cluster.local/ns/bookinfo/sa/a', 'spiffe://cluster.local/ns/bookinfo/sa/b', 'spiffe://cluster.local/ns/other/sa/c']), { 'alpha.istio.io/kubernetes-serviceaccounts': 'a,b', 'alpha.istio.io/canonical-serviceaccounts': 'spiffe://cluster.local/ns/other/sa/c' });
    assert.deepEqual(annotationsOf(undefined, { 'alpha.istio.io/kubernetes-serviceaccounts': 'bigip', other: 'x' }), { 'alpha.istio.io/kubernetes-serviceaccounts': 'bigip' });
    assert.equal(annotationsOf(undefined), undefined);
  });

  it('never takes over what somebody else has made', () => {
    const { service } = registrationOf(external(), owner, [], trustDomain);
    const by = (labels: Record<string, string>, reference?: object): OwnedObject => ({ ...service, metadata: { ...service.metadata, labels, ownerReferences: reference === undefined ? [] : [{ ...service.metadata.ownerReferences![0]!, ...reference }] } });
    const ours = { 'app.kubernetes.io/managed-by': 'sallyport.dev' };
    assert.equal(isOurs(service, service), true);
    assert.equal(isOurs(by(ours), service), true);
    assert.equal(isOurs(by({}), service), false);
    assert.equal(isOurs(by({ 'app.kubernetes.io/managed-by': 'Helm' }), service), false);
    assert.equal(isOurs(by(ours, { uid: 'older' }), service), true, 'the same, deleted and made anew');
    assert.equal(isOurs(by(ours, { uid: 'other', name: 'other' }), service), false);
    assert.equal(isOurs(by(ours, { uid: 'other', kind: 'Deployment', apiVersion: 'apps/v1' }), service), false);
  });
});

describe('the registration of an external service at a real API server', function () {
  const server = useKubernetes(this);
  let objects: KubernetesObjectApi;
  before(async function () {
    objects = KubernetesObjectApi.makeApiClient(server().kubeConfig());
    await objects.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'bookinfo' } });
  });

  it('is taken as it is, and then says all that is wanted', async () => {
    const { service, slices } = registrationOf(external({}, { labels: { apps: 'bigip' } }), owner, addresses('192.0.2.7', '2001:db8::1'), trustDomain);
    for (const wanted of [service, ...slices]) {
      const made = await objects.create(wanted as unknown as KubernetesObject);
      assert.ok(saysAlready(JSON.parse(JSON.stringify(made)), wanted), JSON.stringify(made));
      assert.ok(isOurs(made as unknown as OwnedObject, wanted));
    }
    const { service: other } = registrationOf(external({ ports: [{ name: 'web', port: 8080, targetPort: 3129, protocol: 'HTTPConnect' }] }), owner, [], trustDomain);
    assert.equal(saysAlready(service, other), false);
  });
});
