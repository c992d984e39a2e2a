/**
 * Which address is whose, for gateways that know workloads by their address only. It is beside the plan and not in it: addresses come and go
 * with every pod, and the plan's revision stays.
 *
 * Default deny: an address that two claim is nobody's, since nobody could tell who sends from it.
 */
import { describeRef, refOf, type DesiredState } from '../desired-state.ts';
import type { FieldPath, ObjectRef } from '../errors.ts';
import type { IpAddress } from '../ip-address.ts';
import { boundedList, byText } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { WorkloadName } from '../spiffe-id.ts';
import { forEachInSteps, runThrough, type Steps } from '../steps.ts';
import { speaksForAll, type RootNamespace } from '../tenancy.ts';

/** A pod that can send, by the addresses that it alone sends from. */
export interface AddressedPod {
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  readonly addresses: readonly IpAddress[];
}

export interface WorkloadAddresses {
  /** In no order. */
  readonly addresses: ReadonlyMap<IpAddress, WorkloadName>;
  /** Of each who claims what another claims too, for each such address. */
  readonly faults: readonly PlanFault[];
}

/** Where nobody is known. */
export const noWorkloadAddresses: WorkloadAddresses = { addresses: new Map(), faults: [] };

interface Claim {
  readonly by: ObjectRef;
  readonly path: FieldPath;
  readonly workload: WorkloadName;
}

/** Claims, and addresses, of a step. */
const perStep = 128;

/** The same for the same entries and pods, in whatever order they come. */
export const workloadAddresses = (entries: DesiredState['WorkloadEntry'], pods: Iterable<AddressedPod>): WorkloadAddresses => runThrough(workloadAddressesInSteps(entries, pods));

/** As `workloadAddresses`. */
export function* workloadAddressesInSteps(entries: DesiredState['WorkloadEntry'], pods: Iterable<AddressedPod>): Steps<WorkloadAddresses> {
  /** Most addresses have one claim, which needs no list. */
  const claims = new Map<IpAddress, Claim>();
  const contested = new Map<IpAddress, Claim[]>();
  const claim = (address: IpAddress, next: Claim): void => {
    const first = claims.get(address);
    if (first === undefined) claims.set(address, next);
    else contested.set(address, [...(contested.get(address) ?? [first]), next]);
  };

  yield* forEachInSteps(entries.values(), perStep, (entry) => {
    const { addresses, namespace = entry.metadata.namespace, serviceAccount } = entry.spec;
    const workload = { namespace, serviceAccount };
    for (const address of new Set(addresses)) claim(address, { by: refOf(entry), path: ['spec', 'addresses', addresses.indexOf(address)], workload });
  });
  yield* forEachInSteps(pods, perStep, ({ namespace, name, serviceAccount, addresses }) => {
    for (const address of new Set(addresses)) claim(address, { by: { kind: 'Pod', namespace, name }, path: ['status', 'podIPs'], workload: { namespace, serviceAccount } });
  });

  const addresses = new Map<IpAddress, WorkloadName>();
  yield* forEachInSteps(claims, perStep, ([address, { workload }]) => contested.has(address) || addresses.set(address, workload));
  return { addresses, faults: [...contested].sort(([a], [b]) => byText(a, b)).flatMap(faultsOf) };
}

/** One on each claim, which names them all. */
function faultsOf([address, claims]: readonly [IpAddress, readonly Claim[]]): readonly PlanFault[] {
  const inOrder = claims.map((each) => ({ ...each, name: describeRef(each.by) })).sort((a, b) => byText(a.name, b.name));
  const message = `address ${address} is claimed by ${boundedList(inOrder.map(({ name }) => name))}, so it is nobody's, and whoever sends from it is refused`;
  return inOrder.map((each) => ({
    code: 'workload-address-contested',
    message,
    hint: 'leave it to one of them',
    object: each.by,
    path: each.path,
    restsOn: inOrder.filter((other) => other !== each).map(({ by }) => by),
  }));
}

/**
 * In a cluster with tenants, who is behind an address is the platform's to say: whoever may claim any address could take it from the pod that has it,
 * and let strangers out as his own workload.
 */
export function foreignEntries(entries: DesiredState['WorkloadEntry'], rootNamespace: RootNamespace): readonly PlanFault[] {
  return Array.from(entries.values()).flatMap((entry): readonly PlanFault[] => {
    const { namespace } = entry.metadata;
    if (speaksForAll(namespace, rootNamespace)) return [];
    return [
      {
        code: 'workload-entry-foreign',
        message: `namespace "${namespace}" may not say who is behind an address`,
        hint: `have it written in the root namespace "${rootNamespace}", with "namespace: ${entry.spec.namespace ?? namespace}"`,
        object: refOf(entry),
        path: ['spec', 'addresses'],
        restsOn: [],
      },
    ];
  });
}
