/** The operation `add` of RFC 6902, as an API server performs it. */
import type { JsonPatch } from '../../../../src/kubernetes/webhook/injection.ts';

export function applyJsonPatch(document: unknown, patch: JsonPatch): unknown {
  const result: unknown = structuredClone(document);
  for (const { path, value } of patch) {
    const steps = path.slice(1).split('/');
    const last = steps.pop()!;
    const parent = steps.reduce((inner, step) => inner[step] as Record<string, unknown>, result as Record<string, unknown>);
    if (Array.isArray(parent)) parent.splice(last === '-' ? parent.length : Number(last), 0, value);
    else if (typeof parent === 'object') parent[last] = value;
    else throw new Error(`there is nothing at ${path}`);
  }
  return result;
}
