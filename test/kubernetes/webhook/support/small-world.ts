/** What a control plane would say of a change, beside objects that are given as manifests of an API server. */
import { isDeepStrictEqual } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { applyChange, emptyDesiredState } from '../../../../src/core/desired-state.ts';
import type { Fault } from '../../../../src/core/errors.ts';
import { build } from '../../../../src/core/plan/build.ts';
import type { TrustDomain } from '../../../../src/core/spiffe-id.ts';
import { collect, emptyCollection } from '../../../../src/kubernetes/desired/collection.ts';
import { nameOf, type ApiObject } from '../../../../src/kubernetes/watch/reflection.ts';
import type { Findings, ValidateChange } from '../../../../src/kubernetes/webhook/validation.ts';

export const rootNamespace = 'sallyport-system';

/** Custom resources as an API server gives them out. */
export function apiObjects(manifests: string): readonly ApiObject[] {
  return parseAllDocuments(manifests).map((document, index) => {
    const { metadata, ...rest } = document.toJS() as ApiObject;
    return { ...rest, metadata: { creationTimestamp: '2026-11-21T00:00:00Z', ...metadata, uid: String(index), resourceVersion: '1', generation: 1 } };
  });
}

export function smallWorld(objects: readonly ApiObject[]): ValidateChange {
  const known = collect(emptyCollection(rootNamespace), objects.map((after) => ({ name: nameOf(after), before: null, after })));
  const desired = applyChange(emptyDesiredState, known.change);
  const builtWith = (change: typeof known.change): ReturnType<typeof build> => build(applyChange(desired, change), [], { now: 0, trustDomain: 'cluster.local' as TrustDomain, rootNamespace });
  const findingsOf = (built: ReturnType<typeof build>): Findings => ({ faults: built.ok ? [] : built.faults, warnings: built.ok ? built.warnings : [] });
  const before = findingsOf(builtWith({ put: [], remove: [] }));
  const without = (those: readonly Fault[], found: readonly Fault[]) => found.filter((fault) => !those.some((known) => isDeepStrictEqual(known, fault)));
  return (change) => {
    const { faults, warnings } = findingsOf(builtWith(collect(known.collection, [change]).change));
    return Promise.resolve({ faults: without(before.faults, faults), warnings: without(before.warnings, warnings) });
  };
}
