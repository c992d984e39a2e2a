/**
 * What turns the records that a data group has into those that it is to have. Pure.
 *
 * Sources: PATCH of /mgmt/tm/ltm/data-group/internal replaces `records` whole, and takes tmsh's `records add|modify|delete` as `options`
 * ("Working with subsets of data-group records via iControl REST", DevCentral 285113; tmsh reference, "ltm data-group internal").
 */
import type { DataGroupRecord } from '../../backends/bigip/index.ts';
import { byText } from '../../core/order.ts';

export type Records = readonly DataGroupRecord[];

/** One request. */
export interface DataGroupChange {
  /** `/PARTITION/shared/NAME` */
  readonly path: string;
  /** What tmsh does to some records; null where all are replaced. */
  readonly option: string | null;
  readonly records: Records;
}

/** Encoded, as a URL has it; Apache, which is in front of iControl REST, takes lines of 8,190 bytes. */
const optionCharsMax = 4_000;
/** What tmsh takes between quotation marks as it stands. */
const plain = /^[A-Za-z0-9 ._:/,@%=*+-]*$/;

/**
 * What a data group has, less all that it is not to have, and with all that is to be refused: nobody may do more than before, nor more than
 * with the records that are wanted, in whatever state the other data groups are.
 */
export function restricted(have: Records, want: Records, isRefusal: (value: string) => boolean): Records {
  const wanted = new Map(want.map(({ key, value }) => [key, value]));
  const refusals = want.filter(({ value }) => isRefusal(value));
  const refused = new Set(refusals.map(({ key }) => key));
  return [...have.filter(({ key }) => wanted.has(key) && !refused.has(key)), ...refusals].sort((a, b) => byText(a.key, b.key));
}

/**
 * The requests that lead from one to the other; none where they are the same. What is added comes first and what goes last: an account's refusal is
 * there before the record that it is in the place of is not.
 */
export function transition(path: string, from: Records, to: Records): readonly DataGroupChange[] {
  const { added, modified, deleted } = recordChanges(from, to);
  const some = [
    { verb: 'add', records: added },
    { verb: 'modify', records: modified },
    { verb: 'delete', records: deleted },
  ].filter(({ records }) => records.length > 0);
  const changes = some.map(({ verb, records }) => ({ path, option: `records ${verb} { ${records.map(verb === 'delete' ? keyText : recordText).join(' ')} }`, records }));
  const isPlain = some.every(({ records }) => records.every(({ key, value }) => plain.test(key) && plain.test(value)));
  return isPlain && changes.every(({ option }) => encodeURIComponent(option).length <= optionCharsMax) ? changes : [{ path, option: null, records: to }];
}

export function recordChanges(from: Records, to: Records): { readonly added: Records; readonly modified: Records; readonly deleted: Records } {
  const before = new Map(from.map(({ key, value }) => [key, value]));
  const after = new Set(to.map(({ key }) => key));
  return {
    added: to.filter(({ key }) => !before.has(key)),
    modified: to.filter(({ key, value }) => before.has(key) && before.get(key) !== value),
    deleted: from.filter(({ key }) => !after.has(key)),
  };
}

const keyText = ({ key }: DataGroupRecord): string => `"${key}"`;
const recordText = ({ key, value }: DataGroupRecord): string => `"${key}" { data "${value}" }`;

/** Whether both say the same, in whatever order. */
export function sameRecords(a: Records, b: Records): boolean {
  const values = new Map(a.map(({ key, value }) => [key, value]));
  return a.length === b.length && b.every(({ key, value }) => values.get(key) === value);
}
