/**
 * Values that many objects say alike, as the conditions in their statuses do, held once: of 16,000 objects those are 80,000 objects of 400,000
 * strings, and most of what the objects take.
 */
const strings = new Map<string, string>();
/** By their JSON. */
const structures = new Map<string, object>();
const charactersMax = 2_048;
/** More are not alike. */
const valuesMax = 2_000;

/** The same value, of which whatever is within, but not itself, is what others have. */
export function withSharedValues<Value extends object>(value: Value): Value {
  if (Array.isArray(value)) return value.map(shared) as unknown as Value;
  return Object.fromEntries(Object.entries(value).map(([field, each]) => [field, shared<unknown>(each)])) as Value;
}

/** The value that others have. */
export function shared<Value>(value: Value): Value {
  if (typeof value === 'string') return share(strings, value, () => value) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return share(structures, JSON.stringify(value), () => withSharedValues(value)) as Value;
}

function share<Value>(known: Map<string, Value>, text: string, make: () => Value): Value {
  if (text.length > charactersMax) return make();
  const found = known.get(text);
  if (found !== undefined) return found;
  if (known.size >= valuesMax) known.clear();
  const made = make();
  known.set(text, made);
  return made;
}
