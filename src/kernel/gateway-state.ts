/** What the control plane is told of a gateway that it cannot see itself: pure. */
import type { GatewayState } from '../api/gateway-state.ts';
import type { Fault } from '../core/errors.ts';
import { boundedList } from '../core/order.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { EnforcementStatus } from './enforcement.ts';

/** Of thousands of services, each may have something of its own; all of it is at `/readyz`. */
const conditionsMax = 20;
const driftsMax = 3;

/** What this host calls itself as a node of xDS, in characters that may stand there: routers of a pair are of one identity. */
export const nodeOf = (spiffeId: SpiffeId, host: string): string => `${spiffeId}~${host.replaceAll(/[^A-Za-z0-9._-]/g, '-')}`;

/** @param host on which it is, told of what is of this process alone: what is so of the plan is so of the other router too */
export function stateOf(node: string, host: string, { revision, fault, drift, conditions }: EnforcementStatus): GatewayState {
  const own: readonly Fault[] = [
    ...(fault === null ? [] : [{ code: 'ruleset-refused', message: `at ${host}, what it was told last is not in force: ${fault}`, hint: 'what was before still is; it is tried again every few seconds' }]),
    ...(drift.length === 0 ? [] : [{ code: 'ruleset-changed', message: `at ${host}, somebody else has changed what is in force: ${boundedList(drift, driftsMax)}`, hint: 'undo it, or have "drift" of its EgressGateway say Repair' }]),
  ];
  const more = conditions.length - conditionsMax;
  return {
    node,
    inForce: revision !== null && own.length === 0,
    conditions: [...own, ...conditions.slice(0, conditionsMax), ...(more > 0 ? [{ code: 'more-conditions', message: `and ${more} more like these`, hint: `ask /readyz at ${host}` }] : [])],
  };
}
