/** What there is to say about the proxies that are served: pure, from the status of the snapshot cache. */
import type { ProxyStatus } from '../api/admin.ts';
import type { GatewayState } from '../api/gateway-state.ts';
import { inOneSentence } from '../core/fault-text.ts';
import type { PlannedGateway, Revision } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { NodeStatus, StreamStatus } from '../xds/index.ts';
import { proxyOf } from './proxy.ts';

export interface ProxyStatusContext {
  readonly gateways: readonly PlannedGateway[];
  /** The latest revisions, the newest last. */
  readonly revisions: readonly Revision[];
  /** By node key, why it is not sent the latest. */
  readonly withheld: ReadonlyMap<string, string>;
  /** By what they call themselves, what gateways say of themselves. */
  readonly states: ReadonlyMap<string, GatewayState>;
}

/** One for each open stream, and one for each gateway that has none, and for whoever was last refused. */
export function proxyStatuses(nodes: readonly NodeStatus[], context: ProxyStatusContext): readonly ProxyStatus[] {
  const gateways = new Map<SpiffeId, PlannedGateway>(context.gateways.map((gateway) => [gateway.identity, gateway]));
  return nodes.flatMap((node) => {
    const { identity, form } = proxyOf(node.nodeKey);
    const gateway = gateways.get(identity)?.name ?? null;
    const common = { identity, class: form, gateway, withheld: context.withheld.get(node.nodeKey) ?? null, trouble: node.trouble === undefined ? null : { reason: node.trouble.reason, at: new Date(node.trouble.atMs).toISOString(), count: node.trouble.count } };
    if (node.streams.length === 0 && gateway === null && node.trouble === undefined) return [];
    if (node.streams.length === 0) return [{ node: identity, ...common, version: null, connected: false, connectedSince: null, types: [], revisionsBehind: null, ...saidBy(undefined) }];
    return node.streams.map((stream): ProxyStatus => ({
      node: nameOf(stream, identity),
      ...common,
      version: stream.userAgent.version === '' ? null : stream.userAgent.version,
      connected: true,
      connectedSince: new Date(stream.connectedSinceMs).toISOString(),
      types: stream.types.map(({ typeUrl, state, versionSent, versionAcked, lastError }) => ({ typeUrl, state, sent: versionSent ?? null, acknowledged: versionAcked ?? null, error: lastError === undefined ? null : { message: lastError.message, resources: lastError.resources } })),
      revisionsBehind: revisionsBehind(stream, context.revisions),
      ...saidBy(context.states.get(nameOf(stream, identity))),
    }));
  });
}

const nameOf = ({ nodeId }: StreamStatus, identity: SpiffeId): string => (nodeId === '' ? identity : nodeId);

function saidBy(state: GatewayState | undefined): Pick<ProxyStatus, 'conditions' | 'inForce'> {
  return state === undefined ? { inForce: null, conditions: [] } : { inForce: state.inForce, conditions: state.conditions.map(inOneSentence) };
}

/** Of the type that is furthest behind; null where it holds a revision that is no longer remembered, or none. */
function revisionsBehind({ types }: StreamStatus, revisions: readonly Revision[]): number | null {
  const behind = types.map(({ versionAcked }) => {
    const index = revisions.lastIndexOf(versionAcked as Revision);
    return index === -1 ? Infinity : revisions.length - 1 - index;
  });
  const most = Math.max(0, ...behind);
  return most === Infinity ? null : most;
}
