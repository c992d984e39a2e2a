/**
 * What compilation costs: 10,000 identities x 500 services with 20,000 grants. Run: node bench/compile.ts
 * Each identity (1,000 namespaces of 10 service accounts) has a policy for two services and a binding of its own. It is a cluster with tenants:
 * the services are of another namespace, which grants each the reference.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { agentView } from '../src/core/plan/agent-view.ts';
import { allocate } from '../src/core/snat/allocate.ts';
import type { Assignments } from '../src/core/snat/assignments.ts';
import { compile, type CompileState } from '../src/core/plan/compile.ts';
import { decide } from '../src/core/plan/decide.ts';
import { applyChange, emptyDesiredState, type DesiredState } from '../src/core/desired-state.ts';
import { explain } from '../src/core/plan/explain.ts';
import { apiVersion, schemas, type DesiredObject, type Kind } from '../src/core/objects/index.ts';
import { diffPlans } from '../src/core/plan/plan-diff.ts';
import { findServicePort } from '../src/core/plan/service-lookup.ts';
import { workloadSpiffeId, type TrustDomain } from '../src/core/spiffe-id.ts';

const trustDomain = 'cluster.local' as TrustDomain;
const rootNamespace = 'sallyport-system';
const namespaceCount = 1_000;
const accountCount = 10;
const serviceCount = 500;

const make = (kind: Kind, metadata: object, spec: object): DesiredObject => schemas[kind].parse({ apiVersion, kind, metadata, spec });
const serviceOf = (index: number, address = '198.51.100.1') =>
  make('ExternalService', { name: `s${index}`, namespace: 'out' }, { addresses: [address], ports: [{ port: 443, protocol: index % 5 === 0 ? 'HTTPConnect' : 'TCP' }], agentAddress: `127.1.${index >> 8}.${index & 255}` });
const policyOf = (namespace: number, account: number, shift = 0) => {
  const first = (namespace * accountCount + account + shift) % serviceCount;
  return make('EgressPolicy', { name: `p${account}`, namespace: `n${namespace}` }, { subjects: [{ namespace: `n${namespace}`, serviceAccount: `a${account}` }], to: [first, (first + 7) % serviceCount].map((index) => ({ service: `s${index}`, namespace: 'out' })) });
};
const bindingOf = (namespace: number, account: number, pool = 'eu') => make('SnatBinding', { name: `b${account}`, namespace: `n${namespace}` }, { subject: { namespace: `n${namespace}`, serviceAccount: `a${account}` }, pool });
const grantOf = (namespace: number, name?: string) => make('ReferenceGrant', { name: `n${namespace}`, namespace: 'out' }, { from: [{ group: 'sallyport.dev', kind: 'EgressPolicy', namespace: `n${namespace}` }], to: [{ group: 'sallyport.dev', kind: 'ExternalService' }, ...(name === undefined ? [] : [{ group: 'sallyport.dev', kind: 'ExternalService', name }])] });

function world(): DesiredState {
  const objects: DesiredObject[] = [
    make('EgressGateway', { name: 'gw' }, { class: 'sallyport', listen: [{ address: '10.4.0.1', port: 15443 }] }),
    make('SnatPool', { name: 'eu' }, { addresses: ['10.8.0.0/16'] }),
    make('SnatPool', { name: 'us' }, { addresses: ['10.9.0.0/16'] }),
  ];
  for (let index = 0; index < serviceCount; index += 1) objects.push(serviceOf(index));
  for (let namespace = 0; namespace < namespaceCount; namespace += 1) {
    objects.push(grantOf(namespace));
    for (let account = 0; account < accountCount; account += 1) objects.push(policyOf(namespace, account), bindingOf(namespace, account));
  }
  return applyChange(emptyDesiredState, { put: objects, remove: [] });
}

interface Step {
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  readonly state: CompileState;
}

function run(desired: DesiredState, assignments: Assignments, previous?: CompileState): Step {
  const allocation = allocate(desired, assignments, 0, rootNamespace);
  const compiled = compile(desired, allocation.assignments, { trustDomain, rootNamespace, ...(previous && { previous }) });
  if (!compiled.ok || allocation.faults.length > 0) throw new Error(JSON.stringify([allocation.faults[0], compiled.ok ? undefined : compiled.faults[0]]));
  return { desired, assignments: allocation.assignments, state: compiled.state };
}

const rows: { what: string; figure: string; limit: string }[] = [];
const report = (what: string, value: number, unit: string, limit = '') => rows.push({ what, figure: `${value.toPrecision(3)} ${unit}`, limit });

function millisecondsOf<T>(work: () => T): [number, T] {
  const start = performance.now();
  const result = work();
  return [performance.now() - start, result];
}
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
function heapMegabytes(): number {
  collect();
  return process.memoryUsage().heapUsed / 1e6;
}

const desired = world();
const heapBefore = heapMegabytes();
const [allocateMs, allocation] = millisecondsOf(() => allocate(desired, [], 0, rootNamespace));
report('allocate 10,000 addresses', allocateMs, 'ms');
const [fullMs] = millisecondsOf(() => compile(desired, allocation.assignments, { trustDomain, rootNamespace }));
report('compile in full, first run', fullMs, 'ms', '< 1000 ms');
report('compile in full, warm (median of 5)', median(Array.from({ length: 5 }, () => millisecondsOf(() => compile(desired, allocation.assignments, { trustDomain, rootNamespace }))[0])), 'ms', '< 1000 ms');
let step = run(desired, allocation.assignments);
report('heap, all in all', heapMegabytes(), 'MB', '< 300 MB');
report('  of it plan, its memory and assignments', heapMegabytes() - heapBefore, 'MB');

const plan = step.state.plan;
const grantCount = plan.servicePorts.reduce((sum, { grants }) => sum + grants.length, 0);

const changes: [what: string, change: (round: number) => DesiredObject][] = [
  ['a policy', (round) => policyOf((round * 37) % namespaceCount, round % accountCount, round)],
  ['a binding (another pool: a new address)', (round) => bindingOf((round * 41) % namespaceCount, round % accountCount, step.desired.SnatBinding.get(`n${(round * 41) % namespaceCount}/b${round % accountCount}`)?.spec.pool === 'eu' ? 'us' : 'eu')],
  ['a service', (round) => serviceOf(round, `198.51.100.${round + 2}`)],
  ['a ReferenceGrant', (round) => grantOf((round * 37) % namespaceCount, `s${round}`)],
  ['a Namespace', (round) => schemas.Namespace.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: `n${round}`, labels: { round: String(round) } } })],
  ['a Kubernetes Service', (round) => schemas.Service.parse({ apiVersion: 'v1', kind: 'Service', metadata: { name: `k${round}`, namespace: 'n1' } })],
];
for (const [what, change] of changes) {
  const compileMs: number[] = [];
  const allMs: number[] = [];
  for (let round = 0; round < 60; round += 1) {
    const object = change(round);
    const before = step;
    const [total] = millisecondsOf(() => {
      const next = applyChange(before.desired, { put: [object], remove: [] });
      const { assignments } = allocate(next, before.assignments, 0, rootNamespace);
      const [spent, compiled] = millisecondsOf(() => compile(next, assignments, { trustDomain, rootNamespace, previous: before.state }));
      if (!compiled.ok) throw new Error(JSON.stringify(compiled.faults[0]));
      compileMs.push(spent);
      diffPlans(before.state.plan, compiled.plan);
      step = { desired: next, assignments, state: compiled.state };
    });
    allMs.push(total);
  }
  report(`compile after a change of ${what} (median of 60)`, median(compileMs), 'ms', '< 10 ms');
  report('  fastest of 60', Math.min(...compileMs), 'ms');
  report('  slowest of 60', Math.max(...compileMs), 'ms');
  report('  with applying, allocating and comparing (median)', median(allMs), 'ms');
}

/** Microseconds a call, over identities and service ports that do not repeat soon. */
function microsecondsOf(calls: number, call: (index: number) => unknown): number {
  for (let index = 0; index < calls / 4; index += 1) call(index);
  const [ms] = millisecondsOf(() => {
    for (let index = 0; index < calls; index += 1) call(index);
  });
  return (ms * 1000) / calls;
}
const { plan: current } = step.state;
const identities = Array.from({ length: namespaceCount * accountCount }, (_, index) => workloadSpiffeId(trustDomain, { namespace: `n${Math.floor(index / accountCount)}`, serviceAccount: `a${index % accountCount}` }));
const identityAt = (index: number) => identities[(index * 7919) % identities.length]!;
const portAt = (index: number) => current.servicePorts[(index * 31) % current.servicePorts.length]!;
report('decide, mostly denied', microsecondsOf(400_000, (index) => decide(portAt(index), identityAt(index), trustDomain)), 'us', '< 5 us');
const pairs = current.servicePorts.flatMap((servicePort) => servicePort.grants.map(({ subject }) => ({ servicePort, identity: workloadSpiffeId(trustDomain, { namespace: subject.namespace, serviceAccount: subject.serviceAccount! }) })));
report('decide, all allowed', microsecondsOf(400_000, (index) => decide(pairs[index % pairs.length]!.servicePort, pairs[index % pairs.length]!.identity, trustDomain)), 'us', '< 5 us');
report('find a service port by SNI', microsecondsOf(400_000, (index) => findServicePort(current, portAt(index).serverNames[0]!)), 'us');
report('explain, allowed', microsecondsOf(200_000, (index) => explain(current, pairs[index % pairs.length]!.identity, pairs[index % pairs.length]!.servicePort.id)), 'us', '< 5 us');
report('explain, denied', microsecondsOf(200_000, (index) => explain(current, identityAt(index), portAt(index).id)), 'us', '< 5 us');
report('explain, denied, with the manifests that would allow it', microsecondsOf(200, (index) => explain(current, identityAt(index), portAt(index).id, { desired: step.desired })), 'us');
report('the view of an agent', microsecondsOf(100_000, (index) => agentView(current, identityAt(index))), 'us');

console.log(`${identities.length} identities, ${plan.servicePorts.length} service ports, ${grantCount} grants; node ${process.version}\n`);
const width = Math.max(...rows.map(({ what }) => what.length));
for (const { what, figure, limit } of rows) console.log(`${what.padEnd(width)}  ${figure.padStart(10)}  ${limit}`);
