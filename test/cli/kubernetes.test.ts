import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../../src/demo/processes.ts';
import { createApiClient } from '../../src/kubernetes/client.ts';
import { openCluster, type Cluster, type LiveObject, type Manifest } from '../support/cluster.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { commandLine, type CommandLine, type CommandResult } from './support/command-line.ts';

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const proxy = ['-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.201', '3128', '--labels', 'apps=bigip-proxy'];
const service = object('ExternalService', 'bigip-proxy-svc', {}, 'bookinfo');
const policy = object('EgressPolicy', 'bookinfo', { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'bigip-proxy-svc' }] }, 'bookinfo');
const namespaceOf = (name: string): Manifest => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });

describe('the command line on Kubernetes', function () {
  const server = useKubernetes(this);
  let cluster: Cluster;
  let directory: string;
  let kubeconfig: string;
  const sallyport = commandLine('/nowhere');
  const asAdministrator: CommandLine = (args, input) => sallyport([...args, '--kubeconfig', kubeconfig], input);
  const manifests = (...objects: readonly Manifest[]): string => objects.map((each) => JSON.stringify(each)).join('\n---\n');
  const apply = (objects: readonly Manifest[], ...options: readonly string[]): Promise<CommandResult> => asAdministrator(['apply', '-f', '-', ...options], { stdin: manifests(...objects) });
  const managersOf = ({ metadata }: LiveObject) => (metadata as unknown as { readonly managedFields: readonly { readonly manager: string }[] }).managedFields.map(({ manager }) => manager);

  before(async function () {
    this.timeout(60_000);
    cluster = await openCluster(server());
    directory = mkdtempSync(join(tmpdir(), 'sallyport-cli-'));
    kubeconfig = await server().kubeConfigFile();
    await cluster.apply(namespaceOf('bookinfo'));
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  describe('register', () => {
    afterEach(() => cluster.remove(service));

    it('makes an ExternalService, with a field manager of its own', async () => {
      const { status, out, err } = await asAdministrator(['register', ...proxy]);
      assert.deepEqual([status, out], [0, 'ExternalService bookinfo/bigip-proxy-svc created\n']);
      assert.match(err, /is not registered yet: it is created/);
      const live = (await cluster.get(service))!;
      assert.deepEqual([live.spec['addresses'], (live.metadata as unknown as { readonly labels: object }).labels, managersOf(live)], [['10.4.0.201'], { apps: 'bigip-proxy' }, ['sallyport-cli']]);
    });

    it('adds an address to what is registered, and takes it back', async () => {
      await asAdministrator(['register', ...proxy]);
      assert.equal((await asAdministrator(['register', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.202', '3128'])).out, 'ExternalService bookinfo/bigip-proxy-svc configured\n');
      assert.deepEqual((await cluster.get(service))!.spec['addresses'], ['10.4.0.201', '10.4.0.202']);
      assert.equal((await asAdministrator(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.202'])).status, 0);
      assert.deepEqual((await cluster.get(service))!.spec['addresses'], ['10.4.0.201']);
      assert.equal((await asAdministrator(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc'])).out, 'ExternalService bookinfo/bigip-proxy-svc deleted\n');
      assert.equal(await cluster.get(service), undefined);
      assert.equal((await asAdministrator(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc'])).status, 3);
    });

    it('is not taken back while a policy or a binding names it, which are told', async () => {
      await asAdministrator(['register', ...proxy]);
      const others = object('EgressPolicy', 'others', { subjects: [{ namespace: 'default' }], to: [{ service: 'else' }, { service: 'bigip-proxy-svc', namespace: 'bookinfo' }] }, 'default');
      const namesake = object('EgressPolicy', 'namesake', { subjects: [{ namespace: 'default' }], to: [{ service: 'bigip-proxy-svc' }] }, 'default');
      const binding = object('SnatBinding', 'own', { subject: { namespace: 'bookinfo' }, pool: 'partners', targets: [{ service: 'bigip-proxy-svc' }] }, 'bookinfo');
      await cluster.apply(others, namesake, binding);
      const { status, out, err } = await asAdministrator(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc']);
      await cluster.remove(others, namesake, binding);
      assert.deepEqual([status, out], [2, '']);
      assert.equal(err, 'error: "bookinfo/bigip-proxy-svc" is still named by others, nothing was changed\nEgressPolicy default/others spec.to[1].service: there is no ExternalService "bookinfo/bigip-proxy-svc" [policy-service-unknown]\nSnatBinding bookinfo/own spec.targets[0].service: there is no ExternalService "bookinfo/bigip-proxy-svc" [binding-service-unknown]\nhint: take it out of them, or delete them first: sallyport delete KIND NAME -n NAMESPACE\n');
      assert.notEqual(await cluster.get(service), undefined);
      assert.equal((await asAdministrator(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc'])).status, 0);
    });

    it('changes nothing that somebody else has set, unless it is told to', async () => {
      await cluster.apply(object('ExternalService', 'bigip-proxy-svc', { addresses: ['10.4.0.200'], ports: [{ port: 3128 }] }, 'bookinfo'));
      const refused = await asAdministrator(['register', ...proxy]);
      assert.equal(refused.status, 5);
      assert.match(refused.err, /conflict with "test".*hint: change it where it was set, or add --force-conflicts to take the fields over/s);
      assert.deepEqual((await cluster.get(service))!.spec['addresses'], ['10.4.0.200']);
      assert.equal((await asAdministrator(['register', ...proxy, '--force-conflicts'])).status, 0);
      assert.deepEqual((await cluster.get(service))!.spec['addresses'], ['10.4.0.200', '10.4.0.201']);
    });

    it('tells with --dry-run what would be, and leaves it', async () => {
      assert.equal((await asAdministrator(['register', ...proxy, '--dry-run'])).out, 'ExternalService bookinfo/bigip-proxy-svc created (dry run)\n');
      assert.equal(await cluster.get(service), undefined);
    });
  });

  describe('apply', () => {
    const own = object('ExternalService', 'own', { addresses: ['10.4.0.203'], ports: [{ port: 3128 }] }, 'fresh');
    const ownPolicy = object('EgressPolicy', 'own', { subjects: [{ namespace: 'fresh' }], to: [{ service: 'own' }] }, 'fresh');

    it('brings a namespace and what is to be in it, in whatever order they are written; a second time nothing is changed', async () => {
      const { status, out, err } = await apply([ownPolicy, own, namespaceOf('fresh')]);
      assert.deepEqual([status, out, err], [0, 'EgressPolicy fresh/own created\nExternalService fresh/own created\nNamespace fresh created\n', '']);
      assert.equal((await apply([own, ownPolicy])).out, 'ExternalService fresh/own unchanged\nEgressPolicy fresh/own unchanged\n');
      assert.deepEqual(await asAdministrator(['diff', '-f', '-'], { stdin: manifests(own) }).then(({ status: differs, err: said }) => [differs, said]), [0, 'no differences\n']);
      const other = { ...own, spec: { addresses: ['10.4.0.204'], ports: [{ port: 3128 }] } };
      assert.deepEqual(await asAdministrator(['diff', '-f', '-'], { stdin: manifests(other) }).then(({ status: differs, out: told }) => [differs, told]), [1, 'ExternalService fresh/own configured (dry run)\n']);
    });

    it('brings a namespace before however many objects are to be in it', async () => {
      const policies = Array.from({ length: 20 }, (_, index) => ({ ...ownPolicy, metadata: { name: `own-${index}`, namespace: 'fresher' } }));
      const { status, out } = await apply([...policies, namespaceOf('fresher')]);
      assert.deepEqual([status, out.split('\n').length], [0, 22]);
    });

    it('writes nothing where a manifest has a fault, and names it with its place', async () => {
      const { status, err } = await apply([policy, object('SnatPool', 'bad', { addresses: ['10.4.0.300'] })]);
      assert.equal(status, 2);
      assert.match(err, /a fault, nothing was changed\n\(standard input\):3:\d+ SnatPool bad/);
      assert.equal(await cluster.get(policy), undefined);
    });

    it('writes nothing where the API server refuses one of them, and says which and where', async () => {
      const { status, err } = await apply([policy, { ...own, metadata: { name: 'own', namespace: 'nowhere' } }]);
      assert.equal(status, 3);
      assert.match(err, /refuses ExternalService nowhere\/own, nothing was changed\n\(standard input\):3:\d+ ExternalService nowhere\/own: namespaces "nowhere" not found/);
      assert.equal(await cluster.get(policy), undefined);
    });

    /** What somebody else has to say about objects that are made. */
    async function admit(resource: string, validationAction: 'Deny' | 'Warn', expression: string): Promise<void> {
      const admission = '/apis/admissionregistration.k8s.io/v1';
      const rule = { apiGroups: ['sallyport.dev'], apiVersions: ['*'], operations: ['CREATE'], resources: [resource] };
      const metadata = { name: resource };
      await cluster.client.request({ method: 'POST', path: `${admission}/validatingadmissionpolicies`, body: { metadata, spec: { matchConstraints: { resourceRules: [rule] }, validations: [{ expression, message: 'think twice' }] } } });
      await cluster.client.request({ method: 'POST', path: `${admission}/validatingadmissionpolicybindings`, body: { metadata, spec: { policyName: resource, validationActions: [validationAction] } } });
    }

    it('says what is written where the API server refuses after all what it would have taken', async () => {
      await admit('snatbindings', 'Deny', 'request.dryRun == true');
      const late = object('SnatBinding', 'late', { subject: { namespace: 'fresh' }, pool: 'partners' }, 'fresh');
      const { status, err } = await waitFor('the policy', 20_000, async () => {
        const result = await apply([late, own]);
        await cluster.remove(late);
        return result.status === 0 ? undefined : result;
      });
      assert.equal(status, 2);
      assert.match(err, /^error: .*think twice; written before that: ExternalService fresh\/own \(at .*\nhint: run the same command again for the others\n$/);
      await cluster.client.request({ method: 'DELETE', path: '/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/snatbindings' });
      await waitFor('the policy to be gone', 20_000, async () => ((await apply([late])).status === 0 ? true : undefined));
      await cluster.remove(late);
    });

    it('tells once what the API server warns of', async () => {
      await admit('referencegrants', 'Warn', 'false');
      const grant = object('ReferenceGrant', 'grant', { from: [{ group: 'sallyport.dev', kind: 'EgressPolicy', namespace: 'default' }], to: [{ group: 'sallyport.dev', kind: 'ExternalService' }] }, 'bookinfo');
      const tried = await waitFor('the policy', 20_000, async () => {
        const { err } = await apply([grant], '--dry-run');
        return err === '' ? undefined : err;
      });
      assert.match(tried, /^warning: [^\n]*think twice\n$/);
      assert.match((await apply([grant])).err, /^warning: [^\n]*think twice\n$/);
    });

    it('keeps what it was not told out of what it writes: defaults are not its own', async () => {
      await apply([policy]);
      const { spec } = (await cluster.get(policy))!;
      assert.deepEqual(spec, policy['spec']);
      await cluster.remove(policy);
    });

    it('waits with --wait, and says what keeps it from being enforced', async () => {
      const { status, out, err } = await apply([policy], '--wait', '--timeout', '300ms');
      assert.deepEqual([status, out], [6, 'EgressPolicy bookinfo/bookinfo created\n']);
      assert.match(err, /not enforced after 0\.3 s\n.*EgressPolicy bookinfo\/bookinfo: the control plane has said nothing about it yet/);
      const live = (await cluster.get(policy))!;
      const condition = (type: string, status: string, message: string) => ({ type, status, message, reason: 'Test', observedGeneration: (live.metadata as unknown as { readonly generation: number }).generation, lastTransitionTime: new Date().toISOString() });
      const setStatus = (...conditions: readonly object[]) =>
        cluster.client.request({ method: 'PATCH', path: '/apis/sallyport.dev/v1alpha1/namespaces/bookinfo/egresspolicies/bookinfo/status', contentType: 'application/merge-patch+json', body: { status: { conditions } } });
      await setStatus(condition('Accepted', 'True', 'it is in force'), condition('Programmed', 'False', '0/1 gateways enforce it; not yet egress-1'));
      assert.match((await apply([policy], '--wait', '--timeout', '300ms')).err, /bookinfo\/bookinfo: 0\/1 gateways enforce it; not yet egress-1/);
      await setStatus(condition('Accepted', 'True', 'it is in force'), condition('Programmed', 'True', '1/1'));
      assert.equal((await apply([policy], '--wait', '--timeout', '10s')).status, 0);
    });
  });

  describe('get and describe', () => {
    before(() => apply([object('SnatPool', 'partners', { addresses: ['203.0.113.40'] }), object('SnatBinding', 'one', { subject: { namespace: 'bookinfo' }, pool: 'partners' }, 'bookinfo')]));

    it('list what the API server has, in the words of every day', async () => {
      assert.match((await asAdministrator(['get', 'snatbindings', '-n', 'bookinfo'])).out, /^NAMESPACE +NAME +SUMMARY\nbookinfo +one +.*pool=partners/);
      assert.deepEqual(await asAdministrator(['get', 'snatpools', '-o', 'name']).then(({ out }) => out), 'SnatPool/partners\n');
      const { status, err } = await asAdministrator(['get', 'snatbinding', 'none']);
      assert.equal(status, 3);
      assert.match(err, /there is no SnatBinding "none" in namespace "default"/);
    });

    it('take the namespace of the kubeconfig where none is named', async () => {
      const config = server().kubeConfig();
      config.contexts = config.contexts.map((each) => ({ ...each, namespace: 'bookinfo' }));
      const file = join(directory, 'kubeconfig');
      writeFileSync(file, config.exportConfig(), { mode: 0o600 });
      assert.equal((await sallyport(['get', 'snatbinding', 'one', '-o', 'name', '--kubeconfig', file])).out, 'SnatBinding/one\n');
    });

    it('show what refers to an object, and the addresses that hang on it', async () => {
      await cluster.apply({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatAssignment', metadata: { name: '203.0.113.40.1024' }, spec: { pool: 'partners', holder: 'ns/bookinfo', address: '203.0.113.40', ports: { first: 1_024, last: 65_535 } } });
      const { status, out } = await asAdministrator(['describe', 'snatpool', 'partners']);
      assert.equal(status, 0);
      assert.match(out, /Referred to by:\n {2}SnatBinding bookinfo\/one\n\nAddresses:\n {2}203\.0\.113\.40 ports 1024-65535 held by ns\/bookinfo\n/);
      assert.match((await asAdministrator(['get', 'assignments'])).out, /203\.0\.113\.40 +1024-65535 +ns\/bookinfo +partners/);
    });
  });

  describe('delete', () => {
    it('deletes nothing where one is not there', async () => {
      await apply([policy]);
      const { status, err } = await asAdministrator(['delete', 'egresspolicy', 'bookinfo', 'none', '-n', 'bookinfo']);
      assert.deepEqual([status, err.split('\n')[0]], [3, 'error: there is no EgressPolicy bookinfo/none']);
      assert.notEqual(await cluster.get(policy), undefined);
    });

    it('deletes nothing of manifests of which one is not there', async () => {
      const { status, err } = await asAdministrator(['delete', '-f', '-'], { stdin: manifests(policy, { ...policy, metadata: { name: 'none', namespace: 'bookinfo' } }) });
      assert.deepEqual([status, err.split('\n')[0]], [3, 'error: there is no EgressPolicy bookinfo/none']);
      assert.notEqual(await cluster.get(policy), undefined);
    });

    it('deletes what manifests name', async () => {
      assert.deepEqual(await asAdministrator(['delete', '-f', '-', '--dry-run'], { stdin: manifests(policy) }).then(({ status, out }) => [status, out]), [0, 'EgressPolicy bookinfo/bookinfo deleted (dry run)\n']);
      assert.notEqual(await cluster.get(policy), undefined);
      assert.equal((await asAdministrator(['delete', '-f', '-'], { stdin: manifests(policy) })).out, 'EgressPolicy bookinfo/bookinfo deleted\n');
      assert.equal(await cluster.get(policy), undefined);
    });
  });

  describe('for a tenant', () => {
    let asTenant: CommandLine;

    before(async () => {
      const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/bookinfo';
      await cluster.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'ada', namespace: 'bookinfo' } });
      await cluster.client.request({ method: 'POST', path: `${rbac}/roles`, body: { metadata: { name: 'ada' }, rules: [{ apiGroups: ['sallyport.dev'], resources: ['egresspolicies'], verbs: ['get', 'list', 'patch', 'create'] }] } });
      await cluster.client.request({ method: 'POST', path: `${rbac}/rolebindings`, body: { metadata: { name: 'ada' }, subjects: [{ kind: 'ServiceAccount', name: 'ada', namespace: 'bookinfo' }], roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'ada' } } });
      const { status } = await cluster.client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: '/api/v1/namespaces/bookinfo/serviceaccounts/ada/token', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3_600 } } });
      const file = await server().kubeConfigFile({ token: status.token });
      asTenant = (args, input) => sallyport([...args, '--kubeconfig', file], input);
    });
    after(() => cluster.remove(policy));

    it('does what the role of the tenant lets it do', async () => {
      assert.equal((await asTenant(['apply', '-f', '-'], { stdin: manifests(policy) })).out, 'EgressPolicy bookinfo/bookinfo created\n');
    });

    it('says in the words of the API server what it does not, and whom to ask', async () => {
      const { status, out, err } = await asTenant(['register', ...proxy]);
      assert.deepEqual([status, out], [4, '']);
      assert.match(err, /error: externalservices\.sallyport\.dev "bigip-proxy-svc" is forbidden: User "system:serviceaccount:bookinfo:ada" cannot get resource.*\nhint: ask whoever administers the cluster/);
    });

    it('writes nothing of what is only partly allowed', async () => {
      const { status, err } = await asTenant(['apply', '-f', '-'], { stdin: manifests(object('EgressPolicy', 'second', policy['spec'] as object, 'bookinfo'), object('SnatBinding', 'two', { subject: { namespace: 'bookinfo' }, pool: 'partners' }, 'bookinfo')) });
      assert.equal(status, 4);
      assert.match(err, /the API server refuses SnatBinding bookinfo\/two, nothing was changed\n\(standard input\):3:\d+ SnatBinding bookinfo\/two: .*is forbidden/);
      assert.equal((await asTenant(['get', 'egresspolicies', '-n', 'bookinfo', '-o', 'name'])).out, 'EgressPolicy/bookinfo\n');
    });

    it('deregisters what nothing names that the tenant may see, and says what it could not look at', async () => {
      await cluster.client.request({ method: 'PATCH', path: '/apis/rbac.authorization.k8s.io/v1/namespaces/bookinfo/roles/ada', contentType: 'application/json-patch+json', body: [{ op: 'add', path: '/rules/-', value: { apiGroups: ['sallyport.dev'], resources: ['externalservices'], verbs: ['get', 'delete'] } }] });
      await asAdministrator(['register', ...proxy]);
      const deregister = () => asTenant(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc']);
      const refused = await waitFor('the right', 5_000, async () => {
        const answer = await deregister();
        return answer.status === 4 ? undefined : answer;
      });
      assert.deepEqual([refused.status, /EgressPolicy bookinfo\/bookinfo spec\.to\[0\]\.service/.test(refused.err)], [2, true]);
      await cluster.remove(policy);
      const { status, out, err } = await deregister();
      assert.deepEqual([status, out], [0, 'ExternalService bookinfo/bigip-proxy-svc deleted\n']);
      assert.equal(err, 'warning: what you may not list in all namespaces is not looked at: EgressPolicy, SnatBinding [namers-unseen]\n');
      await cluster.apply(policy);
    });

    it('describes what the tenant may see, and says what it could not look at', async () => {
      const { status, err } = await asTenant(['describe', 'egresspolicy', 'bookinfo', '-n', 'bookinfo']);
      assert.equal(status, 0);
      assert.match(err, /what you may not list in all namespaces is not looked at: ExternalService, SnatBinding, assignment/);
    });
  });

  it('passes on what the API server warns of', async () => {
    const warnings: string[] = [];
    const client = createApiClient(server().kubeConfig(), (text) => warnings.push(text));
    await client.request({ method: 'POST', path: '/api/v1/namespaces/bookinfo/services', query: { dryRun: 'All', fieldValidation: 'Warn' }, body: { metadata: { name: 'odd' }, spec: { ports: [{ port: 80 }], 'a "b"': 1 } } });
    assert.deepEqual(warnings, ['unknown field "spec.a \\"b\\""']);
  });
});
