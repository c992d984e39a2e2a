/**
 * The table as a value: its sets and maps with their elements, which are everything that a change of policy or of addresses changes, and the
 * chains (chains.ts), which stay as they are. nft(8), "SETS" and "MAPS"; https://wiki.nftables.org/wiki-nftables/index.php/Concatenations
 */
import type { Revision } from '../../core/plan/plan.ts';
import { chains, revisionedChains, stateObjects, type ChainSettings } from './chains.ts';

/** Family and name of the table that is ours alone. */
export const tableName = 'inet sallyport';

export const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];
export const suffix = { ipv4: '4', ipv6: '6' } as const satisfies Record<Family, string>;

interface SetType {
  readonly key: string;
  /** Of a map: what an element leads to. */
  readonly data?: string;
  /** Of a set: whether its elements count what they meet, and carry their value as a comment. */
  readonly counted?: true;
}

/** nftables 1.0.6 makes no rule of a map from marks to IPv6 addresses with ranges of ports: admissions.ts refuses who needs one. */
const sources = { '4': 'interval ipv4_addr . inet_service', '6': 'ipv6_addr' } as const;

const destination = (address: string): string => `${address} . inet_proto . inet_service`;

/** What each is for stands in chains.ts, where it is asked. */
function setsOfFamily<F extends '4' | '6'>(family: F) {
  const address = `ipv${family}_addr`;
  return {
    [`identities${family}`]: { key: address, data: 'mark' },
    [`access${family}`]: { key: `mark . ${destination(address)}`, data: 'mark' },
    [`refusals${family}`]: { key: `mark . ${destination(address)}`, data: 'verdict' },
    [`services${family}`]: { key: destination(address) },
    [`live${family}`]: { key: `${address} . mark . ${address}` },
    [`sources${family}`]: { key: 'mark', data: sources[family] },
    [`addresses${family}`]: { key: address },
    [`reverse${family}`]: { key: `${address} . ${address} . inet_service`, data: `${address} . inet_service` },
    [`reverse_grants${family}`]: { key: `${address} . ${address} . inet_service`, data: 'mark' },
  } as Readonly<Record<`${'identities' | 'access' | 'refusals' | 'services' | 'live' | 'sources' | 'addresses' | 'reverse' | 'reverse_grants'}${F}`, SetType>>;
}

const setTypes = {
  ...setsOfFamily('4'),
  ...setsOfFamily('6'),
  grants: { key: 'mark', counted: true },
  ftp: { key: 'mark' },
} as const satisfies Readonly<Record<string, SetType>>;

export type SetName = keyof typeof setTypes;
export const setNames = Object.keys(setTypes) as readonly SetName[];

/** Of each set, what its elements lead to; '' where they lead to nothing. In the spelling of `readListing`, so that both can be compared. */
export type Elements = Readonly<Record<SetName, ReadonlyMap<string, string>>>;

export interface Table {
  readonly revision: Revision;
  readonly settings: ChainSettings;
  readonly elements: Elements;
}

/** The table as a whole, in the place of whatever has been there: one transaction for `nft -f`. Counters begin at 0. */
export function renderTable({ revision, settings, elements }: Table): string {
  return [
    `table ${tableName}`,
    `delete table ${tableName}`,
    `table ${tableName} {`,
    '  comment "Sallyport\'s own: what is changed by hand is found, and undone where so told"',
    stateObjects(settings),
    ...setNames.map((name) => renderSet(name, elements[name])),
    chains(settings),
    ...Object.entries(revisionedChains(revision)).map(([name, rules]) => [`  chain ${name} {`, ...rules.map((rule) => `    ${rule}`), '  }'].join('\n')),
    '}',
    '',
  ].join('\n');
}

/**
 * What makes one table of the other: one transaction for `nft -f`, of the size of the change, in which whatever stays keeps its counters.
 * Undefined where more than elements differs: then the table is to be replaced.
 */
export function renderChange(before: Table, after: Table): string | undefined {
  if (JSON.stringify(before.settings) !== JSON.stringify(after.settings)) return undefined;
  const differences = setNames.map((name) => ({ name, ...differenceOf(before.elements[name], after.elements[name]) }));
  return [
    ...differences.flatMap(({ name, removed }) => statement('delete', name, removed.map(([key]) => key))),
    ...differences.flatMap(({ name, added }) => statement('add', name, added.map(([key, value]) => elementText(name, key, value)))),
    ...(before.revision === after.revision ? [] : Object.entries(revisionedChains(after.revision)).flatMap(([name, rules]) => [`flush chain ${tableName} ${name}`, ...rules.map((rule) => `add rule ${tableName} ${name} ${rule}`)])),
    '',
  ].join('\n');
}

export interface SetDifference {
  readonly removed: readonly (readonly [key: string, value: string])[];
  readonly added: readonly (readonly [key: string, value: string])[];
}

/** An element that leads elsewhere than before is both removed and added. */
export function differenceOf(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): SetDifference {
  const missingIn = (other: ReadonlyMap<string, string>, elements: ReadonlyMap<string, string>) => [...elements].filter(([key, value]) => other.get(key) !== value);
  return { removed: missingIn(after, before), added: missingIn(before, after) };
}

function renderSet(name: SetName, elements: ReadonlyMap<string, string>): string {
  const { key, data, counted }: SetType = setTypes[name];
  return [
    data === undefined ? `  set ${name} {` : `  map ${name} {`,
    data === undefined ? `    type ${key}` : `    type ${key} : ${data}`,
    ...(counted === undefined ? [] : ['    counter']),
    ...(elements.size === 0 ? [] : ['    elements = {', ...[...elements].map(([each, value]) => `      ${elementText(name, each, value)},`), '    }']),
    '  }',
  ].join('\n');
}

function elementText(name: SetName, key: string, value: string): string {
  const { data, counted }: SetType = setTypes[name];
  if (data !== undefined) return `${key} : ${value}`;
  return counted === undefined ? key : `${key} comment "${value}"`;
}

function statement(verb: 'add' | 'delete', name: SetName, elements: readonly string[]): readonly string[] {
  return elements.length === 0 ? [] : [`${verb} element ${tableName} ${name} {`, ...elements.map((element) => `  ${element},`), '}'];
}
