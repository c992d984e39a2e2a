/**
 * Values that many objects say alike, as the conditions in their statuses do, held once: of 16,000 objects those are 80,000 objects of 400,000
 * strings, and most of what the objects take.
 */
const strings = new Map<string, string>();
/** And arrays, by their JSON. */
const flatObjects = new Map<string, object>();
const charactersMax = 512;
/** More are not alike. */
const valuesMax = 10_000;

/** The same value, of which strings, and objects and arrays that have no others within, are those that others have. */
export function withSharedValues<Value>(value: Value): Value {
  if (typeof value === 'string') return share(strings, value, value) as Value;
  if (typeof value !== 'object' || value === null) return value;
  if (Object.values(value).every((each) => typeof each !== 'object' || each === null)) return share(flatObjects, JSON.stringify(value), value) as Value;
  if (Array.isArray(value)) return value.map(withSharedValues) as Value;
  return Object.fromEntries(Object.entries(value).map(([field, each]) => [field, withSharedValues<unknown>(each)])) as Value;
}

function share<Value>(shared: Map<string, Value>, text: string, value: Value): Value {
  if (text.length > charactersMax) return value;
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size >= valuesMax) shared.clear();
  shared.set(text, value);
  return value;
}
