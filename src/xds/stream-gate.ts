/** Bounds of the gate; see the server's limits of these names. */
export interface GateLimits {
  readonly streamsPerNodeMax: number;
  readonly perTypeStreamsPerNodeMax: number;
  readonly streamsPerKeyMax: number;
  readonly flapWindowMs: number;
}

/** A stream that would come in, and who it is. */
export interface Entrant<S> {
  readonly nodeKey: string;
  readonly nodeId: string;
  readonly isAggregated: boolean;
  readonly stream: S;
}

export type Admission<S> = { readonly refused: string } | { readonly displaced: S | undefined; readonly leave: () => void };

export interface StreamGate<S> {
  /** Lets a stream in, perhaps in the place of the node's oldest, or says why not. */
  enter(entrant: Entrant<S>): Admission<S>;
}

/** In one window a node may open this many times the streams that it may hold. */
const OPENINGS_PER_STREAM = 10;

/**
 * Bounds how many streams a node holds, and how often it opens them: each costs a first push of everything. Nodes are told
 * apart by key and id, so that of many proxies which share a snapshot one cannot shut out the others.
 */
export function createStreamGate<S>(limits: GateLimits, now: () => number): StreamGate<S> {
  const streams = new Map<string, Set<S>>();
  const perKey = new Map<string, number>();
  let openings = new Map<string, number>();
  let windowSinceMs = -Infinity;

  function openingsOf(node: string): number {
    const nowMs = now();
    if (nowMs - windowSinceMs >= limits.flapWindowMs) {
      openings = new Map();
      windowSinceMs = nowMs;
    }
    const count = (openings.get(node) ?? 0) + 1;
    openings.set(node, count);
    return count;
  }

  return {
    enter({ nodeKey, nodeId, isAggregated, stream }) {
      const node = JSON.stringify([nodeKey, nodeId, isAggregated]);
      const streamsMax = isAggregated ? limits.streamsPerNodeMax : limits.perTypeStreamsPerNodeMax;
      if (openingsOf(node) > streamsMax * OPENINGS_PER_STREAM) return { refused: `more than ${streamsMax * OPENINGS_PER_STREAM} streams opened by one node within ${limits.flapWindowMs} ms` };
      const ofKey = perKey.get(nodeKey) ?? 0;
      if (ofKey >= limits.streamsPerKeyMax) return { refused: `more than ${limits.streamsPerKeyMax} streams for one snapshot` };
      perKey.set(nodeKey, ofKey + 1);
      const ofNode = streams.get(node) ?? new Set();
      streams.set(node, ofNode.add(stream));
      const leave = (): void => {
        if (!ofNode.delete(stream)) return;
        if (ofNode.size === 0) streams.delete(node);
        const left = perKey.get(nodeKey)! - 1;
        if (left === 0) perKey.delete(nodeKey);
        else perKey.set(nodeKey, left);
      };
      const [oldest] = ofNode;
      return { displaced: ofNode.size > streamsMax ? oldest : undefined, leave };
    },
  };
}
