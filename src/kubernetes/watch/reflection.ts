/**
 * What an API server holds of one resource, mirrored: list, then watch, as a reducer. Requests and timers live in its shell (reflect.ts).
 *
 * While the API server is away the objects stay as they were last known. A watch goes on where the last one ended; only where that is too
 * long ago for the server (410 Gone) is everything listed again, and then told as the difference to what was known.
 *
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
import { backOffMs } from '../../core/back-off.ts';

/** What all objects have. */
export interface ApiObject {
  readonly apiVersion?: string | undefined;
  readonly kind?: string | undefined;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly uid: string; readonly resourceVersion: string; readonly generation?: number; readonly creationTimestamp?: string; readonly deletionTimestamp?: string };
}

/** `namespace/name`, or `name` for what is in no namespace. */
export type ObjectName = string;

/** Both are null only together with neither: an object came, went, or is another. One that was deleted and made anew between two looks is a change too. */
export interface ObjectChange<Item extends ApiObject> {
  readonly name: ObjectName;
  readonly before: Item | null;
  readonly after: Item | null;
}

export type WatchEvent<Item extends ApiObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: Item }
  | { readonly type: 'BOOKMARK'; readonly object: { readonly metadata: { readonly resourceVersion: string } } }
  /** A `metav1.Status`. */
  | { readonly type: 'ERROR'; readonly object: { readonly code?: number } };

/**
 * `random` is uniform in [0, 1). `status` is HTTP's; null where there was no answer, or an answer that ended in order. For `retryAfterMs` the
 * server wants to be left alone.
 */
export type ReflectionEvent<Item extends ApiObject> =
  | { readonly type: 'listed'; readonly items: readonly Item[]; readonly resourceVersion: string; /** Empty: that is all. */ readonly continueToken: string }
  | { readonly type: 'list-failed'; readonly status: number | null; readonly retryAfterMs?: number; readonly random: number }
  | { readonly type: 'watched'; readonly event: WatchEvent<Item> }
  | { readonly type: 'watch-ended'; readonly status: number | null; readonly failed: boolean; readonly retryAfterMs?: number; readonly random: number }
  | { readonly type: 'woken' };

export type ReflectionEffect<Item extends ApiObject> =
  | { readonly type: 'list'; readonly continueToken: string }
  | { readonly type: 'watch'; readonly resourceVersion: string }
  | { readonly type: 'end-watch' }
  | { readonly type: 'wait'; readonly ms: number }
  /** With the first of them, however empty, everything is known once. */
  | { readonly type: 'changed'; readonly changes: readonly ObjectChange<Item>[] };

/** What is known of the resource beside its objects, which the shell holds: each `changed` is to be applied to them. */
export interface Reflection<Item extends ApiObject> {
  /** Where a watch goes on; empty: everything is to be listed first. */
  readonly resourceVersion: string;
  /** The pages of a list that has more. */
  readonly listed: readonly Item[];
  /** Since a watch last told something. */
  readonly failures: number;
}

const pauseMinMs = 200;
const pauseMaxMs = 30_000;

export const emptyReflection: Reflection<never> = { resourceVersion: '', listed: [], failures: 0 };

interface Step<Item extends ApiObject> {
  readonly state: Reflection<Item>;
  readonly effects: readonly ReflectionEffect<Item>[];
}

/** What to do first, or next: to be asked for once at the beginning, then told by effects. */
export function nextRequest<Item extends ApiObject>({ resourceVersion }: Reflection<Item>): ReflectionEffect<Item> {
  return resourceVersion === '' ? { type: 'list', continueToken: '' } : { type: 'watch', resourceVersion };
}

/** `objects` are those known so far. */
export function stepReflection<Item extends ApiObject>(state: Reflection<Item>, objects: ReadonlyMap<ObjectName, Item>, event: ReflectionEvent<Item>): Step<Item> {
  switch (event.type) {
    case 'listed': {
      const listed = [...state.listed, ...event.items];
      if (event.continueToken !== '') return { state: { ...state, listed }, effects: [{ type: 'list', continueToken: event.continueToken }] };
      const { resourceVersion } = event;
      const changes = differences(objects, new Map(listed.map((item) => [nameOf(item), item])));
      // A list is no success as long as no watch goes on from it, such as where the server forgets faster than it lists.
      return { state: { ...state, resourceVersion, listed: [] }, effects: [{ type: 'changed', changes }, { type: 'watch', resourceVersion }] };
    }
    case 'list-failed': // a list of many pages is of one moment, which the server may have forgotten: from its beginning again
      return pause({ ...state, listed: [] }, event);
    case 'watched':
      return watched(state, objects, event.event);
    case 'watch-ended':
      if (isGone(event.status)) return pause({ ...state, resourceVersion: '' }, event);
      if (event.failed || state.failures > 0) return pause(state, event);
      return { state: { ...state, failures: 1 }, effects: [nextRequest(state)] }; // in order, as every some minutes; twice at once is not in order
    case 'woken':
      return { state, effects: [nextRequest(state)] };
  }
}

function watched<Item extends ApiObject>(state: Reflection<Item>, objects: ReadonlyMap<ObjectName, Item>, event: WatchEvent<Item>): Step<Item> {
  if (event.type === 'ERROR') {
    return { state: isGone(event.object.code ?? null) ? { ...state, resourceVersion: '' } : state, effects: [{ type: 'end-watch' }] };
  }
  const known = { ...state, resourceVersion: event.object.metadata.resourceVersion, failures: 0 };
  if (event.type === 'BOOKMARK') return { state: known, effects: [] };
  const name = nameOf(event.object);
  const before = objects.get(name) ?? null;
  const after = event.type === 'DELETED' ? null : event.object;
  if (before === null && after === null) return { state: known, effects: [] };
  return { state: known, effects: [{ type: 'changed', changes: [{ name, before, after }] }] };
}

function pause<Item extends ApiObject>(state: Reflection<Item>, { random, retryAfterMs = 0 }: { readonly random: number; readonly retryAfterMs?: number }): Step<Item> {
  const ms = Math.max(retryAfterMs, backOffMs({ baseMs: pauseMinMs, maxMs: pauseMaxMs }, state.failures, random));
  return { state: { ...state, failures: state.failures + 1 }, effects: [{ type: 'wait', ms }] };
}

const isGone = (status: number | null): boolean => status === 410;

function differences<Item extends ApiObject>(before: ReadonlyMap<ObjectName, Item>, after: ReadonlyMap<ObjectName, Item>): ObjectChange<Item>[] {
  const gone = [...before].flatMap(([name, item]): ObjectChange<Item>[] => (after.has(name) ? [] : [{ name, before: item, after: null }]));
  const come = [...after].flatMap(([name, item]): ObjectChange<Item>[] => {
    const known = before.get(name) ?? null;
    return known !== null && known.metadata.resourceVersion === item.metadata.resourceVersion ? [] : [{ name, before: known, after: item }];
  });
  return [...gone, ...come];
}

export function nameOf({ metadata: { namespace, name } }: ApiObject): ObjectName {
  return namespace === undefined ? name : [namespace, name].join('/');
}
