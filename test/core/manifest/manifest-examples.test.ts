import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { allocate } from '../../../src/core/snat/allocate.ts';
import { compile } from '../../../src/core/plan/compile.ts';
import { applyChange, emptyDesiredState } from '../../../src/core/desired-state.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import { parseTrustDomain } from '../../../src/core/spiffe-id.ts';

const folder = join(import.meta.dirname, '../../../manifests/examples');
const sources = readdirSync(folder).filter((file) => file.endsWith('.yaml')).map((file) => ({ file, text: readFileSync(join(folder, file), 'utf8') }));
const trustDomain = parseTrustDomain('cluster.local');

/** Takes the files as the whole desired state; with a root namespace as in a cluster. */
function compiled(files: typeof sources, rootNamespace?: string) {
  const parsed = parseManifests(files, rootNamespace);
  assert.deepEqual(parsed.faults(), []);
  const desired = applyChange(emptyDesiredState, { put: parsed.objects.map(({ object }) => object), remove: [] });
  const { assignments, faults } = allocate(desired, [], 0, rootNamespace);
  assert.deepEqual(faults, []);
  assert.ok(trustDomain.ok);
  const compilation = compile(desired, assignments, { trustDomain: trustDomain.trustDomain, rootNamespace });
  assert.ok(compilation.ok, compilation.ok ? '' : JSON.stringify(compilation.faults, null, 2));
  return compilation;
}

const named = (name: string) => sources.filter(({ file }) => file === name);

describe('the examples', () => {
  it('are those that the README names', () => {
    const readme = readFileSync(join(folder, 'README.md'), 'utf8');
    assert.deepEqual([...readme.matchAll(/\]\(([a-z-]+\.yaml)\)/g)].map(([, file]) => file), sources.map(({ file }) => file));
  });

  for (const source of sources) {
    it(`${source.file} applies as it stands`, () => void compiled([source]));
    it(`${source.file} applies as it stands in a cluster with tenants`, () => void compiled([source], 'sallyport-system'));
  }

  it('apply together', () => void compiled(sources));
  it('apply together in a cluster with tenants', () => void compiled(sources, 'sallyport-system'));

  it('let the namespace bookinfo, and nobody else, through the forward proxy from an address of its own', () => {
    const { plan, warnings } = compiled(named('bookinfo-forward-proxy.yaml'));
    assert.deepEqual(warnings, []);
    assert.deepEqual(plan.servicePorts.map(({ id, gateway, protocol, targets }) => ({ id, gateway, protocol, targets })), [
      { id: 'bookinfo/bigip-proxy-svc:httpconnect-3128', gateway: 'egress-1', protocol: 'HTTPConnect', targets: [{ kind: 'address', address: '10.4.0.201', port: 3128 }] },
    ]);
    assert.deepEqual(plan.servicePorts[0]!.grants.map(({ subject, snat }) => [subject, snat?.ipv4?.address]), [[{ namespace: 'bookinfo' }, '10.4.0.65']]);
  });

  it('let two service accounts through to the FTP partner, from one address but never one port', () => {
    const { plan } = compiled(sources);
    const grants = plan.servicePorts.find(({ id }) => id === 'payments/partner-ftp:control')!.grants;
    assert.deepEqual(grants.map(({ subject, snat }) => [subject.serviceAccount, snat?.ipv4?.address]), [['statement-archive', '203.0.113.20'], ['statement-upload', '203.0.113.20']]);
    assert.ok(grants[0]!.snat!.ipv4!.ports.last < grants[1]!.snat!.ipv4!.ports.first);
  });

  it('let each team say what is its own, and leave out what no other has granted it', () => {
    const files = [...named('tenants.yaml'), ...named('bookinfo-forward-proxy.yaml')];
    const { plan } = compiled(files, 'sallyport-system');
    const grants = plan.servicePorts.flatMap(({ id, grants: those }) => those.map(({ subject, snat }) => `${subject.namespace}/${subject.serviceAccount ?? '*'} to ${id} from ${snat?.ipv4?.address}`));
    assert.deepEqual(grants.filter((each) => each.startsWith('orders/')), ['orders/checkout to integration/partner-api:https from 203.0.113.40', 'orders/* to sallyport-system/package-mirror:tcp-443 from 203.0.113.40']);
    const without = (text: RegExp) => files.map((file) => ({ ...file, text: file.text.replace(text, '') }));
    assert.throws(() => compiled(without(/^kind: ReferenceGrant\n[^]*?(?=kind: EgressPolicy\n)/m), 'sallyport-system'), /reference-not-granted/);
    assert.throws(() => compiled(without(/ {2}labels: \{egress: partners\}\n/), 'sallyport-system'), /pool-not-allowed/);
  });

  it('let the Services of the older form out from their addresses, once it is known who is behind them', () => {
    const services = [['ns1', 'my-service1'], ['ns2', 'my-service2']].map(([namespace, name]) => `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}, namespace: ${namespace}, annotations: {alpha.istio.io/kubernetes-serviceaccounts: ${name}-account}}\n`);
    const { plan } = compiled([...named('older-external-service.yaml'), ...named('bookinfo-forward-proxy.yaml'), { file: 'services.yaml', text: services.join('---\n') }]);
    const port = plan.servicePorts.find(({ id }) => id === 'external-services/my-external-service1:tcp-8000')!;
    assert.equal(port.hosts[0], 'my-external-service1.external-services.svc.cluster.local');
    assert.deepEqual(port.grants.map(({ subject, snat }) => [`${subject.namespace}/${subject.serviceAccount}`, snat?.ipv4?.address]), [['ns1/my-service1-account', '192.168.122.200'], ['ns2/my-service2-account', '192.168.122.201']]);
  });
});
