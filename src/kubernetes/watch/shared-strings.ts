/**
 * Strings that many objects say alike, as the conditions in their statuses do, held once: of 16,000 objects those are 400,000 strings, and half of
 * what the objects take.
 */
const shared = new Map<string, string>();
const charactersMax = 256;
/** More are not alike. */
const stringsMax = 20_000;

/** The same value, of which the strings are those that others have. */
export function withSharedStrings<Value>(value: Value): Value {
  if (typeof value === 'string') return share(value) as Value;
  if (Array.isArray(value)) return value.map(withSharedStrings) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, each]) => [field, withSharedStrings<unknown>(each)])) as Value;
}

function share(text: string): string {
  if (text.length > charactersMax) return text;
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size >= stringsMax) shared.clear();
  shared.set(text, text);
  return text;
}
