/**
 * What a BIG-IP costs: rendering 1,000 services and 10,000 grants as an AS3 declaration, and what a changed policy sends to the box. Run: node bench/bigip.ts
 * 1,000 namespaces with an address each, and a policy for ten services.
 */
import { loadavg } from 'node:os';
import type { As3Object } from '../src/backends/bigip/as3-object.ts';
import { pathOf, renderAs3, type DataGroupRecord } from '../src/backends/bigip/index.ts';
import { transition } from '../src/control/bigip/data-group-changes.ts';
import { applyChange, emptyDesiredState } from '../src/core/desired-state.ts';
import { apiVersion, schemas, type DesiredObject, type Kind } from '../src/core/objects/index.ts';
import { compile, type CompileState } from '../src/core/plan/compile.ts';
import type { Plan } from '../src/core/plan/plan.ts';
import { allocate } from '../src/core/snat/allocate.ts';
import type { TrustDomain } from '../src/core/spiffe-id.ts';
import { printTable, quantile } from './large-world.ts';

const count = 1_000;
const grantsEach = 10;
const rounds = 20;
const partition = 'Egress';

const make = (kind: Kind, metadata: object, spec: object): DesiredObject => schemas[kind].parse({ apiVersion, kind, metadata, spec });
const each = <Value>(make: (index: number) => Value): Value[] => Array.from({ length: count }, (_, index) => make(index));
const policyOf = (index: number, shift = 0): DesiredObject =>
  make('EgressPolicy', { name: 'partners', namespace: `team-${index}` }, { subjects: [{ namespace: `team-${index}` }], to: Array.from({ length: grantsEach }, (_, at) => ({ service: `partner-${(index + at * 97 + (at === 0 ? shift : 0)) % count}`, namespace: 'out' })) });

const objects: readonly DesiredObject[] = [
  make('EgressGateway', { name: 'gw' }, { class: 'bigip', listen: [{ address: '10.4.0.1', port: 15443 }], bigip: { partition } }),
  make('SnatPool', { name: 'eu' }, { addresses: ['10.8.0.0/16'] }),
  ...each((index) => make('ExternalService', { name: `partner-${index}`, namespace: 'out' }, { addresses: [`198.18.${index >> 8}.${index & 255}`], ports: [{ port: 443 }], agentAddress: `127.1.${index >> 8}.${index & 255}` })),
  ...each((index) => make('SnatBinding', { name: 'own', namespace: `team-${index}` }, { subject: { namespace: `team-${index}` }, pool: 'eu' })),
  ...each((index) => policyOf(index)),
];

/** As the control plane compiles a change: what it does not touch stays the same. */
function compiledWith(changed: readonly DesiredObject[], previous?: CompileState) {
  const desired = applyChange(emptyDesiredState, { put: [...objects, ...changed], remove: [] });
  const { assignments } = allocate(desired, [], 0);
  const compiled = compile(desired, assignments, { trustDomain: 'cluster.local' as TrustDomain, ...(previous && { previous }) });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.faults[0]));
  return compiled;
}

const render = (plan: Plan) => renderAs3(plan, plan.gateways[0]!).declaration;

/** What the requests that lead from one plan to the other have in path and body. */
function changeBytes(before: Plan, after: Plan): number {
  const recordsOf = (plan: Plan, name: string): readonly DataGroupRecord[] => ((render(plan)[partition] as unknown as { readonly shared: Readonly<Record<string, As3Object>> }).shared[name]!['records'] as unknown as readonly DataGroupRecord[]);
  const requests = ['services', 'grants', 'settings'].flatMap((name) => transition(pathOf(partition, name), recordsOf(before, name), recordsOf(after, name)));
  return requests.map(({ path, option, records }) => path.length + (option === null ? JSON.stringify(records) : encodeURIComponent(option)).length).reduce((sum, bytes) => sum + bytes, 0);
}

const { plan, state } = compiledWith([]);
const grants = plan.servicePorts.reduce((sum, servicePort) => sum + servicePort.grants.length, 0);
const changed = Array.from({ length: rounds }, (_, round) => compiledWith([policyOf(round * 31, 1 + round)], state).plan);
const timed = (each: Plan): number => {
  const startedMs = performance.now();
  JSON.stringify(render(each));
  return performance.now() - startedMs;
};
const first = timed(plan);
const again = changed.map(timed);
const changes = changed.map((each) => changeBytes(plan, each));

printTable(`${plan.servicePorts.length} services, ${grants} grants; load average ${loadavg()[0]!.toFixed(1)}`, [
  { what: 'declaration as JSON, first', figure: `${Math.round(first)} ms`, limit: '< 1 s' },
  { what: '  after one changed policy, median', figure: `${Math.round(quantile(again, 0.5))} ms` },
  { what: '  its size', figure: `${(JSON.stringify(render(plan)).length / 1_000_000).toFixed(1)} MB` },
  { what: 'one changed policy, median', figure: `${Math.round(quantile(changes, 0.5))} bytes`, limit: '< 1 KB' },
  { what: '  at most', figure: `${Math.max(...changes)} bytes` },
]);
