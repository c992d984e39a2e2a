/** What each object said when it was last in force as it was: kept in its status when it is changed for the worse, so that a restart knows it. */
import { describeRef, refOf } from '../../core/desired-state.ts';
import type { Refusal } from '../../core/plan/acceptance.ts';
import type { Collection, SourceName } from '../desired/collection.ts';
import type { ApiObject } from '../watch/reflection.ts';

type Refused = ReadonlyMap<string, Refusal>;

export interface InForce {
  /** The `spec` of each, as the API server had it. */
  readonly specs: ReadonlyMap<SourceName, unknown>;
  /** Looks at what was touched, and at what is refused no more. */
  update(collection: Collection, refused: { readonly before: Refused; readonly now: Refused }, touched: ReadonlySet<SourceName>): void;
}

interface KnownObject extends ApiObject {
  readonly spec?: unknown;
  readonly status?: { readonly inForce?: { readonly spec?: unknown } };
}

export function createInForce(): InForce {
  const specs = new Map<SourceName, unknown>();
  return {
    specs,
    update({ sources, makers }, { before, now }, touched) {
      const pardoned = [...before.keys()].flatMap((name) => (now.has(name) ? [] : (makers.get(name) ?? []).map((source) => source.name)));
      for (const name of new Set([...touched, ...pardoned])) {
        const source = sources.get(name);
        if (source === undefined) {
          specs.delete(name);
          continue;
        }
        const { spec, status } = source.apiObject as KnownObject;
        if (source.faults.length === 0 && !source.objects.some((object) => now.has(describeRef(refOf(object))))) specs.set(source.name, spec); // its own name, which is kept already
        else if (!specs.has(name) && status?.inForce !== undefined) specs.set(source.name, status.inForce.spec);
      }
    },
  };
}
