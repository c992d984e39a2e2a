/**
 * The control plane on Kubernetes at full size: node bench/kubernetes.ts [--changes N] [--node-option OPTION] [--cpu-prof DIRECTORY]
 * As it is installed: built (`npm run build`), and asking the API server as a pod does, for which it needs root.
 * A real API server with 1,000 ExternalServices, 5,000 EgressPolicies and 10,000 identities, each with a SnatBinding and an address of
 * its own; a gateway. A change lets one identity go to another service than before; what counts is when the first of its connections to
 * that service is answered.
 */
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { parseArgs } from 'node:util';
import { createAdminClient } from '../src/api/admin-client.ts';
import { adminPaths, type StatusResult, type TokenResult } from '../src/api/admin.ts';
import { enrol } from '../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../src/api/mesh-credentials.ts';
import { createCsr } from '../src/core/x509/csr.ts';
import { certificatesToPem } from '../src/core/x509/pem.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { generateKeyPairSync } from 'node:crypto';
import { openCluster, type Manifest } from '../test/support/cluster.ts';
import { startKubernetes, type ApiUse } from '../test/support/kubernetes.ts';
import { peers } from '../test/support/peers.ts';
import { accountCount, commands, eachIdentity, isAnswered, namespaceCount, printTable, quantile, start, startProgram, trustDomain, waitFor, type Row, type RunningProcess } from './large-world.ts';

const { values: options } = parseArgs({ options: { changes: { type: 'string', default: '100' }, 'cpu-prof': { type: 'string' }, 'node-option': { type: 'string', multiple: true, default: [] } } });
const serviceCount = 1_000;
const policiesPerNamespace = 5;
const writers = 16;

const rows: Row[] = [];
const report = (what: string, figure: string, limit?: string): void => void rows.push({ what, figure, ...(limit === undefined ? {} : { limit }) });
const ms = (value: number): string => `${value >= 100 ? Math.round(value) : value.toPrecision(2)} ms`;

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const policyOf = (namespace: number, account: number, service: number): Manifest => object('EgressPolicy', `p${account}`, { subjects: [{ namespace: `n${namespace}`, serviceAccount: `a${account}` }], to: [{ service: `s${service}`, namespace: 'out' }] }, 'sallyport-system');
const inOwn = (manifest: Manifest, namespace: number): Manifest => ({ ...manifest, metadata: { ...manifest.metadata, name: `${manifest.metadata.name}-n${namespace}` } });

const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
const target = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
const kubernetes = await startKubernetes({ etcd: peers.etcd.find()!, apiserver: peers.kubeApiserver.find()! }, { record: true });
try {
  await once(target.listen(0, '127.0.0.1'), 'listening');
  const [gatewayPort, meshPort] = (await findFreePorts(2)) as [number, number];
  const cluster = await openCluster(kubernetes);
  const targetPort = (target.address() as AddressInfo).port;
  const socketPath = join(directory, 'admin.sock');
  const admin = createAdminClient({ kind: 'unix', socketPath });
  const profile = options['cpu-prof'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options['cpu-prof']}`];
  const program = commands.find(({ entry }) => entry.startsWith('dist'));
  if (program === undefined) throw new Error('what is measured is what is shipped: npm run build');
  const serviceAccount = join(directory, 'serviceaccount');
  await mkdir(serviceAccount);
  for (const [name, text] of Object.entries({ token: kubernetes.adminToken, 'ca.crt': kubernetes.caPem, namespace: 'sallyport-system' })) await writeFile(join(serviceAccount, name), text, { mode: 0o600 });
  const inPod = ['--mount', 'sh', '-c', 'mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io && cp -r "$0" /run/secrets/kubernetes.io/ && exec "$@"', serviceAccount, 'env', 'MALLOC_ARENA_MAX=1', `HOME=${directory}`, 'KUBERNETES_SERVICE_HOST=127.0.0.1', `KUBERNETES_SERVICE_PORT=${kubernetes.port}`];
  const nodeOptions = ['--max-semi-space-size=4', '--heap-growing-percent=15', ...options['node-option'], ...profile];
  const startControl = (): RunningProcess => startProgram('unshare', [...inPod, process.execPath, ...nodeOptions, program.path, 'serve', '--kubernetes', '--replica', 'one', '--state', join(directory, 'control'), '--socket', socketPath, '--listen', `127.0.0.1:${meshPort}`]);
  const isReady = async (): Promise<boolean> => (await admin.text(adminPaths.readyz)) === 'ok\n';

  const first: Manifest[] = ['out', 'sallyport-system', ...Array.from({ length: namespaceCount }, (_, index) => `n${index}`)].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }));
  await writeAll(first);
  await writeAll([object('EgressGateway', 'gw', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: gatewayPort }] }), object('SnatPool', 'all', { addresses: ['127.8.0.0/16'] })]);

  let control = startControl();
  await waitFor('the control plane', async () => (await admin.text(adminPaths.livez)) === 'ok\n');
  await admin.post(adminPaths.caInit, {});
  await waitFor('the control plane to be ready', isReady);

  const startedAtMs = performance.now();
  await writeAll([
    ...Array.from({ length: serviceCount }, (_, index) => object('ExternalService', `s${index}`, { addresses: ['127.0.0.1'], ports: [{ port: 443, targetPort, protocol: 'TCP' }], agentAddress: `127.1.${index >> 8}.${index & 255}` }, 'out')),
    ...eachIdentity((namespace, account) => object('SnatBinding', `b${account}`, { subject: { namespace: `n${namespace}`, serviceAccount: `a${account}` }, pool: 'all' }, `n${namespace}`)),
    ...eachIdentity((namespace, account) => (account < policiesPerNamespace ? [inOwn(policyOf(namespace, account, (namespace * accountCount + account) % serviceCount), namespace)] : [])).flat(),
  ]);
  report('16,000 objects applied by one client', `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
  const allAssigned = async (): Promise<boolean> => (await cluster.list('SnatAssignment')).length === namespaceCount * accountCount;
  await waitFor('an address for each identity', allAssigned, 600_000);
  report('  until each identity has its address, since the first was applied', `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
  const settled = async (): Promise<boolean> => {
    const before = (await kubernetes.uses()).filter(isWrite).length;
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    return (await kubernetes.uses()).filter(isWrite).length === before;
  };
  await waitFor('all statuses', settled, 600_000);
  report('  until all is written', `${((performance.now() - startedAtMs) / 1000).toFixed(0)} s`);
  report('  resident memory of the control plane until then, at most', `${(await control.peakMib()).toFixed(0)} MiB`);

  await control.end('SIGTERM');
  const restartedAtMs = performance.now();
  control = startControl();
  await waitFor('the control plane to be ready again', isReady);
  report('restart until it is ready', `${((performance.now() - restartedAtMs) / 1000).toFixed(1)} s`, '< 10 s');
  await waitFor('nothing to be written', settled, 120_000);

  const bundle = await admin.text(adminPaths.bundle);
  await writeFile(join(directory, 'bundle.pem'), bundle);
  const token = async (spiffeId: string): Promise<string> => (await admin.post<TokenResult>(adminPaths.tokens, { spiffeId })).token;
  await writeFile(join(directory, 'gw.token'), await token(`spiffe://${trustDomain}/ns/sallyport-system/sa/gw`));
  const gateway = start(program, ['gateway', '--name', 'gw', '--workers', '1', '--control', `127.0.0.1:${meshPort}`, '--trust-bundle', join(directory, 'bundle.pem'), '--join-token-file', join(directory, 'gw.token'), '--state', join(directory, 'gw')]);
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const answer = await enrol({ address: `127.0.0.1:${meshPort}`, identity: defaultControlIdentity(trustDomain), trustBundlePem: bundle }, await token(`spiffe://${trustDomain}/ns/n3/sa/a3`), createCsr(privateKey), { timeoutMs: 10_000 });
  const secureContext = createSecureContext({ cert: certificatesToPem(answer.certificateChain), key: privateKey.export({ type: 'pkcs8', format: 'pem' }), ca: bundle });

  const isServed = (service: number): Promise<boolean> => isAnswered(gatewayPort, `s${service}.out.svc.cluster.local`, secureContext);

  await waitFor('the first answer through the gateway', () => isServed(33));
  await waitFor('all statuses', settled, 120_000);
  const [usesBefore, cpuBefore] = [await kubernetes.uses(), await control.cpuMs()];
  const applied: number[] = [];
  const enforced: number[] = [];
  for (let round = 1; round <= Number(options.changes); round += 1) {
    const service = (100 + round) % serviceCount;
    if (await isServed(service)) throw new Error(`s${service} is allowed already`);
    const appliedAtMs = performance.now();
    const isEnforced = waitFor('the change', () => isServed(service)).then(() => performance.now() - appliedAtMs);
    await cluster.apply(inOwn(policyOf(3, 3, service), 3));
    applied.push(performance.now() - appliedAtMs);
    enforced.push(await isEnforced);
  }
  report(`one changed policy, ${enforced.length} times: until the API server has answered, p50`, ms(quantile(applied, 0.5)));
  report('  until the gateway enforces it, p50', ms(quantile(enforced, 0.5)), '< 100 ms');
  report('  p99', ms(quantile(enforced, 0.99)), '< 1 s');
  report('  processor time of the control plane, each', ms(((await control.cpuMs()) - cpuBefore) / enforced.length));
  await waitFor('all statuses', settled, 120_000);
  const uses = (await kubernetes.uses()).slice(usesBefore.length).filter((use) => isWrite(use) && !(use.verb === 'patch' && use.resource === 'egresspolicies'));
  report('  requests of the control plane that write, each', (uses.length / enforced.length).toFixed(2), [...Map.groupBy(uses, ({ verb, resource }) => `${verb} ${resource}`)].map(([what, all]) => `${what}: ${(all.length / enforced.length).toFixed(2)}`).join(', '));
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const idleBefore = (await kubernetes.uses()).length;
  await new Promise((resolve) => setTimeout(resolve, 20_000));
  const idle = (await kubernetes.uses()).slice(idleBefore);
  report('settled, requests in 20 s', String(idle.length), [...Map.groupBy(idle, ({ verb, resource }) => `${verb} ${resource}`)].map(([what, all]) => `${what}: ${all.length}`).join(', '));
  report('resident memory of the control plane since its restart, at most', `${(await control.peakMib()).toFixed(0)} MiB`, '< 250 MB');
  const { conditions } = await admin.get<StatusResult>(adminPaths.status);
  if (conditions.length > 0) console.log(conditions.join('\n'));
  await gateway.end();
  await control.end('SIGTERM');
  printTable(`load average ${loadavg()[0]!.toFixed(1)}`, rows);

  async function writeAll(objects: readonly Manifest[]): Promise<void> {
    const left = objects.values();
    await Promise.all(
      Array.from({ length: writers }, async () => {
        for (const each of left) await cluster.apply(each);
      }),
    );
  }
} finally {
  target.close();
  await kubernetes.stop();
  await rm(directory, { recursive: true, force: true });
}

/** But for Leases, which are written all the while. */
function isWrite({ verb, resource }: ApiUse): boolean {
  return !['get', 'list', 'watch'].includes(verb) && resource !== 'leases';
}
