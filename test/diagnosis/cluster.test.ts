import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../../src/demo/processes.ts';
import type { CheckResult } from '../../src/diagnosis/index.ts';
import { createApiClient, mergeContentType, type ApiClient } from '../../src/kubernetes/index.ts';
import { commandLine, type CommandResult } from '../cli/support/command-line.ts';
import { deployOn, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { clusterOf, conditionsOf, manifestsIn, type Cluster, type Manifest } from '../support/cluster.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const system = 'sallyport-system';
const run = commandLine('/nowhere');
const example = manifestsIn(new URL('../../manifests/examples/bookinfo-forward-proxy.yaml', import.meta.url).pathname);
const of = (kind: string): Manifest => example.find((object) => object.kind === kind)!;

describe('an installation in a cluster, looked at from outside,', function () {
  const server = useKubernetes(this);
  let kubeconfig: string;
  let client: ApiClient;
  let cluster: Cluster;
  let deployment: ClusterDeployment | undefined;
  before(async () => {
    client = createApiClient(server().kubeConfig());
    cluster = clusterOf(client);
    kubeconfig = await server().kubeConfigFile();
  });
  after(() => deployment?.close());

  const patch = async (path: string, body: object, contentType = mergeContentType): Promise<void> => {
    await client.request({ method: 'PATCH', path, contentType, body });
  };
  const remove = async (path: string): Promise<void> => {
    await client.request({ method: 'DELETE', path });
  };
  const ask = async (...args: readonly string[]): Promise<CommandResult> => await run([...args, '--kubeconfig', kubeconfig]);

  /** Codes of what did not pass, with their verdicts. */
  async function faultsOf(...args: readonly string[]): Promise<readonly string[]> {
    const { status, out, err } = await run(['check', '-o', 'json', ...args, ...(args.includes('--kubeconfig') ? [] : ['--kubeconfig', kubeconfig])]);
    assert.ok(status === 0 || status === 1, err);
    const { success, checks } = JSON.parse(out) as { readonly success: boolean; readonly checks: readonly CheckResult[] };
    assert.equal(success, status === 0);
    return checks.flatMap(({ code, verdict }) => (verdict === 'passed' ? [] : [`${code} ${verdict}`]));
  }

  describe('before it is made', () => {
    it('can be made by an administrator', async () => {
      const { status, out } = await ask('check', '--pre');
      assert.equal(status, 0, out);
      assert.match(out, /^Kubernetes\n {2}ok {7}the API server is of version 1\.30 or later: v1\.[^]*\nBefore an installation\n {2}ok {7}you may create[^]*\nall is well\n$/);
    });

    it('cannot be made by who may not, and is not asked about whom nobody knows', async () => {
      await cluster.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'somebody', namespace: 'default' } });
      const { status } = await client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: '/api/v1/namespaces/default/serviceaccounts/somebody/token', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } });
      assert.deepEqual(await faultsOf('--pre', '--kubeconfig', await server().kubeConfigFile({ token: status.token })), ['install-rights failed', 'install-admitted failed', 'names-free skipped', 'native-sidecars skipped']);
      assert.equal((await run(['check', '--kubeconfig', await server().kubeConfigFile({ token: 'nobody' })])).status, 4);
      assert.equal((await run(['check', '--kubeconfig', await server().kubeConfigFile({ address: '127.0.0.1:1' })])).status, 6);
    });

    it('warns of names that somebody else uses', async () => {
      await client.request({ method: 'POST', path: '/apis/rbac.authorization.k8s.io/v1/clusterroles', body: { metadata: { name: 'sallyport-control' }, rules: [] } });
      const { status, out } = await ask('check', '--pre');
      assert.equal(status, 0);
      assert.match(out, / {2}warning {2}nobody else uses the names of an installation: 1 of 1 .*\n {11}- ClusterRole sallyport-control\n {11}hint: .*\n {11}see docs\/reference\/checks\.md#names-free\n/);
      await remove('/apis/rbac.authorization.k8s.io/v1/clusterroles/sallyport-control');
    });

    it('is told to be missing', async () => {
      const faults = await faultsOf();
      for (const fault of ['definitions-installed failed', 'control-plane-ready failed', 'lease-held failed', 'trust-bundle-everywhere failed', 'objects-accepted skipped']) assert.ok(faults.includes(fault), `${fault}: ${faults.join()}`);
    });
  });

  describe('as it works', () => {
    before(async () => {
      assert.equal((await ask('install')).status, 0);
      // Nobody is behind the Service here: the API server is refused at once.
      for (const path of ['mutatingwebhookconfigurations/sallyport-inject', 'validatingwebhookconfigurations/sallyport-validate']) {
        const { webhooks } = await client.request<{ readonly webhooks: readonly object[] }>({ method: 'GET', path: `/apis/admissionregistration.k8s.io/v1/${path}` });
        await patch(`/apis/admissionregistration.k8s.io/v1/${path}`, { webhooks: webhooks.map((each) => ({ ...each, clientConfig: { url: 'https://127.0.0.1:1/' } })) });
      }
      deployment = await deployOn(server(), cluster);
      await deployment.startReplica('a');
      await deployment.cli('a', ['ca', 'init']);
      await cluster.apply(of('SnatPool'), of('ExternalService'), of('EgressPolicy'), of('SnatBinding'));
      await cluster.until(of('SnatBinding'), 'accepted', (live) => conditionsOf(live, 'Accepted') === 'Accepted=True');
      const path = `/apis/apps/v1/namespaces/${system}/statefulsets/sallyport`;
      const { metadata } = await client.request<{ readonly metadata: { readonly generation: number } }>({ method: 'GET', path });
      await patch(`${path}/status`, { status: { observedGeneration: metadata.generation, replicas: 2, readyReplicas: 2, updatedReplicas: 2 } });
    });

    it('passes every check, with a warning of what has no gateway yet', async () => {
      // The trust bundle, and the other objects' statuses, come a moment after the binding's.
      let faults: readonly string[] = [];
      const only = 'objects-without-warnings warned';
      await waitFor(only, 20_000, async () => (faults = await faultsOf()).join() === only || undefined).catch((error: unknown) => assert.fail(`${String(error)}: ${faults.join()}`));
    });

    it('is analysed as its operator sees it', async () => {
      await cluster.until({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'bigip-proxy-svc', namespace: 'bookinfo' } }, 'registered', () => true);
      const { status, out } = await ask('analyze');
      assert.equal(status, 1);
      assert.match(out, /^warning: ExternalService bookinfo\/bigip-proxy-svc spec: .*\[gateway-missing\]$/m);
      assert.doesNotMatch(out, /service-name-taken|policy-without-address|^error/m);
    });

    it('is analysed with what is not in force, and with what would mend it', async () => {
      const policy: Manifest = { ...of('EgressPolicy'), metadata: { name: 'early', namespace: 'bookinfo' }, spec: { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'late' }] } };
      const service: Manifest = { ...of('ExternalService'), metadata: { name: 'late', namespace: 'bookinfo' }, spec: { addresses: ['10.4.0.202'], ports: [{ port: 3129 }] } };
      await cluster.apply(policy);
      const fault = /^error: EgressPolicy bookinfo\/early spec\.to\[0\]\.service: .*\[policy-service-unknown\]$/m;
      const { status, out } = await ask('analyze', '--fail-level', 'error');
      assert.equal(status, 1);
      assert.match(out, fault);
      const mended = await run(['analyze', '-f', '-', '--live', '--fail-level', 'error', '--kubeconfig', kubeconfig], { stdin: JSON.stringify(service) });
      assert.equal(mended.status, 0, mended.err);
      assert.doesNotMatch(mended.out, fault);
      await cluster.remove(policy);
    });

    it('is analysed with the pods behind a Service, and those beside it', async () => {
      const of = (kind: string, name: string, spec: object): Manifest => ({ apiVersion: 'v1', kind, metadata: { name, namespace: 'shop' }, spec });
      const pod = (name: string): Manifest => of('Pod', name, { serviceAccountName: 'shared', nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] });
      const policy: Manifest = { ...example.find(({ kind }) => kind === 'EgressPolicy')!, metadata: { name: 'by-service', namespace: system }, spec: { subjects: [{ service: { name: 'web', namespace: 'shop' } }], to: [{ service: 'bigip-proxy-svc', namespace: 'bookinfo' }] } };
      const slice: Manifest = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } }, addressType: 'IPv4', ports: [], endpoints: [{ addresses: ['10.1.0.1'], targetRef: { kind: 'Pod', name: 'web', namespace: 'shop' } }] };
      await cluster.apply(of('Service', 'web', { selector: { app: 'web' }, ports: [{ port: 80 }] }), pod('web'), pod('beside'), slice, policy);
      const { out } = await ask('analyze');
      assert.match(out, /^warning: EgressPolicy sallyport-system\/by-service spec\.subjects\[0\]: .*service accounts shared too.*\[subject-account-shared\]$/m);
      assert.match(out, /^warning: EgressPolicy sallyport-system\/by-service spec\.subjects: it lets sa\/shop\/shared use .*\[policy-without-address\]$/m);
      await cluster.remove(policy);
    });

    it('is analysed together with what is to be applied', async () => {
      const file = { stdin: JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [of('EgressGateway'), { ...of('EgressPolicy'), metadata: { name: 'more', namespace: 'bookinfo' }, spec: { subjects: [{ namespace: 'bokinfo' }], to: [{ service: 'bigip-proxy-svc', namespace: 'bookinfo' }] } }] }) };
      const { status, out } = await run(['analyze', '-f', '-', '--live', '--root-namespace', 'bookinfo', '--kubeconfig', kubeconfig], file);
      assert.equal(status, 1);
      assert.match(out, /^warning: \(standard input\):1:\d+ EgressPolicy bookinfo\/more spec\.subjects\[0\]: there is no namespace "bokinfo".*\[subject-namespace-unknown\]$/m);
      assert.doesNotMatch(out, /gateway-missing/);
      const smaller = { ...of('SnatPool'), spec: { addresses: ['10.4.0.90'] } };
      const taking = await run(['analyze', '-f', '-', '--live', '--kubeconfig', kubeconfig], { stdin: JSON.stringify(smaller) });
      assert.equal(taking.status, 2);
      assert.match(taking.err, /SnatBinding bookinfo\/bookinfo .*\[assignment-outside-pool\]/);
      const tenants = await run(['analyze', '-f', '-', '--live', '--kubeconfig', kubeconfig], file);
      assert.equal(tenants.status, 2);
      assert.match(tenants.err, /\(standard input\):1:\d+ EgressPolicy bookinfo\/more .*\[subject-foreign\]/);
    });
  });

  describe('in a support bundle', () => {
    const secret = 'sallyport-join-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';
    let directory: string;
    before(async () => {
      directory = await mkdtemp(join(tmpdir(), 'sallyport-bundle-'));
      const container = { name: 'control', image: 'sallyport', env: [{ name: 'ANY', value: 'correct-horse' }], securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } };
      await cluster.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'sallyport-0', namespace: system, annotations: { note: secret } }, spec: { nodeName: 'node-a', containers: [container], securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } } });
    });
    after(() => rm(directory, { recursive: true }));

    async function bundle(...args: readonly string[]): Promise<ReadonlyMap<string, string>> {
      const file = join(directory, 'bundle.tar.gz');
      const { status, out, err } = await ask('support-bundle', '-o', file, ...args);
      assert.deepEqual([status, out], [0, `${file}\n`], err);
      assert.equal((await stat(file)).mode & 0o777, 0o600);
      execFileSync('tar', ['xzf', file, '-C', directory]);
      const root = join(directory, 'sallyport-support');
      const names = (await readdir(root, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
      return new Map(await Promise.all(names.map(async (name) => [name.slice(root.length + 1), await readFile(name, 'utf8')] as const)));
    }

    it('is there what helps: objects with their statuses, events, what was checked, and what could not be had', async () => {
      const files = await bundle();
      assert.match(files.get('objects/snatbindings.sallyport.dev.yaml')!, /type: Accepted\n +status: "True"\n|status: "True"\n +type: Accepted\n/);
      assert.match(files.get('objects/snatassignments.sallyport.dev.yaml')!, /address: 10\.4\.0\.65/);
      assert.match(files.get('events.yaml')!, /reason: AddressAssigned/);
      assert.match(files.get('check.txt')!, /\n {2}warning {2}no object has a warning/);
      assert.match(files.get('lease.yaml')!, /holderIdentity: a/);
      assert.match(files.get('versions.yaml')!, /gitVersion: v1\./);
      assert.match(files.get('README.txt')!, new RegExp(`- ${system}/logs/sallyport-0/control\\.log: `));
      for (const name of ['definitions/snatpools.sallyport.dev.yaml', 'webhooks/sallyport-inject.yaml', `${system}/network-policies.yaml`, `${system}/statefulsets.yaml`]) assert.ok(files.has(name), name);
    });

    it('are no secrets', async () => {
      const { data } = await client.request<{ readonly data: Readonly<Record<string, string>> }>({ method: 'GET', path: `/api/v1/namespaces/${system}/secrets/sallyport-ca` });
      const all = [...(await bundle()).values()].join('');
      assert.match(all, /note: "\[redacted\]"/);
      for (const each of [secret, 'correct-horse', 'PRIVATE KEY', ...Object.values(data)]) assert.ok(!all.includes(each), each.slice(0, 40));
    });

    it('are no addresses where they are to go, and the same words in all files', async () => {
      const files = await bundle('--redact-addresses');
      assert.ok(![...files.values()].join('').includes('10.4.0.'));
      const [, address] = /address: (address-\w+)/.exec(files.get('objects/snatassignments.sallyport.dev.yaml')!)!;
      assert.ok(files.get('objects/snatbindings.sallyport.dev.yaml')!.includes(address!));
    });
  });

  describe('as it is broken', () => {
    let known: readonly string[];
    before(async () => {
      await deployment!.kill('a');
      known = await faultsOf();
    });
    const admission = '/apis/admissionregistration.k8s.io/v1';
    const definition = (name: string): string => `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${name}.sallyport.dev`;
    const breaks: readonly [what: string, expected: string, act: () => Promise<unknown>][] = [
      ['an object that nobody has looked at', 'objects-accepted failed', () => cluster.apply({ ...of('SnatPool'), metadata: { name: 'new' }, spec: { addresses: ['192.0.2.1'] } })],
      ['a gateway that is away', 'gateways-connected failed', () => cluster.apply(of('EgressGateway'))],
      ['a pool that was removed', 'assignments-with-pool warned', () => cluster.remove(of('SnatPool'))],
      ['a namespace without the trust bundle', 'trust-bundle-everywhere failed', () => remove('/api/v1/namespaces/bookinfo/configmaps/sallyport-trust-bundle')],
      ['a webhook with another CA', 'webhook-ca failed', () => patch(`${admission}/mutatingwebhookconfigurations/sallyport-inject`, [{ op: 'replace', path: '/webhooks/0/clientConfig/caBundle', value: Buffer.from(server().caPem).toString('base64') }], 'application/json-patch+json')],
      ['a CA that is gone', 'ca-present failed', async () => {
        const path = `/api/v1/namespaces/${system}/secrets/sallyport-ca`;
        const { data } = await client.request<{ readonly data: object }>({ method: 'GET', path });
        await patch(path, { data: Object.fromEntries(Object.keys(data).map((key) => [key, null])) });
      }],
      ['a role that was cut', 'control-rights failed', () => patch('/apis/rbac.authorization.k8s.io/v1/clusterroles/sallyport-control', { rules: [] })],
      ['a replica that is not ready', 'control-plane-ready failed', () => patch(`/apis/apps/v1/namespaces/${system}/statefulsets/sallyport/status`, { status: { readyReplicas: 1 } })],
      ['a replica whose clock is wrong', 'leader-clock failed', () => patch(`/apis/coordination.k8s.io/v1/namespaces/${system}/leases/sallyport`, { spec: { holderIdentity: 'a', renewTime: '2020-01-01T00:00:00.000000Z' } })],
      ['a Lease that nobody holds', 'lease-held failed', () => patch(`/apis/coordination.k8s.io/v1/namespaces/${system}/leases/sallyport`, { spec: { holderIdentity: '' } })],
      ['a definition of another version', 'definitions-current failed', () => patch(definition('snatpools'), [{ op: 'remove', path: '/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/exclude' }], 'application/json-patch+json')],
      ['a definition that is gone', 'definitions-installed failed', () => remove(definition('referencegrants'))],
    ];
    for (const [what, expected, act] of breaks) {
      it(`tells ${what}`, async () => {
        await act();
        // Roles and definitions take a moment.
        const faults = await waitFor(expected, 10_000, async () => {
          const now = await faultsOf();
          return now.includes(expected) ? now : undefined;
        });
        assert.ok(!known.includes(expected), `${expected} was told before`);
        known = faults;
      });
    }
  });
});
