import { isBehind } from './delivery.ts';
import type { Resource } from './resource.ts';
import { modeOf } from './stream-state.ts';
import type { StreamState } from './stream-state.ts';
import { covers } from './subscription.ts';
import type { TypeState } from './type-state.ts';

/** What there is to say about a type of a client. */
export interface TypeStatus {
  readonly typeUrl: string;
  /** STALE: not all was sent, or the last response is not answered yet. NACKED: the client has rejected something that still stands. */
  readonly state: 'SYNCED' | 'STALE' | 'NACKED';
  /** The snapshot version of the last response; undefined where none was needed yet. */
  readonly versionSent: string | undefined;
  /** The latest snapshot version that the client is known to hold. */
  readonly versionAcked: string | undefined;
  /** Since when a response waits to be acknowledged or rejected, in milliseconds since the epoch. */
  readonly unansweredSinceMs: number | undefined;
  /** What the client has rejected, in its own words, until it accepts what stands in the place of that. */
  readonly lastError: TypeRejection | undefined;
}

/** What a client has rejected. */
export interface TypeRejection {
  readonly version: string;
  readonly message: string;
  readonly atMs: number;
  /** Those of the rejected resources that the message names; where it names none, all; no more than ten. */
  readonly resources: readonly string[];
}

/** Where a resource stands on one stream, in the words of the client status discovery service. */
export interface ResourceStatus {
  readonly resource: Resource;
  readonly state: 'SYNCED' | 'STALE' | 'NOT_SENT' | 'ERROR';
}

const NAMES_MAX = 10;

/** The names that a message speaks of; where it speaks of none, all of them. No more than ten. */
export function namedIn(message: string, names: Iterable<string>): readonly string[] {
  const all = [...names];
  const named = all.filter((name) => name !== '' && message.includes(name));
  return (named.length === 0 ? all : named).slice(0, NAMES_MAX);
}

export function statusOf(state: StreamState, typeUrl: string): TypeStatus | undefined {
  const type = state.types.get(typeUrl);
  if (type === undefined) return undefined;
  const { outstanding, rejection } = type;
  const saysNothingNew = outstanding === undefined || (outstanding.names.length === 0 && outstanding.refreshed.length > 0);
  const isSynced = state.snapshot !== undefined && saysNothingNew && !isBehind(type, modeOf(state, typeUrl, type.subscription));
  return {
    typeUrl,
    state: rejection !== undefined ? 'NACKED' : isSynced ? 'SYNCED' : 'STALE',
    versionSent: type.versionSent,
    versionAcked: rejection === undefined && isSynced ? state.snapshot.version : type.versionAcked,
    unansweredSinceMs: outstanding?.sentAtMs,
    lastError: rejection === undefined ? undefined : { ...rejection, resources: namedIn(rejection.message, type.rejected.flatMap((group) => [...group.keys()])) },
  };
}

/** Where each resource stands that the client subscribes to and that exists, by type. Cost is linear in them. */
export function* resourceStatusesOf(state: StreamState): Iterable<ResourceStatus> {
  for (const type of state.types.values()) {
    const outstanding = new Set(type.outstanding?.names);
    for (const resource of type.current.values()) {
      if (covers(type.subscription, resource.name)) yield { resource, state: stateOf(type, resource.name, outstanding) };
    }
  }
}

function stateOf({ due, rejected }: TypeState, name: string, outstanding: ReadonlySet<string>): ResourceStatus['state'] {
  if (rejected.some((group) => group.has(name))) return 'ERROR';
  if (outstanding.has(name)) return 'STALE';
  return due.has(name) ? 'NOT_SENT' : 'SYNCED';
}
