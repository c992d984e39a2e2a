import { isDeepStrictEqual } from 'node:util';

/** The same value, of which whatever is as it was before is what was there before, so that it is held once while the rest changes. */
export function asBefore<Value>(value: Value, before: unknown): Value {
  if (isDeepStrictEqual(value, before)) return before as Value;
  if (!isMapping(value) || !isMapping(before)) return value;
  const shared: Record<string, unknown> = { ...value };
  for (const [field, each] of Object.entries(value)) shared[field] = asBefore(each, before[field]);
  return shared as Value;
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
