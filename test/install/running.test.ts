import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrolPod } from '../../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../../src/api/mesh-credentials.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { createProcesses, findFreePorts, waitFor, type Processes } from '../../src/demo/processes.ts';
import { permissions } from '../../src/install/permissions.ts';
import { mergeContentType } from '../../src/kubernetes/client.ts';
import { createApiClient, type ApiClient } from '../../src/kubernetes/index.ts';
import { createPods, type Pods } from '../kubernetes/identity/support/pods.ts';
import { clusterOf, conditionsOf, manifestsIn, type Cluster, type Manifest } from '../support/cluster.ts';
import { useKubernetes, type ApiUse } from '../support/kubernetes.ts';

const system = 'sallyport-system';
const example = (name: string): readonly Manifest[] => manifestsIn(new URL(`../../manifests/examples/${name}.yaml`, import.meta.url).pathname);

interface StatefulSet {
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly [{ readonly args: readonly string[] }] } } };
}

describe('the control plane, started as it is installed,', function () {
  let directory: string;
  let client: ApiClient;
  let cluster: Cluster;
  let processes: Processes;
  after(async () => {
    await processes.stop(); // before the API server
    await rm(directory, { recursive: true, force: true });
  });
  const server = useKubernetes(this, { record: true });
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-installed-'));
    client = createApiClient(server().kubeConfig());
    cluster = clusterOf(client);
    processes = createProcesses(directory, { ...process.env, SALLYPORT_STATE: directory, POD_NAME: 'sallyport-0' });
    process.once('exit', processes.killAll);
  });

  let meshPort: number;
  let pods: Pods;

  const get = async <Answer>(path: string): Promise<Answer> => await client.request<Answer>({ method: 'GET', path });
  const succeeds = async (...args: readonly string[]): Promise<true | undefined> => ((await processes.run(args)).status === 0 ? true : undefined);

  /** Its service account's, with the role that is installed. */
  async function tokenOfControl(): Promise<string> {
    const path = `/api/v1/namespaces/${system}/serviceaccounts/control/token`;
    return (await client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } })).status.token;
  }

  /** Nobody is behind the Service here: the API server asks at the port itself. */
  async function leadWebhooksTo(port: number): Promise<void> {
    for (const [configuration, path] of [['mutatingwebhookconfigurations/sallyport-inject', 'inject'], ['validatingwebhookconfigurations/sallyport-validate', 'validate']] as const) {
      const place = `/apis/admissionregistration.k8s.io/v1/${configuration}`;
      const { webhooks } = await get<{ readonly webhooks: readonly object[] }>(place);
      await client.request({ method: 'PATCH', path: place, contentType: mergeContentType, body: { webhooks: webhooks.map((each) => ({ ...each, clientConfig: { url: `https://127.0.0.1:${port}/${path}` } })) } });
    }
  }

  it('comes up with the arguments of its manifest', async () => {
    assert.ok(await succeeds('install', '--kubeconfig', await server().kubeConfigFile(), '--older-form', '--bigip-credentials', 'f5', '--syslog-tls', '--syslog-allow', 'f5=127.0.0.1', 'edge=fd00::4/127'));
    const [mesh, probe, webhook, syslogTls, syslog] = (await findFreePorts(5)) as [number, number, number, number, number];
    meshPort = mesh;
    await leadWebhooksTo(webhook);
    const here = new Map([['15012', mesh], ['15020', probe], ['15017', webhook], ['6514', syslogTls], ['1514', syslog]]);
    const { spec } = await get<StatefulSet>(`/apis/apps/v1/namespaces/${system}/statefulsets/sallyport`);
    const args = spec.template.spec.containers[0].args.map((argument) => argument.replace(/\[::\]:(\d+)$/, (_, port: string) => `127.0.0.1:${here.get(port)!}`));
    processes.start('control', [...args, '--kubeconfig', await server().kubeConfigFile({ token: await tokenOfControl() })]);
    await waitFor('its CA', 20_000, async () => await succeeds('ca', 'init'));
    await waitFor('its readiness', 20_000, async () => ((await fetch(`http://127.0.0.1:${probe}/readyz`).catch(() => undefined))?.ok === true ? true : undefined));
    for (const port of [syslogTls, syslog]) {
      const box = connect({ host: '127.0.0.1', port });
      await once(box, 'connect');
      box.destroy();
    }
  });

  it('does what it is for, and asks for nothing that it may not', async () => {
    const [forwardProxy, older] = [example('bookinfo-forward-proxy'), example('older-external-service')];
    const of = (kind: string): Manifest => forwardProxy.find((object) => object.kind === kind)!;
    const registered: Manifest = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'bigip-proxy-svc', namespace: 'bookinfo' } };
    pods = await createPods(server());
    await cluster.apply(...forwardProxy);
    await cluster.until(of('SnatBinding'), 'accepted', (live) => conditionsOf(live, 'Accepted') === 'Accepted=True');
    await cluster.until(registered, 'registered', () => true);
    await cluster.until({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-trust-bundle', namespace: 'bookinfo' } }, 'there', () => true);
    assert.equal((await cluster.list('SnatAssignment')).length, 1);
    await cluster.apply(...older);
    await cluster.until(older[0]!, 'heard of', (live) => (live.status?.conditions?.length ?? 0) > 0);
    assert.ok(await succeeds('token', 'create', 'spiffe://cluster.local/ns/bookinfo/sa/productpage'));
    await cluster.remove(of('SnatBinding'), of('EgressPolicy'), of('ExternalService'));
    await waitFor('the registration to be taken back', 15_000, async () => ((await cluster.get(registered)) === undefined ? true : undefined));
    await waitFor('the address to be given back', 15_000, async () => (await cluster.list('SnatAssignment')).some(({ spec }) => spec['holder'] === 'ns/bookinfo' && spec['releasedAt'] !== undefined) || undefined);
    const asked = await usesOfControl();
    assert.ok(asked.length > 20);
    assert.deepEqual(asked.filter(({ isAllowed }) => !isAllowed), []);
  });

  it('needs every right that it has', async function () {
    this.timeout(60_000);
    await comeAcrossAll();
    const unused = (asked: readonly ApiUse[]): readonly string[] => grants.filter((grant) => !asked.some((use) => covers(grant, use))).map(({ group, resource, verb, name }) => `${verb} ${resource}.${group} ${name ?? ''}`.trim());
    const asked = await waitFor('the use of every right', 40_000, async () => {
      const uses = await usesOfControl();
      return unused(uses).length === 0 ? uses : undefined;
    }).catch(async () => await usesOfControl());
    assert.deepEqual(unused(asked), []);
    assert.deepEqual(asked.filter(({ isAllowed }) => !isAllowed), []);
    assert.deepEqual(asked.filter((use) => !grants.some((grant) => covers(grant, use))), [], 'what any account may do, and no rule of ours allows');
  });

  const usesOfControl = async (): Promise<readonly ApiUse[]> => (await server().uses()).filter(({ user }) => user === `system:serviceaccount:${system}:control`);

  /** What the ordinary life above does not meet with: strangers' objects, changes by hand, pods that enrol, quarantines that end. */
  async function comeAcrossAll(): Promise<void> {
    const of = (apiVersion: string, kind: string, name: string, more: object, labels: object = {}): Manifest => ({ apiVersion, kind, metadata: { name, namespace: 'bookinfo', labels }, ...more });
    const own = (kind: string, name: string, spec: object): Manifest => of('sallyport.dev/v1alpha1', kind, name, { spec });
    const service = (name: string, address: string, port: number): Manifest => own('ExternalService', name, { addresses: [address], ports: [{ name: 'main', port, protocol: 'TCP' }] });
    const slice = (name: string): Manifest => of('discovery.k8s.io/v1', 'EndpointSlice', `${name}-ipv4`, {});

    // Names that somebody else has.
    await cluster.apply(of('v1', 'Service', 'taken', { spec: { ports: [{ port: 80 }] } }), of('discovery.k8s.io/v1', 'EndpointSlice', 'half-taken-ipv4', { addressType: 'IPv4', endpoints: [] }));
    await cluster.apply(service('taken', '10.4.0.202', 80), service('half-taken', '10.4.0.203', 80));
    // Another port, another address.
    await cluster.apply(service('changing', '10.4.0.204', 80));
    await cluster.until(slice('changing'), 'registered', () => true);
    await cluster.apply(service('changing', '10.4.0.205', 81));
    // Another family: the slice of the first goes.
    await cluster.until(slice('changing'), 'changed', (live) => JSON.stringify(live['endpoints']).includes('10.4.0.205'));
    await cluster.apply(service('changing', '2001:db8::5', 81));
    // A trust bundle that was changed by hand.
    await client.request({ method: 'PATCH', path: '/api/v1/namespaces/bookinfo/configmaps/sallyport-trust-bundle', contentType: mergeContentType, body: { data: { 'trust-bundle.pem': 'of nobody' } } });
    // An address whose quarantine ends.
    await cluster.apply({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatPool', metadata: { name: 'short' }, spec: { addresses: ['10.6.0.1'], quarantine: '1s' } }, own('SnatBinding', 'short', { subject: { namespace: 'bookinfo', serviceAccount: 'reviews' }, pool: 'short' }));
    await cluster.until(own('SnatBinding', 'short', {}), 'accepted', (live) => conditionsOf(live, 'Accepted') === 'Accepted=True');
    await cluster.remove(own('SnatBinding', 'short', {}));
    // Whoever is behind an address.
    await cluster.apply(own('WorkloadEntry', 'mainframe', { addresses: ['10.8.0.1'], serviceAccount: 'reports' }));
    // A pod that enrols, and a join token.
    const csr = createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    const trustBundlePem = (await processes.run(['ca', 'export'])).stdout;
    await enrolPod({ address: `127.0.0.1:${meshPort}`, identity: defaultControlIdentity('cluster.local' as TrustDomain), trustBundlePem }, await pods.tokenOf(await pods.start('productpage')), csr, { timeoutMs: 10_000 });
    assert.ok(await succeeds('token', 'create', 'spiffe://cluster.local/ns/bookinfo/sa/reviews'));
  }
});

interface Grant {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** Each verb of each rule at each resource and name. Whether somebody may be named as an owner an admission plugin asks, of which no audit tells. */
const grants: readonly Grant[] = permissions.flatMap(({ where, group, resources, verbs, names = [undefined] }) =>
  resources
    .filter((resource) => !resource.endsWith('/finalizers'))
    .flatMap((resource) => verbs.flatMap((verb) => names.map((name): Grant => ({ group, resource, verb, ...(where === 'cluster' ? {} : { namespace: system }), ...(name === undefined ? {} : { name }) })))),
);

function covers(grant: Grant, use: ApiUse): boolean {
  return grant.group === use.group && grant.resource === use.resource && grant.verb === use.verb && (grant.namespace ?? use.namespace) === use.namespace && (grant.name ?? use.name) === use.name;
}
