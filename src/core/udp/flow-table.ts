/** Flows in the order of their last use: UDP says nothing of an end, so what is quiet for long has ended, and the quietest makes room. */

export interface FlowTable<Key, Flow> {
  readonly size: number;
  /** The flow, which is now the one used last. */
  use(key: Key, nowMs: number): Flow | undefined;
  /** In place of any flow of this key. */
  add(key: Key, flow: Flow, nowMs: number): void;
  remove(key: Key): void;
  /** The one whose last use is longest ago. */
  quietest(): { readonly flow: Flow; readonly usedAtMs: number } | undefined;
  flows(): Flow[];
}

/** Every operation takes constant time but `flows`. */
export function createFlowTable<Key, Flow>(): FlowTable<Key, Flow> {
  // A Map keeps the order in which keys were added, and each use adds its key anew.
  const entries = new Map<Key, { readonly flow: Flow; usedAtMs: number }>();
  return {
    get size() {
      return entries.size;
    },
    use(key, nowMs) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entry.usedAtMs = nowMs;
      entries.delete(key);
      entries.set(key, entry);
      return entry.flow;
    },
    add(key, flow, nowMs) {
      entries.delete(key);
      entries.set(key, { flow, usedAtMs: nowMs });
    },
    remove: (key) => void entries.delete(key),
    quietest: () => entries.values().next().value,
    flows: () => [...entries.values()].map(({ flow }) => flow),
  };
}
