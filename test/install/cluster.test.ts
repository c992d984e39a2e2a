import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { waitFor } from '../../src/demo/processes.ts';
import { apiVersion } from '../../src/core/objects/index.ts';
import { ApiRefusal, createApiClient, mergeContentType, type ApiClient } from '../../src/kubernetes/client.ts';
import { commandLine, type CommandResult } from '../cli/support/command-line.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { requirePeer } from '../support/peers.ts';

const system = 'sallyport-system';
const gateways = 'sallyport-gateways';
const run = commandLine('/nowhere');

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly generation?: number; readonly deletionTimestamp?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly webhooks?: readonly { readonly clientConfig: { readonly caBundle?: string } }[];
}

interface StatefulSet extends Item {
  readonly spec: { readonly template: { readonly metadata: object; readonly spec: PodSpec } };
}

interface PodSpec {
  readonly hostNetwork?: boolean;
  readonly containers: readonly object[];
  readonly volumes?: readonly object[];
}

const paths = {
  secret: `/api/v1/namespaces/${system}/secrets/sallyport-ca`,
  control: `/apis/apps/v1/namespaces/${system}/statefulsets/sallyport`,
  gateway: `/apis/apps/v1/namespaces/${gateways}/statefulsets/egress-1`,
  injection: '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/sallyport-inject',
  definition: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/snatassignments.sallyport.dev',
  olderDefinition: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/externalservices.externalservice.example.com',
  assignments: `/apis/${apiVersion}/snatassignments`,
  assignment: `/apis/${apiVersion}/snatassignments/192.0.2.7.1024`,
} as const;

describe('an installation in a cluster', function () {
  const server = useKubernetes(this, { record: true });
  let client: ApiClient;
  let kubeconfig: string;
  before(async () => {
    client = createApiClient(server().kubeConfig());
    kubeconfig = await server().kubeConfigFile();
  });

  const collector = ['--ledger-otlp', 'https://collector.observability:4318', '--ledger-otlp-ca', 'collector-ca', '--ledger-otlp-headers', 'collector-headers'];
  const boxes = ['--bigip-credentials', 'f5', '--syslog-tls', '--syslog-allow', 'f5=10.0.0.4/31', 'edge=fd00::4'];
  const install = async (...args: readonly string[]): Promise<CommandResult> => await run(['install', '--kubeconfig', kubeconfig, '--gateway', 'egress-1', '--older-form', ...collector, ...boxes, ...args]);
  const uninstall = async (stdin: string, ...args: readonly string[]): Promise<CommandResult> => await run(['uninstall', '--kubeconfig', kubeconfig, ...args], { stdin });
  const get = async <Answer = Item>(path: string): Promise<Answer> => await client.request<Answer>({ method: 'GET', path });
  const post = async (path: string, body: object, as = client): Promise<Item> => await as.request<Item>({ method: 'POST', path, body });
  const linesOf = ({ status, out, err }: CommandResult): readonly string[] => {
    assert.equal(status, 0, err);
    return out.trimEnd().split('\n');
  };
  /** Being deleted is as good as gone: there is no controller here that ends it. */
  const isThere = async (path: string): Promise<boolean> =>
    await get(path).then(
      ({ metadata }) => metadata.deletionTimestamp === undefined,
      (error: unknown) => {
        if (error instanceof ApiRefusal && error.status === 404) return false;
        throw error;
      },
    );
  const refusalOf = async (answer: Promise<unknown>): Promise<string> =>
    await answer.then(
      () => 'allowed',
      (error: unknown) => (error as Error).message,
    );

  describe('as it is made', () => {
    it('is taken from a pipe by kubectl', async function () {
      const { out } = await run(['install', '--dry-run', '-o', 'yaml']);
      const { stdout, stderr } = spawnSync(requirePeer(this, 'kubectl'), ['apply', '-f', '-'], { input: out, encoding: 'utf8', env: { KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig) } });
      assert.equal(stderr, '');
      assert.match(stdout, /statefulset.apps\/sallyport created\n/);
      assert.ok(stdout.trimEnd().split('\n').every((line) => line.endsWith(' created')), stdout);
    });

    it('goes on by the command where somebody says so', async () => {
      const { status, err } = await install();
      assert.equal(status, 5);
      assert.match(err, /conflict.* with "kubectl-client-side-apply"[^]*add --force-conflicts/);
      linesOf(await install('--force-conflicts'));
      linesOf(await uninstall('', '--yes'));
    });

    it('is made by the command, which says what became of each object', async () => {
      const lines = linesOf(await install());
      assert.ok(lines.includes('StatefulSet sallyport-gateways/egress-1 created'));
      assert.ok(lines.includes('Namespace sallyport-system unchanged'));
    });

    it('changes nothing where it is as it is to be', async () => {
      assert.deepEqual(linesOf(await install()).filter((line) => !line.endsWith(' unchanged')), []);
    });

    it('leaves alone what the control plane has written into it', async () => {
      await client.request({ method: 'PATCH', path: paths.secret, query: { fieldManager: 'sallyport' }, contentType: mergeContentType, body: { data: { key: 'c2VjcmV0' } } });
      await client.request({ method: 'PATCH', path: paths.injection, query: { fieldManager: 'sallyport' }, contentType: 'application/json-patch+json', body: [{ op: 'add', path: '/webhooks/0/clientConfig/caBundle', value: Buffer.from(server().caPem).toString('base64') }] });
      linesOf(await install('--image', 'sallyport:next'));
      assert.equal((await get(paths.secret)).data?.['key'], 'c2VjcmV0');
      assert.ok((await get(paths.injection)).webhooks?.[0]?.clientConfig.caBundle);
    });

    it('does not overwrite what somebody else has set, unless told to', async () => {
      await client.request({ method: 'PATCH', path: paths.control, query: { fieldManager: 'alice' }, contentType: mergeContentType, body: { spec: { replicas: 5 } } });
      const { status, err } = await install();
      assert.equal(status, 5);
      assert.match(err, /conflict with "alice".*\.spec\.replicas.*sallyport-system\/statefulsets\/sallyport[^]*--force-conflicts/);
      assert.ok(linesOf(await install('--force-conflicts')).includes('StatefulSet sallyport-system/sallyport changed'));
    });

    it('is waited for until all pods are ready, one gateway after another', async () => {
      const waits = async (...args: readonly string[]): Promise<CommandResult> => await install('--wait', '--timeout', '100ms', ...args);
      const makeReady = async (path: string, replicas: number): Promise<void> => {
        const { metadata } = await get(path);
        await client.request({ method: 'PATCH', path: `${path}/status`, contentType: mergeContentType, body: { status: { observedGeneration: metadata.generation, replicas, readyReplicas: replicas, updatedReplicas: replicas } } });
      };
      const first = await waits();
      assert.equal(first.status, 6);
      assert.match(first.err, /StatefulSet "sallyport" is not ready after 0.1 s/);
      await makeReady(paths.control, 2);
      assert.match((await waits('--gateway', 'egress-2')).err, /StatefulSet "egress-1" is not ready/);
      assert.equal(await isThere(paths.gateway.replace('egress-1', 'egress-2')), false);
      await makeReady(paths.gateway, 1);
      linesOf(await waits());
      assert.match((await waits('--image', 'sallyport:next')).err, /StatefulSet "sallyport" is not ready/); // its pods are, but of the version before
    });

    it('asks before it takes back what an earlier one had', async () => {
      const fewer = ['install', '--kubeconfig', kubeconfig, '--no-webhooks'];
      const { status, err } = await run(fewer);
      assert.equal(status, 5);
      assert.match(err, /had what this one has not: .*MutatingWebhookConfiguration sallyport-inject.*StatefulSet sallyport-gateways\/egress-1/);
      assert.ok(await isThere(paths.injection));
      assert.ok(linesOf(await run([...fewer, '--prune'])).includes('MutatingWebhookConfiguration sallyport-inject removed'));
      assert.deepEqual([await isThere(paths.injection), await isThere(paths.gateway), await isThere(paths.olderDefinition), await isThere(`/api/v1/namespaces/${gateways}`)], [false, false, true, true]);
      linesOf(await install());
    });

    it('says who may not, and who is away', async () => {
      const as = async (file: string, ...args: readonly string[]): Promise<CommandResult> => await run(['install', '--kubeconfig', file, ...args]);
      assert.equal((await as(await server().kubeConfigFile({ token: 'nobody' }))).status, 4);
      assert.equal((await as(await server().kubeConfigFile({ address: '127.0.0.1:1' }))).status, 6);
      const elsewhere = await as(kubeconfig, '--context', 'elsewhere');
      assert.deepEqual([elsewhere.status, elsewhere.err], [2, 'error: there is no context "elsewhere"\nhint: contexts: "test"\n']);
    });
  });

  describe('its pods', () => {
    /** As the controller makes it, with the claims as volumes. */
    async function startPod(path: string, namespace: string, change: (spec: PodSpec) => PodSpec = (spec) => spec): Promise<string> {
      const { template } = (await get<StatefulSet>(path)).spec;
      const spec = change({ ...template.spec, volumes: [...(template.spec.volumes ?? []), { name: 'state', persistentVolumeClaim: { claimName: 'state-0' } }] });
      return await refusalOf(post(`/api/v1/namespaces/${namespace}/pods`, { apiVersion: 'v1', kind: 'Pod', metadata: { ...template.metadata, generateName: 'a-' }, spec }));
    }

    it('of the control plane are let in where only restricted ones are', async () => {
      assert.equal(await startPod(paths.control, system), 'allowed');
      assert.match(await startPod(paths.control, system, (spec) => ({ ...spec, containers: spec.containers.map((container) => ({ ...container, securityContext: {} })) })), /violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false.*capabilities/);
    });

    it('of a gateway are as restricted, but for the network of their node, and let in in their own namespace', async () => {
      assert.equal(await startPod(paths.gateway, gateways), 'allowed');
      assert.match(await startPod(paths.gateway, system), /violates PodSecurity "restricted:latest": host namespaces \(hostNetwork=true\), probe or lifecycle host \(.*\)$/);
    });
  });

  describe('its control plane', () => {
    let control: ApiClient;
    before(async () => {
      const { status } = await client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: `/api/v1/namespaces/${system}/serviceaccounts/control/token`, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } });
      control = createApiClient(server().kubeConfig({ token: status.token }));
      for (const name of ['bookinfo', 'kube-system']) if (!(await isThere(`/api/v1/namespaces/${name}`))) await post('/api/v1/namespaces', { metadata: { name } });
    });

    const may = async (verb: string, resource: string, namespace?: string, name?: string): Promise<boolean> => {
      const [, plural, subresource, group = ''] = /^([a-z]+)(?:\/([a-z]+))?(?:\.(.+))?$/.exec(resource)!;
      const resourceAttributes = { verb, group, resource: plural, subresource, namespace, name };
      const { status } = await control.request<{ readonly status: { readonly allowed: boolean } }>({ method: 'POST', path: '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', body: { apiVersion: 'authorization.k8s.io/v1', kind: 'SelfSubjectAccessReview', spec: { resourceAttributes } } });
      return status.allowed;
    };
    const rights: readonly [verb: string, resource: string, namespace: string | undefined, name: string | undefined, isAllowed: boolean][] = [
      ['watch', 'egresspolicies.sallyport.dev', undefined, undefined, true],
      ['patch', 'egresspolicies/status.sallyport.dev', 'bookinfo', 'a', true],
      ['patch', 'egresspolicies.sallyport.dev', 'bookinfo', 'a', false],
      ['create', 'snatbindings.sallyport.dev', 'bookinfo', undefined, false],
      ['create', 'snatassignments.sallyport.dev', undefined, undefined, true],
      ['get', 'secrets', system, 'sallyport-ca', true],
      ['update', 'secrets', system, 'sallyport-state', true],
      ['get', 'secrets', system, 'another', false],
      ['list', 'secrets', system, undefined, false],
      ['create', 'secrets', system, undefined, false],
      ['get', 'secrets', 'kube-system', 'sallyport-ca', false],
      ['get', 'configmaps', 'bookinfo', 'another', false],
      ['patch', 'configmaps', 'bookinfo', 'sallyport-trust-bundle', true],
      ['update', 'leases.coordination.k8s.io', system, 'sallyport', true],
      ['update', 'leases.coordination.k8s.io', system, 'another', false],
      ['update', 'leases.coordination.k8s.io', 'kube-system', 'kube-controller-manager', false],
      ['create', 'pods', 'bookinfo', undefined, false],
      ['create', 'pods/exec', 'bookinfo', 'a', false],
      ['create', 'serviceaccounts/token', 'bookinfo', 'default', false],
      ['impersonate', 'users', undefined, 'alice', false],
      ['create', 'tokenreviews.authentication.k8s.io', undefined, undefined, true],
      ['patch', 'mutatingwebhookconfigurations.admissionregistration.k8s.io', undefined, 'sallyport-inject', true],
      ['patch', 'mutatingwebhookconfigurations.admissionregistration.k8s.io', undefined, 'another', false],
      ['patch', 'clusterroles.rbac.authorization.k8s.io', undefined, 'sallyport-control', false],
      ['patch', 'customresourcedefinitions.apiextensions.k8s.io', undefined, 'egresspolicies.sallyport.dev', false],
    ];
    for (const [verb, resource, namespace, name, isAllowed] of rights) {
      it(`${isAllowed ? 'may' : 'may not'} ${verb} ${resource}${name === undefined ? '' : ` ${name}`}${namespace === undefined ? '' : ` in ${namespace}`}`, async () => {
        assert.equal(await may(verb, resource, namespace, name), isAllowed);
      });
    }

    const service = (name: string, labels: object) => ({ apiVersion: 'v1', kind: 'Service', metadata: { name, labels }, spec: { ports: [{ port: 21 }] } });
    const ours = { 'app.kubernetes.io/managed-by': 'sallyport.dev' };
    const servicesOf = (namespace: string) => `/api/v1/namespaces/${namespace}/services`;

    it('writes Services that it registers, and no others', async () => {
      await post(servicesOf('bookinfo'), service('theirs', {}));
      await waitFor('the admission policy', 10_000, async () => (/writes nothing that is not labelled/.test(await refusalOf(post(`${servicesOf('bookinfo')}?dryRun=All`, service('a', {}), control))) ? true : undefined));
      await post(servicesOf('bookinfo'), service('partner', ours), control);
      const patch = async (name: string, labels: object): Promise<string> => await refusalOf(control.request({ method: 'PATCH', path: `${servicesOf('bookinfo')}/${name}`, contentType: mergeContentType, body: { metadata: { labels } } }));
      assert.equal(await patch('partner', { zone: 'red' }), 'allowed');
      assert.match(await patch('partner', { 'app.kubernetes.io/managed-by': null }), /writes nothing that is not labelled/);
      assert.match(await patch('theirs', ours), /writes nothing that is not labelled/);
      assert.match(await refusalOf(control.request({ method: 'DELETE', path: `${servicesOf('bookinfo')}/theirs` })), /writes nothing that is not labelled/);
    });

    it('registers nothing in kube-system, whatever it is labelled', async () => {
      const slice = { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: 'dns', labels: { ...ours, 'kubernetes.io/service-name': 'kube-dns' } }, addressType: 'IPv4', endpoints: [] };
      assert.match(await refusalOf(post('/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices', slice, control)), /registers nothing in kube-system/);
      assert.equal(await refusalOf(post('/apis/discovery.k8s.io/v1/namespaces/bookinfo/endpointslices', slice, control)), 'allowed');
    });

    it('writes the ConfigMap of the trust bundle, and no other', async () => {
      const create = async (name: string, labels: object = ours): Promise<string> => await refusalOf(post('/api/v1/namespaces/bookinfo/configmaps', { metadata: { name, labels }, data: {} }, control));
      assert.match(await create('sallyport-trust-bundle', {}), /writes nothing that is not labelled/);
      assert.equal(await create('sallyport-trust-bundle'), 'allowed');
      assert.match(await create('another'), /writes no ConfigMap but sallyport-trust-bundle/);
    });

    it('is recorded in what it asks for', async () => {
      const asked = (await server().uses()).filter(({ user }) => user === `system:serviceaccount:${system}:control`);
      const patched = asked.find(({ resource, verb }) => resource === 'services' && verb === 'patch');
      assert.deepEqual({ ...patched, atMs: 0 }, { user: `system:serviceaccount:${system}:control`, verb: 'patch', group: '', resource: 'services', namespace: 'bookinfo', name: 'partner', isAllowed: true, atMs: 0 });
      await assert.rejects(control.request({ method: 'GET', path: `/api/v1/namespaces/${system}/secrets` }));
      await waitFor('the record', 5_000, async () => (await server().uses()).find(({ resource, verb, isAllowed }) => resource === 'secrets' && verb === 'list' && !isAllowed));
    });
  });

  describe('as it is removed', () => {
    before(async () => {
      const [pool, holder, address] = ['eu', 'ns/bookinfo', '192.0.2.7'];
      await post(paths.assignments, { apiVersion, kind: 'SnatAssignment', metadata: { name: '192.0.2.7.1024', finalizers: ['sallyport.dev/promise'] }, spec: { pool, holder, address, ports: { first: 1024, last: 65535 } } });
    });
    const services = '/api/v1/namespaces/bookinfo/services';
    const bundle = '/api/v1/namespaces/bookinfo/configmaps/sallyport-trust-bundle';

    it('is left as it is by whoever does not confirm', async () => {
      for (const answer of ['', 'no\n', 'y\n']) {
        const { status, out, err } = await uninstall(answer);
        assert.deepEqual([status, out], [2, '']);
        assert.match(err, /^goes: .*2 StatefulSet.*3 Service, .*1 EndpointSlice, 1 ConfigMap\nstays: .*CustomResourceDefinition.*2 Namespace\ngo on\? \(yes\/no\)\nerror: nothing was removed/);
      }
      assert.ok(await isThere(paths.control));
    });

    it('loses what can be made again, and keeps the rest', async () => {
      linesOf(await uninstall('yes\n'));
      assert.deepEqual([await isThere(paths.control), await isThere(paths.gateway), await isThere(paths.injection), await isThere(`${services}/partner`), await isThere(bundle)], [false, false, false, false, false]);
      assert.deepEqual([await isThere(paths.assignment), await isThere(paths.secret), await isThere(`/api/v1/namespaces/${system}`), await isThere(`${services}/theirs`)], [true, true, true, true]);
      assert.equal((await get(paths.secret)).data?.['key'], 'c2VjcmV0');
    });

    it('is there again by Helm, with its addresses and keys, and leaves the same by Helm', async function () {
      const program = requirePeer(this, 'helm');
      const chart = new URL('../../charts/sallyport', import.meta.url).pathname;
      const helm = async (...args: readonly string[]): Promise<string> => (await promisify(execFile)(program, args, { env: { KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig) } })).stdout;
      await helm('install', 'sallyport', chart, '--take-ownership', '--set', 'gateways={egress-1}');
      assert.ok((await isThere(paths.control)) && (await isThere(paths.gateway)) && (await isThere(paths.assignment)));
      const { metadata } = await get(paths.control);
      await helm('upgrade', 'sallyport', chart, '--reuse-values');
      assert.deepEqual((await get(paths.control)).metadata.generation, metadata.generation);
      assert.equal((await get(paths.secret)).data?.['key'], 'c2VjcmV0');
      await helm('uninstall', 'sallyport');
      assert.deepEqual([await isThere(paths.control), await isThere(paths.assignment), await isThere(paths.secret), await isThere(`/api/v1/namespaces/${system}`)], [false, true, true, true]);
      assert.equal((await get(paths.secret)).data?.['key'], 'c2VjcmV0');
    });

    it('is there again by the command', async () => {
      linesOf(await install('--force-conflicts'));
      assert.ok(await isThere(paths.control));
      assert.equal((await get(paths.secret)).data?.['key'], 'c2VjcmV0');
    });

    it('leaves nothing where it is purged', async () => {
      linesOf(await uninstall('', '--purge', '--yes'));
      await waitFor('the definitions to go', 10_000, async () => ((await isThere(paths.assignment)) || (await get<unknown>(paths.definition).catch(() => undefined)) !== undefined ? undefined : true));
      assert.deepEqual([await isThere(paths.olderDefinition), await isThere(paths.secret), await isThere(`/api/v1/namespaces/${system}`), await isThere(`/api/v1/namespaces/${gateways}`), await isThere('/api/v1/namespaces/external-services'), await isThere(`${services}/theirs`)], [false, false, false, false, true, true]);
      assert.deepEqual(linesOf(await uninstall('', '--yes')), ['']);
    });
  });
});
