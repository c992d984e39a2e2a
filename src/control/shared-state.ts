/** Where the control plane keeps what every replica must know: in its own store where it is alone, in a text that replicas share where there may be several. */
import type { StateStore } from '../store/index.ts';
import type { SharedPut, SharedSections } from './shared-sections.ts';

/** The sections as they are known here. */
export interface SharedView {
  get<Name extends keyof SharedSections>(section: Name, key: string): SharedSections[Name] | undefined;
  /** Do not hold it over a change. */
  entries<Name extends keyof SharedSections>(section: Name): Iterable<readonly [string, SharedSections[Name]]>;
}

export interface SharedChange<Result> {
  /** Nothing: nothing is to be changed. */
  readonly put?: SharedPut;
  readonly result: Result;
}

export interface SharedState extends SharedView {
  /** Whether others may have issued certificates that this replica does not know of. */
  readonly isReplicated: boolean;
  /**
   * Decides by the newest there is, and makes what was decided durable: nobody has changed anything in between. So a token is spent once,
   * whoever is asked at the same moment. `decide` is asked again where somebody has; an error of it is the caller's, and changes nothing.
   * Rejects with `unavailable` where the newest is not to be had, or has no room for more.
   */
  change<Result>(decide: (view: SharedView) => SharedChange<Result>): Promise<Result>;
  /** Calls back with what has become known, by a change here or elsewhere; of one made here before it resolves. */
  onPut(listener: (put: SharedPut) => void): void;
}

/** That of a control plane that is alone. */
export function stateOfStore(store: StateStore<SharedSections>): SharedState {
  const listeners: ((put: SharedPut) => void)[] = [];
  return {
    isReplicated: false,
    get: (section, key) => store.get(section, key),
    entries: (section) => store.entries(section),
    async change(decide) {
      const { put, result } = decide(store);
      if (put === undefined) return result;
      await store.commit({ put });
      for (const listener of listeners) listener(put);
      return result;
    },
    onPut: (listener) => void listeners.push(listener),
  };
}
