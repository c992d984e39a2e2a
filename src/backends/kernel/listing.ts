/** The table as the kernel has it, from `nft --json list table`: libnftables-json(5). */
import { parseAddress } from '../../core/ip-address.ts';
import { revisionCharacters } from './chains.ts';
import { setNames, type Elements, type SetName } from './table.ts';

export interface Listing {
  readonly elements: Elements;
  /** In packets and bytes, by mark. */
  readonly counters: ReadonlyMap<number, Counter>;
  /** Everything but elements, counters and the revision, as text that is the same for the same. */
  readonly structure: string;
  /** First characters of the plan's, as log lines have it; null where they do not agree. */
  readonly revision: string | null;
}

export interface Counter {
  readonly packets: number;
  readonly bytes: number;
}

/** What nft lists of a value: a number, a text, or one of these. */
type Value = string | number | { readonly concat: readonly Value[] } | { readonly range: readonly [Value, Value] } | { readonly goto: { readonly target: string } };
interface Counted {
  readonly elem: { readonly val: Value; readonly comment?: string; readonly counter?: Counter };
}
type Element = Value | Counted | readonly [key: Value, data: Value];
interface ListedSet {
  readonly name: string;
  readonly elem?: readonly Element[];
}
type Entry = Readonly<Record<string, unknown>> & { readonly set?: ListedSet; readonly map?: ListedSet };

/** Throws where it is no JSON. */
export function readListing(text: string): Listing {
  const entries = (JSON.parse(text) as { readonly nftables: readonly Entry[] }).nftables.filter(({ metainfo }) => metainfo === undefined);
  const listed = new Map(entries.flatMap(({ set, map }) => [set, map].flatMap((each) => (each === undefined ? [] : [[each.name, each.elem ?? []] as const]))));
  const elements = Object.fromEntries(setNames.map((name) => [name, new Map((listed.get(name) ?? []).map(keyAndValue))])) as Record<SetName, Map<string, string>>;
  const counters = (listed.get('grants') ?? []).flatMap((element) => (isCounted(element) && element.elem.counter !== undefined ? [[Number(textOf(element.elem.val)), element.elem.counter] as const] : []));
  const described = JSON.stringify(entries.map(withoutElements), (field, value: unknown) => (field === 'handle' ? undefined : value));
  const revisions = new Set(Array.from(described.matchAll(prefix), ([, revision]) => revision!));
  return { elements, counters: new Map(counters), structure: described.replaceAll(prefix, '"sallyport '), revision: revisions.size === 1 ? [...revisions][0]! : null };
}

const prefix = new RegExp(`"sallyport ([0-9a-f]{${revisionCharacters}}) `, 'g');

function withoutElements({ set, map, ...entry }: Entry): Entry {
  return { ...entry, ...(set !== undefined && { set: { ...set, elem: [] } }), ...(map !== undefined && { map: { ...map, elem: [] } }) };
}

function keyAndValue(element: Element): readonly [key: string, value: string] {
  if (isMapping(element)) return [textOf(element[0]), textOf(element[1])];
  return isCounted(element) ? [textOf(element.elem.val), element.elem.comment ?? ''] : [textOf(element), ''];
}

const isMapping = (element: Element): element is readonly [Value, Value] => Array.isArray(element);
const isCounted = (element: Element): element is Counted => typeof element === 'object' && 'elem' in element;

/** As table.ts spells it. */
function textOf(value: Value): string {
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return parseAddress(value) ?? value;
  if ('concat' in value) return value.concat.map(textOf).join(' . ');
  return 'range' in value ? value.range.map(textOf).join('-') : `goto ${value.goto.target}`;
}
