/** What a firewall's owner has to change between two plans. */
import { flowKey, type AllowList, type AllowedFlow } from './allow-list.ts';

export interface AllowListDifference {
  readonly added: readonly AllowedFlow[];
  readonly removed: readonly AllowedFlow[];
  /** The same flow for other reasons: nothing to change, and something to know. */
  readonly otherwiseNeeded: readonly { readonly before: AllowedFlow; readonly after: AllowedFlow }[];
}

export function differenceOf(before: Pick<AllowList, 'flows'>, after: Pick<AllowList, 'flows'>): AllowListDifference {
  const known = new Map(before.flows.map((flow) => [flowKey(flow), flow]));
  const wanted = new Map(after.flows.map((flow) => [flowKey(flow), flow]));
  return {
    added: after.flows.filter((flow) => !known.has(flowKey(flow))),
    removed: before.flows.filter((flow) => !wanted.has(flowKey(flow))),
    otherwiseNeeded: after.flows.flatMap((flow) => {
      const earlier = known.get(flowKey(flow));
      return earlier === undefined || JSON.stringify(earlier.needs) === JSON.stringify(flow.needs) ? [] : [{ before: earlier, after: flow }];
    }),
  };
}
