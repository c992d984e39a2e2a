/**
 * Answers of a control plane in a cluster. There is no kubelet here, so that nothing can be run in a pod: what stands in for `kubectl exec` takes its
 * arguments, starts the same command beside the replica of the pod's name, and ends with its status, as kubectl's documentation has it. Where
 * exec is refused, the real kubectl is asked.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { waitFor } from '../../src/demo/processes.ts';
import { openUserCluster } from '../../src/kubernetes/index.ts';
import { openCluster, type Cluster, type Manifest } from '../support/cluster.ts';
import { deployOn, rootNamespace, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { requirePeer } from '../support/peers.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

const path = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const of = (apiVersion: string, kind: string, name: string, namespace: string, more: object = {}): Manifest => ({ apiVersion, kind, metadata: { name, namespace }, ...more });
const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const podOf = (serviceAccountName: string): object => ({ serviceAccountName, nodeName: 'node-a', containers: [{ name: 'control', image: 'any' }] });

describe('answers on Kubernetes', function () {
  const server = useKubernetes(this);
  const sallyport = commandLine('/nowhere');
  const { PATH } = process.env;
  let cluster: Cluster;
  let deployment: ClusterDeployment;
  let directory = '';
  let kubectl: string;
  let kubeconfig: string;
  const asAdministrator: CommandLine = (args, input) => sallyport([...args, '--kubeconfig', kubeconfig], input);

  /** What there is before all else on the PATH. */
  const usePath = (folder: string): void => void (process.env['PATH'] = [join(directory, folder), PATH].join(delimiter));

  /** A pod of the control plane, as a kubelet would tell of it. */
  async function run(pod: string): Promise<void> {
    const [live] = await cluster.apply({ ...of('v1', 'Pod', pod, rootNamespace, { spec: podOf('control') }), metadata: { name: pod, namespace: rootNamespace, labels: { 'app.kubernetes.io/name': 'sallyport', 'sallyport.dev/component': 'control-plane' } } });
    await cluster.client.request({ method: 'PATCH', path: `/api/v1/namespaces/${rootNamespace}/pods/${live!.metadata.name}/status`, contentType: 'application/merge-patch+json', body: { status: { phase: 'Running' } } });
  }

  before(async function () {
    this.timeout(120_000);
    kubectl = requirePeer(this, 'kubectl');
    cluster = await openCluster(server());
    directory = mkdtempSync(join(tmpdir(), 'sallyport-cli-'));
    kubeconfig = await server().kubeConfigFile();
    deployment = await deployOn(server(), cluster);
    await Promise.all(['one', 'two'].map((replica) => deployment.startReplica(replica)));
    await Promise.all(['one', 'two'].map(run));
    for (const folder of ['real', 'stand-in']) mkdirSync(join(directory, folder));
    symlinkSync(kubectl, join(directory, 'real', 'kubectl'));
    symlinkSync(path('bin/kubectl-sallyport.js'), join(directory, 'real', 'kubectl-sallyport'));
    const standIn = `#!/bin/bash
[ "$1 $2 $3 $4 $5 \${*:7}" = "--kubeconfig=${kubeconfig} exec --stdin --quiet --namespace=${rootNamespace} --container=control -- sallyport dial-stdio" ] || { echo "error: $*" >&2; exit 1; }
NODE_COMPILE_CACHE="${join(directory, 'compile-cache')}" SALLYPORT_SOCKET="${join(deployment.socketOf('one'), '..')}/$6.sock" "${process.execPath}" "${path('src/cli/main.ts')}" "\${@:10}"
status=$?
[ $status -eq 0 ] || echo "command terminated with exit code $status" >&2
exit $status
`;
    writeFileSync(join(directory, 'stand-in', 'kubectl'), standIn, { mode: 0o755 });
    usePath('stand-in');
  });
  after(async function () {
    this.timeout(60_000);
    process.env['PATH'] = PATH;
    await (deployment as ClusterDeployment | undefined)?.close();
    if (directory !== '') rmSync(directory, { recursive: true, force: true });
  });

  it('are asked of a replica that is not ready for want of a CA, and give it one', async () => {
    const { status, out, err } = await asAdministrator(['ca', 'init']);
    assert.deepEqual([status, err], [0, '']);
    assert.match(out, /^SLOT .*\nactive /);
    await Promise.all(['one', 'two'].map((replica) => deployment.ready(replica)));
  });

  it('have files read and written where the command is run, and keys made there', async () => {
    const prefix = join(directory, 'bigip');
    const { status, out } = await asAdministrator(['cert', 'issue', 'spiffe://cluster.local/ns/bookinfo/sa/default', '--out', prefix]);
    assert.deepEqual([status, out], [0, `${prefix}.bundle.pem\n${prefix}.key.pem\n${prefix}.pem\n`]);
    assert.match(readFileSync(`${prefix}.key.pem`, 'utf8'), /BEGIN PRIVATE KEY/);
  });

  it('come from all replicas where each has a ledger of its own', async () => {
    assert.match((await asAdministrator(['ledger', 'verify'])).out, /^ledger of (one|two) is whole: .*\nledger of (one|two) is whole: .*\n$/);
    const lines = (await asAdministrator(['ledger', 'tail', '--last', '1000'])).out.trimEnd().split('\n').map((line) => JSON.parse(line) as { readonly replica: string; readonly time: string });
    assert.deepEqual([...new Set(lines.map(({ replica }) => replica))].sort(), ['one', 'two']);
    assert.deepEqual(lines.map(({ time }) => time), lines.map(({ time }) => time).sort());
    assert.equal((await asAdministrator(['whois', '10.4.0.11:40132'])).status, 1);
  });

  describe('about a workload', () => {
    const template = (name: string, account: string | undefined, more: object = {}) => ({ metadata: { labels: { app: name } }, spec: { ...(account === undefined ? {} : { serviceAccountName: account }), containers: [{ name: 'app', image: 'app' }], ...more } });
    const workload = (apiVersion: string, kind: string, name: string, account?: string): Manifest =>
      of(apiVersion, kind, name, 'bookinfo', { spec: { selector: { matchLabels: { app: name } }, template: template(name, account) } });
    const explain = (subject: string, ...options: readonly string[]) => asAdministrator(['explain', subject, '-n', 'bookinfo', ...options]);

    before(async function () {
      this.timeout(60_000);
      await cluster.apply(
        object('EgressGateway', 'egress-1', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: 15_443 }] }),
        object('SnatPool', 'partners', { addresses: ['203.0.113.40'] }),
        object('ExternalService', 'bigip-proxy-svc', { addresses: ['10.4.0.201'], ports: [{ port: 3128 }] }, 'bookinfo'),
        object('EgressPolicy', 'productpage', { subjects: [{ namespace: 'bookinfo', serviceAccount: 'bookinfo-productpage' }], to: [{ service: 'bigip-proxy-svc' }] }, 'bookinfo'),
        object('SnatBinding', 'productpage', { subject: { namespace: 'bookinfo', serviceAccount: 'bookinfo-productpage' }, pool: 'partners' }, 'bookinfo'),
      );
      await cluster.until(object('SnatBinding', 'productpage', {}, 'bookinfo'), 'accepted', ({ status }) => status?.conditions?.some(({ type, status: is }) => type === 'Accepted' && is === 'True') === true, 30_000);
      const { client } = cluster;
      const make = (apiVersion: string, plural: string, body: object) => client.request({ method: 'POST', path: `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}/namespaces/bookinfo/${plural}`, body });
      await make('apps/v1', 'deployments', workload('apps/v1', 'Deployment', 'productpage', 'bookinfo-productpage'));
      await make('apps/v1', 'statefulsets', workload('apps/v1', 'StatefulSet', 'ratings', 'bookinfo-ratings'));
      await make('apps/v1', 'daemonsets', workload('apps/v1', 'DaemonSet', 'logs'));
      const job = { template: template('once', 'bookinfo-job', { restartPolicy: 'Never' }) };
      await make('batch/v1', 'jobs', of('batch/v1', 'Job', 'once', 'bookinfo', { spec: job }));
      await make('batch/v1', 'cronjobs', of('batch/v1', 'CronJob', 'nightly', 'bookinfo', { spec: { schedule: '0 3 * * *', jobTemplate: { spec: job } } }));
      await make('v1', 'pods', of('v1', 'Pod', 'productpage-1', 'bookinfo', { spec: podOf('bookinfo-productpage') }));
      await make('v1', 'serviceaccounts', of('v1', 'ServiceAccount', 'bookinfo-productpage', 'bookinfo'));
    });

    it('say what its service account may, towards a service of its namespace', async () => {
      const { status, out, err } = await explain('deploy/productpage', '--to', 'bigip-proxy-svc:3128');
      assert.deepEqual([status, err], [0, '']);
      assert.match(out, /203\.0\.113\.40/);
    });

    const accounts = [['deployment/productpage', 'bookinfo-productpage'], ['sts/ratings', 'bookinfo-ratings'], ['ds/logs', 'default'], ['job/once', 'bookinfo-job'], ['cj/nightly', 'bookinfo-job'], ['po/productpage-1', 'bookinfo-productpage'], ['sa/bookinfo-productpage', 'bookinfo-productpage']] as const;
    for (const [subject, serviceAccount] of accounts) {
      it(`know ${subject} to run as ${serviceAccount}`, async () => {
        assert.deepEqual(await (await openUserCluster({ file: kubeconfig }, () => undefined)).workload(subject, 'bookinfo'), { namespace: 'bookinfo', serviceAccount });
      });
    }

    it('take for a workload only what has the name of a kind of workloads', async () => {
      const asked = await openUserCluster({ file: kubeconfig }, () => undefined);
      for (const subject of ['bookinfo/productpage', 'spiffe://cluster.local/ns/bookinfo/sa/productpage', 'deploy', 'deploy/']) assert.equal(await asked.workload(subject, 'bookinfo'), undefined, subject);
    });

    it('deny what nothing allows to the account of another', async () => {
      const { status, out } = await explain('sts/ratings', '--to', 'bigip-proxy-svc:3128');
      assert.equal(status, 1);
      assert.match(out, /bookinfo\/bookinfo-ratings/);
    });

    it('are there with kubectl too, as a plugin of which the command finds the cluster as kubectl does', () => {
      const { status, stdout, stderr } = spawnSync(kubectl, ['sallyport', 'get', 'externalservices', '-A'], { encoding: 'utf8', env: { ...process.env, PATH: [join(directory, 'real'), PATH].join(delimiter), KUBECONFIG: kubeconfig } });
      assert.deepEqual([status, stderr], [0, '']);
      assert.match(stdout, /^NAMESPACE +NAME +SUMMARY\nbookinfo +bigip-proxy-svc /);
    });

    it('are none about a workload that is not there', async () => {
      const { status, err } = await explain('deploy/productpages', '--to', 'bigip-proxy-svc:3128');
      assert.equal(status, 3);
      assert.match(err, /there is no Deployment "productpages" in namespace "bookinfo".*\nhint: list them: kubectl get deployments -n bookinfo/);
    });
  });

  describe('that cannot be had', () => {
    it('are told in the words of the API server where exec is not allowed, and the role in the guide allows it', async () => {
      usePath('real');
      const role = parse(/^apiVersion: rbac[^`]*/m.exec(readFileSync(path('docs/guides/kubernetes.md'), 'utf8'))![0]) as { readonly metadata: { readonly name: string }; readonly rules: readonly { readonly resources: readonly string[] }[] };
      const rbac = `/apis/rbac.authorization.k8s.io/v1/namespaces/${rootNamespace}`;
      const { name } = role.metadata;
      await cluster.client.request({ method: 'POST', path: `${rbac}/roles`, body: { ...role, rules: role.rules.filter(({ resources }) => !resources.includes('pods/exec')) } });
      await cluster.client.request({ method: 'POST', path: `${rbac}/rolebindings`, body: { metadata: { name }, subjects: [{ kind: 'ServiceAccount', name: 'ada', namespace: rootNamespace }], roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name } } });
      await cluster.apply(of('v1', 'ServiceAccount', 'ada', rootNamespace));
      const { status: made } = await cluster.client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: `/api/v1/namespaces/${rootNamespace}/serviceaccounts/ada/token`, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: 3_600 } } });
      const asAda = ['--kubeconfig', await server().kubeConfigFile({ token: made.token })];
      const { status, err } = await sallyport(['ca', 'show', ...asAda]);
      assert.equal(status, 4);
      assert.match(err, /error: the control plane in pod "(one|two)" cannot be asked: .*cannot create resource "pods\/exec".*\nhint: whoever asks/);
      await cluster.client.request({ method: 'PUT', path: `${rbac}/roles/${name}`, body: role });
      await waitFor('the right', 10_000, async () => ((await sallyport(['ca', 'show', ...asAda])).status === 6 ? true : undefined)); // there is no node
    });

    it('are an error of the cluster where the pod does not run what is asked of it', async () => {
      usePath('real');
      const { status, err } = await asAdministrator(['status']);
      assert.equal(status, 6);
      assert.match(err, /error: the control plane in pod "(one|two)" cannot be asked: /);
    });

    it('are an error where kubectl is not there', async () => {
      process.env['PATH'] = directory;
      const { status, err } = await asAdministrator(['status']);
      assert.equal(status, 6);
      assert.match(err, /kubectl cannot be started/);
    });

    it('do not let the others say that nobody held an address', async () => {
      usePath('stand-in');
      const leader = (await cluster.get(of('coordination.k8s.io/v1', 'Lease', 'sallyport', rootNamespace)))!.spec['holderIdentity'] as string;
      const other = leader === 'one' ? 'two' : 'one';
      await deployment.kill(other);
      const { status, out, err } = await asAdministrator(['whois', '10.4.0.11:40132']);
      assert.deepEqual([status, out], [6, '']);
      assert.match(err, new RegExp(`warning: without ${other}: the control plane in pod "${other}" cannot be asked: .*ECONNREFUSED`));
      const { status: isReady, out: told, err: warned } = await asAdministrator(['status']);
      assert.equal(isReady, 0, warned);
      assert.match(told, /^control plane +ready/);
      assert.match(warned, new RegExp(`^warning: without ${other}: `));
    });
  });

  it('are nowhere where no control plane runs', async () => {
    const { status, err } = await asAdministrator(['status', '--sallyport-namespace', 'elsewhere']);
    assert.equal(status, 6);
    assert.match(err, /no control plane runs in namespace "elsewhere"/);
  });
});
