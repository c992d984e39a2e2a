/** What is installed, where it is meant to run: in pods of a real kubelet, from the image, behind Services. One cluster for all, so each test rests on those before it. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { stringify } from 'yaml';
import { enrolPod } from '../../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../../src/api/mesh-credentials.ts';
import { version } from '../../src/cli/commands/version.ts';
import { podFiles } from '../../src/core/pod-identity.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { createProcesses, waitFor, type CommandResult, type Processes } from '../../src/demo/processes.ts';
import { runProgram, type ProgramResult } from '../e2e/support/programs.ts';
import type { Manifest } from '../support/cluster.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { toolsImage, writeSallyportImage } from '../support/node/images.ts';
import { podAddresses, requireNode, startNode, type ClusterNode } from '../support/node/node.ts';
import { requirePeer } from '../support/peers.ts';
import { startServerProcess } from '../support/server-process.ts';

const system = 'sallyport-system';
const nodeAddress = '10.4.0.10';
const snatAddress = '10.4.0.65';
const partnerAddress = '10.4.0.201';
const podsReadyWithinMs = 90_000;

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const gateway = object('EgressGateway', 'egress-1', { class: 'sallyport', identity: 'spiffe://cluster.local/ns/sallyport-gateways/sa/egress-1', listen: [{ address: nodeAddress, port: 15_443 }] });

describe('Sallyport in a cluster with a node', function () {
  this.timeout(180_000);
  const closing: (() => unknown)[] = [];
  let network: Network<'node' | 'outside'>;
  let node: ClusterNode;
  let processes: Processes;
  let environment: Readonly<Record<string, string>>;
  let directory: string;

  before(async function () {
    requireNetwork(this);
    const programs = requireNode(this);
    const kubectlProgram = requirePeer(this, 'kubectl');
    network = makeNetwork({
      hosts: ['node', 'outside'],
      links: [[{ host: 'node', addresses: [`${nodeAddress}/24`, `${snatAddress}/24`] }, { host: 'outside', addresses: [`${partnerAddress}/24`] }]],
      routes: {
        node: [`default via ${partnerAddress}`], // leads nowhere, but without one nobody is asked about addresses of Services
        outside: [`${podAddresses} via ${nodeAddress}`], // as another node of the cluster has it
      },
      routers: ['node'],
    });
    closing.push(network.close);
    node = await startNode(programs, network.hosts.node, nodeAddress, [async (folder) => await writeSallyportImage(folder, `sallyport:${version}`)]);
    closing.push(async () => await node.stop());
    directory = await mkdtemp(join(tmpdir(), 'sallyport-outside-'));
    closing.push(async () => await rm(directory, { recursive: true, force: true }));
    environment = { PATH: `${dirname(kubectlProgram)}${delimiter}${process.env['PATH']!}`, HOME: directory, KUBECONFIG: await node.server.kubeConfigFile(), SALLYPORT_KUBERNETES: 'true' };
    processes = createProcesses(directory, { ...process.env, ...environment, NODE_COMPILE_CACHE: join(directory, 'compile-cache') });
  });
  let hasFailed = false;
  beforeEach(function () {
    if (hasFailed) this.skip();
  });
  afterEach(function () {
    hasFailed ||= this.currentTest?.state === 'failed';
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const kubectl = async (args: readonly string[], input = ''): Promise<ProgramResult> => await runProgram('kubectl', args, { env: environment, input, timeoutMs: podsReadyWithinMs + 10_000 });
  const sallyport = async (...args: readonly string[]): Promise<CommandResult> => await processes.run(args);
  const said = ({ status, stdout, stderr }: CommandResult | ProgramResult): string => {
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  };
  const apply = async (...objects: readonly object[]): Promise<ProgramResult> => await kubectl(['apply', '-f', '-'], objects.map((object) => stringify(object)).join('---\n'));
  const exec = async (namespace: string, pod: string, container: string, ...command: readonly string[]): Promise<ProgramResult> => await kubectl(['exec', `--namespace=${namespace}`, pod, `--container=${container}`, '--', ...command]);

  const install = async (...options: readonly string[]): Promise<unknown> => said(await kubectl(['apply', '-f', '-'], said(await sallyport('install', ...options, '--dry-run', '-o', 'yaml'))));

  /** Where pods do not become what is waited for, what the kubelet says of them. */
  async function amongPods<Value>(namespace: string, wait: () => Promise<Value>): Promise<Value> {
    try {
      return await wait();
    } catch (cause) {
      const described = await kubectl(['describe', 'pods', `--namespace=${namespace}`]);
      const logs = await kubectl(['logs', `--namespace=${namespace}`, '--selector=sallyport.dev/component', '--tail=5', '--prefix']);
      throw new Error(described.stdout + logs.stdout, { cause });
    }
  }
  const timeout = `--timeout=${podsReadyWithinMs / 1_000}s`;
  const rolledOut = async (namespace: string, what: string): Promise<string> => await amongPods(namespace, async () => said(await kubectl(['rollout', 'status', `--namespace=${namespace}`, what, timeout])));
  const ready = async (namespace: string, pod: string): Promise<string> => await amongPods(namespace, async () => said(await kubectl(['wait', '--for=condition=Ready', `--namespace=${namespace}`, `pod/${pod}`, timeout])));

  it('is installed by kubectl from what the command prints, and is ready when it has a CA', async () => {
    await install();
    await amongPods(system, async () => await waitFor('a replica that can be asked', podsReadyWithinMs, async () => (await sallyport('ca', 'init')).status === 0 || undefined));
    await rolledOut(system, 'statefulset/sallyport');
  });

  it('is given a gateway on a node, and keeps its CA', async () => {
    const before = said(await sallyport('ca', 'export'));
    said(await apply(gateway));
    said(await kubectl(['label', 'node', node.name, 'sallyport.dev/gateway=egress-1']));
    await install('--gateway', 'egress-1');
    await rolledOut('sallyport-gateways', 'statefulset/egress-1');
    assert.equal(said(await sallyport('ca', 'export')), before);
  });

  it('is nobody, may nothing, and writes to its volume alone', async () => {
    const script = `
      const { readFileSync, writeFileSync } = require('node:fs');
      const [, capabilities] = /^CapEff:\\s*(.*)/m.exec(readFileSync('/proc/1/status', 'utf8'));
      const [, seccomp] = /^Seccomp:\\s*(.*)/m.exec(readFileSync('/proc/1/status', 'utf8'));
      const tryTo = (path) => { try { writeFileSync(path, ''); return 'written'; } catch (error) { return error.code; } };
      console.log(process.getuid(), capabilities, seccomp, tryTo('/there'), tryTo('/application/there'), tryTo('/var/lib/sallyport/there'));`;
    assert.equal(said(await exec(system, 'sallyport-0', 'control', 'node', '-e', script)).trim(), '65532 0000000000000000 2 EROFS EROFS written');
  });

  it('is well, by its own check from outside', async () => {
    const last = await waitFor('all to be well', 30_000, async () => {
      const result = await sallyport('check');
      return result.status === 0 ? result : undefined;
    }).catch(async () => await sallyport('check'));
    assert.match(said(last), /all is well/);
  });

  it('is asked for its status by kubectl exec', async () => {
    let status = '';
    await waitFor('nothing to be told of', 30_000, async () => {
      status = said(await sallyport('status'));
      return !/^condition/m.test(status) || undefined;
    }).catch((cause: unknown) => {
      throw new Error(status, { cause });
    });
    assert.match(status, /^control plane {2}ready/);
  });

  const pool = object('SnatPool', 'datacenter', { addresses: [snatAddress] });
  const injected = (name: string, labels: object = {}): Manifest => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { 'sallyport.dev/inject': 'enabled', ...labels } } });
  const policy = object('EgressPolicy', 'partner', { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'partner' }] }, 'bookinfo');

  it('tells kubectl what is wrong with an object: the API server asks it through its Service', async () => {
    said(await apply(pool));
    const { status, stderr } = await apply(object('SnatPool', 'rival', { addresses: [snatAddress] }));
    assert.equal(status, 1);
    assert.match(stderr, /admission webhook "validate\.sallyport\.dev" denied the request/);
  });

  /** It sleeps; the namespace may ask for the standard `restricted`. */
  const workload = (name: string, namespace: string): Manifest => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      securityContext: { runAsNonRoot: true, runAsUser: 1_000, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ name: 'app', image: toolsImage, securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } } }],
      terminationGracePeriodSeconds: 1,
    },
  });
  const curl = async (namespace: string, pod: string): Promise<ProgramResult> => await exec(namespace, pod, 'app', 'curl', '-q', '-sS', '--max-time', '5', 'http://localhost/');
  /** The source address and port that the partner has seen, and when. */
  let seen: readonly [string, string];

  it('gives pods an agent that enrols by the token of its pod, and lets them out by their address', async () => {
    const script = `require('node:http').createServer((request, response) => response.end(request.socket.remoteAddress + ':' + request.socket.remotePort + ' ' + new Date().toISOString())).listen(8080, '${partnerAddress}')`;
    const partner = await startServerProcess(process.execPath, ['-e', script], { directory: join(directory, 'partner'), ready: 8080, enter: network.hosts.outside.enter });
    closing.push(partner.stop);
    said(
      await apply(
        injected('bookinfo', { 'pod-security.kubernetes.io/enforce': 'restricted' }),
        injected('races'),
        object('ExternalService', 'partner', { addresses: [partnerAddress], ports: [{ name: 'main', port: 80, targetPort: 8080, protocol: 'TCP' }] }, 'bookinfo'),
        policy,
        object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'datacenter' }, 'bookinfo'),
        workload('productpage', 'bookinfo'),
        workload('reports', 'races'),
      ),
    );
    await Promise.all([ready('bookinfo', 'productpage'), ready('races', 'reports')]);
    const answer = await waitFor('the partner', 30_000, async () => (await curl('bookinfo', 'productpage')).stdout || undefined);
    seen = answer.split(' ') as [string, string];
    assert.equal(seen[0].split(':')[0], snatAddress);
  });

  it('keeps the pods of others in', async () => {
    const { status, stderr } = await curl('races', 'reports');
    assert.equal(status, 7, stderr); // nobody listens for them
    assert.match((await sallyport('explain', 'races/default', '--to', 'bookinfo/partner:main')).stdout, /^denied/);
  });

  it('has its agent there before the application, and gone after it, so that a Job ends', async () => {
    const { spec } = workload('once', 'bookinfo') as unknown as { readonly spec: { readonly containers: readonly [object] } };
    const template = { spec: { ...spec, containers: [{ ...spec.containers[0], command: ['curl', '-q', '-sS', 'http://localhost/'] }], restartPolicy: 'Never' } };
    said(await apply({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'once', namespace: 'bookinfo' }, spec: { backoffLimit: 0, template } }));
    await amongPods('bookinfo', async () => said(await kubectl(['wait', '--for=condition=Complete', '--namespace=bookinfo', 'job/once', timeout])));
    assert.match(said(await kubectl(['logs', '--namespace=bookinfo', 'job/once', '--container=app'])), new RegExp(`^${snatAddress}:`));
  });

  it('knows which pod it was', async () => {
    const { stdout } = await waitFor('the record', 15_000, async () => {
      const answer = await sallyport('whois', ...seen);
      return answer.status === 0 ? answer : undefined;
    });
    assert.match(stdout, /spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/default/);
  });

  it('has its own traffic let through by its NetworkPolicies, and no other', async () => {
    const { status: pod } = (await node.cluster.get({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'sallyport-0', namespace: system } })) as unknown as { readonly status: { readonly podIP: string } };
    const isOpen = ({ status, stderr }: ProgramResult): boolean => {
      assert.ok([0, 28, 60].includes(status!), stderr); // of TLS it has no trust bundle
      return status !== 28; // time has run out
    };
    const ask = ['-q', '-sS', '--max-time', '2', '--output', '/dev/null'];
    const metrics = `http://${pod.podIP}:15020/metrics`;
    const fromAnotherNode = async (url: string): Promise<boolean> => isOpen(await network.hosts.outside.run('curl', [...ask, url]));
    const fromWorkload = async (url: string): Promise<boolean> => isOpen(await exec('bookinfo', 'productpage', 'app', 'curl', ...ask, url));
    assert.deepEqual(await Promise.all([fromAnotherNode(`https://${pod.podIP}:15012`), fromAnotherNode(`https://${pod.podIP}:15017`), fromAnotherNode(metrics), fromWorkload(metrics)]), [true, true, false, false]);
    said(await kubectl(['label', 'namespace', 'bookinfo', 'sallyport.dev/metrics=enabled']));
    await waitFor('the metrics', 10_000, async () => (await fromWorkload(metrics)) || undefined);
    const script = `fetch('http://${partnerAddress}:8080', { signal: AbortSignal.timeout(2_000) }).then(() => console.log('out'), ({ name }) => console.log(name))`;
    assert.equal(said(await exec(system, 'sallyport-0', 'control', 'node', '-e', script)).trim(), 'TimeoutError');
    assert.equal((await network.hosts.node.run('curl', [...ask, `http://${partnerAddress}:8080`])).status, 0);
  });

  it('has the logs of its pods in the support bundle, and of containers that are there no more', async () => {
    said(await exec(system, 'sallyport-0', 'control', 'node', '-e', 'process.kill(1)'));
    await waitFor('the kubelet to start it again', 30_000, async () => (await kubectl(['get', 'pod', `--namespace=${system}`, 'sallyport-0', '-o', 'jsonpath={.status.containerStatuses[0].restartCount}{.status.containerStatuses[0].ready}'])).stdout === '1true' || undefined);
    const archive = join(directory, 'bundle.tar.gz');
    said(await sallyport('support-bundle', '-o', archive));
    const logOf = async (file: string): Promise<string> => said(await runProgram('tar', ['--extract', '--gzip', '--to-stdout', '--file', archive, `sallyport-support/${file}.log`]));
    const logs = await Promise.all(['control', 'control.previous'].map(async (name) => await logOf(`${system}/logs/sallyport-0/${name}`)));
    for (const log of logs) assert.match(log, /listening for workloads and gateways/);
    assert.notEqual(logs[0], logs[1]);
    assert.match(await logOf('sallyport-gateways/logs/egress-1-0/gateway'), /identity enrolled/);
  });

  it('takes the token of a pod for as long as there is the pod', async () => {
    const script = `process.stdout.write(require('node:fs').readFileSync('${podFiles.token}'))`;
    const token = said(await exec('bookinfo', 'productpage', 'sallyport-agent', 'node', '-e', script));
    const { spec } = (await node.cluster.get({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'sallyport', namespace: system } }))!;
    const control = { address: await node.lead(15_012, spec['clusterIP'] as string), identity: defaultControlIdentity('cluster.local' as TrustDomain), trustBundlePem: said(await sallyport('ca', 'export')) };
    const enrol = async (): Promise<unknown> => await enrolPod(control, token, createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey), { timeoutMs: 10_000 });
    await enrol();
    said(await kubectl(['delete', 'pod', '--namespace=bookinfo', 'productpage']));
    await assert.rejects(enrol(), { code: 'token-invalid' });
  });

  it('goes, and leaves what cannot be made again', async () => {
    said(await sallyport('uninstall', '--yes'));
    const names = async (...kinds: readonly string[]): Promise<readonly string[]> => said(await kubectl(['get', kinds.join(), '--all-namespaces', '-o', 'name'])).split('\n').filter((name) => /sallyport|partner|egress/.test(name));
    await waitFor('the pods to go', 60_000, async () => (await names('pods')).length === 0 || undefined);
    assert.deepEqual(await names('statefulsets', 'services', 'endpointslices', 'configmaps', 'roles', 'rolebindings', 'clusterroles', 'clusterrolebindings', 'networkpolicies', 'serviceaccounts', 'mutatingwebhookconfigurations', 'validatingwebhookconfigurations'), []);
    assert.deepEqual(await names('secrets'), ['secret/sallyport-ca', 'secret/sallyport-state']);
    assert.deepEqual(await names('persistentvolumeclaims'), ['persistentvolumeclaim/state-egress-1-0', 'persistentvolumeclaim/state-sallyport-0', 'persistentvolumeclaim/state-sallyport-1']);
    assert.deepEqual(await names('snatassignments', 'externalservices'), [`snatassignment.sallyport.dev/${snatAddress}.1024`, 'externalservice.sallyport.dev/partner']);
  });
});
