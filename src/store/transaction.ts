/** Transactions, and their form in the journal: one JSON object of puts and removals of whole values, so that replaying one twice does no harm. */
import type { Assignment, Assignments } from '../core/snat/assignments.ts';
import { emptyDesiredState, keyOf, refOf, type DesiredChange, type DesiredState, type ObjectKey } from '../core/desired-state.ts';
import type { ObjectRef } from '../core/errors.ts';
import type { DesiredObject, Kind } from '../core/objects/index.ts';
import { byText } from '../core/order.ts';
import { mapInSteps, runThrough, type Steps } from '../core/steps.ts';
import { decodeObject, encodeObject } from './stored-object.ts';

/** A change that happens as a whole or not at all. `Sections` maps each section's name to the type of its values, which must be JSON. */
export interface Transaction<Sections> {
  readonly desired?: DesiredChange;
  /** The assignments as they are to be, all of them; records that do not change should stay the same objects. */
  readonly assignments?: Assignments;
  /** By section and key; null removes. */
  readonly put?: { readonly [Name in keyof Sections]?: Readonly<Record<string, Sections[Name] | null>> };
}

/** Everything that a store holds. */
export interface StoredState {
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  readonly sections: Map<string, Map<string, unknown>>;
}

/** Of each part, what is removed goes before what is put. */
interface StoredTransaction {
  readonly desired?: { readonly put?: readonly unknown[]; readonly remove?: readonly ObjectRef[] };
  readonly assignments?: { readonly put?: readonly Assignment[]; readonly remove?: readonly string[] };
  readonly put?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** The journal's payload for a transaction. Of the assignments only the difference to `before` is written. */
export function encodeTransaction<Sections>({ desired, assignments, put }: Transaction<Sections>, before: Assignments): string {
  const rest: Omit<StoredTransaction, 'desired'> = {
    ...(assignments === undefined || assignments === before ? {} : { assignments: differenceOf(before, assignments) }),
    ...(put === undefined ? {} : { put: put as StoredTransaction['put'] & object }),
  };
  const text = JSON.stringify(rest);
  return desired === undefined ? text : `${text.slice(0, -1)}${text === '{}' ? '' : ','}"desired":${textOf(desired)}}`;
}

const texts = new WeakMap<DesiredChange, string>();

function textOf(change: DesiredChange): string {
  runThrough(encodeAhead(change));
  return texts.get(change)!;
}

/** Makes the text of a change, which the transaction that holds it then has at hand. */
export function* encodeAhead(change: DesiredChange): Steps<void> {
  if (texts.has(change)) return;
  const put = yield* mapInSteps(change.put, 64, (object) => JSON.stringify(encodeObject(object)));
  texts.set(change, `{"put":[${put.join()}],"remove":${JSON.stringify(change.remove)}}`);
}

function differenceOf(before: Assignments, after: Assignments): { put: Assignment[]; remove: string[] } {
  const known = new Set(before);
  const kept = new Set(after);
  return { put: after.filter((assignment) => !known.has(assignment)), remove: before.filter((assignment) => !kept.has(assignment)).map(assignmentKey) };
}

function assignmentKey({ pool, holder, family, address }: Assignment): string {
  return `${pool} ${holder} ${family} ${address}`;
}

const itemsPerPayload = 64; // some 100 microseconds of the event loop each

/** Payloads that lead from nothing to a state, in small pieces. Reads the state as it goes, so that the later pieces may be younger. */
export function* payloadsOf(state: StoredState): Generator<string> {
  for (const kind of Object.keys(emptyDesiredState) as Kind[]) {
    for (const objects of inPieces<DesiredObject>(state.desired[kind].values())) yield JSON.stringify({ desired: { put: objects.map(encodeObject) } } satisfies StoredTransaction);
  }
  for (const assignments of inPieces(state.assignments)) yield JSON.stringify({ assignments: { put: assignments } } satisfies StoredTransaction);
  for (const [section, entries] of state.sections) {
    for (const piece of inPieces(entries)) yield JSON.stringify({ put: { [section]: Object.fromEntries(piece) } } satisfies StoredTransaction);
  }
}

function* inPieces<Item>(items: Iterable<Item>): Generator<Item[]> {
  let piece: Item[] = [];
  for (const item of items) {
    if (piece.push(item) < itemsPerPayload) continue;
    yield piece;
    piece = [];
  }
  if (piece.length > 0) yield piece;
}

/** Collects payloads into the state that they lead to. */
export interface Replay {
  readonly apply: (payload: string) => void;
  readonly state: () => StoredState;
}

export function startReplay(): Replay {
  const desired = Object.fromEntries(Object.keys(emptyDesiredState).map((kind) => [kind, new Map()])) as unknown as Record<Kind, Map<ObjectKey, DesiredObject>>;
  const assignments = new Map<string, Assignment>();
  const sections: StoredState['sections'] = new Map();
  return {
    apply: (payload) => {
      const stored = JSON.parse(payload) as StoredTransaction;
      for (const ref of stored.desired?.remove ?? []) desired[ref.kind as Kind].delete(keyOf(ref));
      for (const object of stored.desired?.put?.map(decodeObject) ?? []) desired[object.kind].set(keyOf(refOf(object)), object);
      for (const key of stored.assignments?.remove ?? []) assignments.delete(key);
      for (const assignment of stored.assignments?.put ?? []) assignments.set(assignmentKey(assignment), assignment);
      for (const [section, entries] of Object.entries(stored.put ?? {})) putEntries(sections, section, entries);
    },
    state: () => ({ desired: desired as unknown as DesiredState, assignments: [...assignments.values()].sort(byPlace), sections }),
  };
}

export function putEntries(sections: StoredState['sections'], section: string, entries: Readonly<Record<string, unknown>>): void {
  let held = sections.get(section);
  if (held === undefined) sections.set(section, (held = new Map<string, unknown>()));
  for (const [key, value] of Object.entries(entries)) {
    if (value === null) held.delete(key);
    else held.set(key, value);
  }
}

/** The order that `Assignments` promises. */
function byPlace(a: Assignment, b: Assignment): number {
  return byText(a.pool, b.pool) || byText(a.holder, b.holder) || byText(a.family, b.family) || byText(a.address, b.address);
}
