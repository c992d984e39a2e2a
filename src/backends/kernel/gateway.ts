/** A gateway of class `kernel`: everything that nftables needs to enforce its part of the plan for workloads that reach it by address. */
import { invariant } from '../../core/errors.ts';
import type { IpAddress } from '../../core/ip-address.ts';
import { sortedUnique } from '../../core/order.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';
import { accessOf, conditionsOf } from './admissions.ts';
import { caveatsOf, type Caveat } from './caveats.ts';
import { elementsOf, type MarkedGrant } from './elements.ts';
import { renderTable, type Table } from './table.ts';
import { identitiesOf, type AddressOwners } from './workloads.ts';

export interface KernelRendering {
  /** For `nft -f`: one transaction that puts our table in the place of whatever it has been. */
  readonly ruleset: string;
  /** The same as a value. */
  readonly table: Table;
  /** SNAT addresses that the interface is to have, sorted. */
  readonly addresses: readonly IpAddress[];
  /** Whose connections have a mark. */
  readonly grants: ReadonlyMap<number, MarkedGrant>;
  /** What cannot be rendered, and is refused. */
  readonly conditions: readonly Condition[];
  /** What is served, and proves less than other classes do. */
  readonly caveats: readonly Caveat[];
}

/** Renders a gateway. Pure and deterministic, in whatever order the addresses come. */
export function renderKernelGateway(plan: Pick<Plan, 'revision' | 'trustDomain' | 'servicePorts'>, gateway: Pick<PlannedGateway, 'name' | 'limits' | 'kernel'>, workloads: AddressOwners): KernelRendering {
  invariant(gateway.kernel !== null, 'a gateway of class kernel has the settings of one');
  const served = plan.servicePorts.filter((servicePort) => servicePort.gateway === gateway.name);
  const identities = identitiesOf(workloads);
  const access = accessOf(plan, served, identities);
  const { elements, grants } = elementsOf(served, identities, access);
  const { connectionsPerIdentity, udpFlowsPerIdentity, idleTimeoutMs, udpIdleTimeoutMs } = gateway.limits;
  const table: Table = {
    revision: plan.revision,
    settings: { interface: gateway.kernel.interface, connectionsPerIdentity, udpFlowsPerIdentity, idleTimeoutSeconds: wholeSeconds(idleTimeoutMs), udpIdleTimeoutSeconds: wholeSeconds(udpIdleTimeoutMs) },
    elements,
  };
  return {
    ruleset: renderTable(table),
    table,
    addresses: sortedUnique(served.flatMap(({ grants }) => grants.flatMap(({ snat }) => sidesOf(snat).map(({ address }) => address)))) as IpAddress[],
    grants,
    conditions: served.flatMap(conditionsOf),
    caveats: caveatsOf(served, access),
  };
}

/** The kernel counts in seconds. */
const wholeSeconds = (milliseconds: number): number => Math.max(1, Math.ceil(milliseconds / 1_000));
