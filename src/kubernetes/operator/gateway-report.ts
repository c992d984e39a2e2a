/** What is heard of a gateway, for statuses. */
import type { Fault } from '../../core/errors.ts';
import type { Revision } from '../../core/plan/plan.ts';

/** What a gateway is known to do. */
export interface GatewayReport {
  /** The latest plan that all of its processes have taken; null where none is known. */
  readonly held: Revision | null;
  /** How many of its processes have their stream open. */
  readonly connected: number;
  /** What whoever runs it should know of it, the gravest first. */
  readonly conditions: readonly Fault[];
}

/** As warnings about each EgressGateway. */
export function gatewayWarnings(reports: ReadonlyMap<string, GatewayReport>): readonly Fault[] {
  return [...reports].flatMap(([name, { conditions }]) => conditions.map((condition) => ({ ...condition, object: { kind: 'EgressGateway', namespace: '', name } })));
}
