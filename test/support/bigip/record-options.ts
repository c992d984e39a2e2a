/** What tmsh makes of `records add|modify|delete { ... }` (tmsh reference, "ltm data-group internal"), for the double. */

/** As iControl REST has it. */
export interface WireRecord {
  readonly name: string;
  readonly data: string;
}

export type ChangedRecords = { readonly ok: true; readonly records: readonly WireRecord[] } | { readonly ok: false; readonly message: string };

export function applyRecordOptions(records: readonly WireRecord[], option: string): ChangedRecords {
  const tokens = tokensOf(option);
  const [attribute, verb, open] = tokens;
  if (attribute !== 'records' || open !== '{' || tokens.at(-1) !== '}') return { ok: false, message: `Found invalid content: ${option}` };
  const given = verb === 'delete' ? tokens.slice(3, -1).map((name): WireRecord => ({ name, data: '' })) : pairsOf(tokens.slice(3, -1));
  if (given === undefined) return { ok: false, message: `Found invalid content: ${option}` };
  const known = new Map(records.map((record) => [record.name, record]));
  for (const record of given) {
    if (verb === 'add' ? known.has(record.name) : !known.has(record.name)) {
      return { ok: false, message: verb === 'add' ? `01020066:3: The requested class string item (${record.name}) already exists.` : `01020036:3: The requested class string item (${record.name}) was not found.` };
    }
    if (verb === 'delete') known.delete(record.name);
    else known.set(record.name, record);
  }
  return { ok: true, records: [...known.values()] };
}

/** `NAME { data VALUE }`, one after the other. */
function pairsOf(tokens: readonly string[]): readonly WireRecord[] | undefined {
  if (tokens.length % 5 !== 0) return undefined;
  const pairs: WireRecord[] = [];
  for (let at = 0; at < tokens.length; at += 5) {
    const [name, open, data, value, close] = tokens.slice(at, at + 5) as [string, string, string, string, string];
    if (open !== '{' || data !== 'data' || close !== '}') return undefined;
    pairs.push({ name, data: value });
  }
  return pairs;
}

const tokensOf = (text: string): readonly string[] => Array.from(text.matchAll(/"([^"]*)"|[{}]|[^\s{}"]+/g), ([whole, quoted]) => quoted ?? whole);
