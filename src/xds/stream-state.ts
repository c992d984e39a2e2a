import type { Resource, Snapshot } from './resource.ts';
import { NO_RESOURCES, resourcesOf } from './resource.ts';
import { deliver, isBehind, nextRefreshAt } from './delivery.ts';
import type { Delivery } from './delivery.ts';
import { changeByDelta, changeBySotw } from './subscription.ts';
import type { Subscription, SubscriptionChange } from './subscription.ts';
import { accept, awaitOwner, hearOwner, heldWithout, moveTo, NEW_TYPE, reject, subscribe } from './type-state.ts';
import type { DeliveryMode, TypeState } from './type-state.ts';
import { stageOf } from './type-order.ts';
import type { TypeOrder } from './type-order.ts';

/** The two variants of the protocol: changes only, or the state of the world. A stream speaks one of them. */
export type Variant = 'delta' | 'sotw';

/** A request of either variant, as far as it matters here; the generated messages have this shape. */
export interface DeltaRequest {
  readonly typeUrl: string;
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: Readonly<Record<string, string>>;
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string } | undefined;
}

export interface SotwRequest {
  readonly typeUrl: string;
  readonly resourceNames: readonly string[];
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string } | undefined;
}

/** A response of either variant; SotW has no removals. */
export interface StreamResponse {
  readonly typeUrl: string;
  /** The snapshot's version. */
  readonly version: string;
  /** Names this response on this stream. Two responses may carry one version, never one nonce. */
  readonly nonce: string;
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
  /** Delta: resources that go out as no more than the word that they live on. */
  readonly refreshed: readonly Resource[];
}

/** What is the same for all streams of a server. */
export interface StreamSettings {
  readonly typeOrder: TypeOrder;
  /** Types whose SotW responses list everything also without a wildcard. */
  readonly fullStateTypes: readonly string[];
  /** How long a later stage waits for the acknowledgement of an earlier one. */
  readonly orderWaitMs: number;
  /** Changes go out once there has been none for this long ... */
  readonly quietMs: number;
  /** ... or the first of them has waited this long. */
  readonly quietWaitMaxMs: number;
  /** Whether the owner wants to know of names that are asked for and do not exist. */
  readonly isOnDemand: boolean;
  readonly typesMax: number;
  /** Names asked for, over all types. */
  readonly namesMax: number;
  /** Of a rejection's message that is kept. */
  readonly messageCharactersMax: number;
}

export interface StreamState {
  readonly variant: Variant;
  /** The type of a stream that is not aggregated. */
  readonly onlyType: string | undefined;
  readonly settings: StreamSettings;
  readonly snapshot: Snapshot | undefined;
  /** By type URL, in the order of the client's first requests. */
  readonly types: ReadonlyMap<string, TypeState>;
  /** Nonces given out so far. */
  readonly nonces: number;
  /** A response is on its way into the transport. Until it is there no other follows: a client that does not read costs one buffer. */
  readonly writing: boolean;
  /** Changes that came close upon one another: when the first did, until when they wait, and whether any of them still does. */
  readonly burst: { readonly sinceMs: number; readonly untilMs: number; readonly isHeld: boolean };
}

export type StreamEvent =
  | { readonly kind: 'request'; readonly request: DeltaRequest | SotwRequest; readonly atMs: number }
  /** Undefined: nothing is known of the node any more, so it is left as it is. */
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot | undefined; readonly atMs: number }
  /** The transport has taken the last response. */
  | { readonly kind: 'written'; readonly atMs: number }
  /** The time of a `wake` has come. */
  | { readonly kind: 'tick'; readonly atMs: number }
  /** The owner has heard that these names are `missing`: of those that he calls absent the client is told that they do not exist. */
  | { readonly kind: 'heard'; readonly typeUrl: string; readonly names: readonly string[]; readonly absent: readonly string[]; readonly atMs: number };

export type StreamEffect =
  | { readonly kind: 'respond'; readonly response: StreamResponse }
  | { readonly kind: 'accepted'; readonly typeUrl: string; readonly version: string }
  | { readonly kind: 'rejected'; readonly typeUrl: string; readonly version: string; readonly message: string; readonly names: readonly string[] }
  /** Names that are asked for and do not exist: tell the owner, and then us by `heard`. */
  | { readonly kind: 'missing'; readonly typeUrl: string; readonly names: readonly string[] }
  /** Send a `tick` at this time, unless a step before that names another. */
  | { readonly kind: 'wake'; readonly atMs: number }
  /** The request is beyond what is allowed: the stream is to end. Nothing has changed. */
  | { readonly kind: 'refuse'; readonly fault: 'malformed' | 'too-much'; readonly reason: string };

export interface Step {
  readonly state: StreamState;
  readonly effects: readonly StreamEffect[];
}

/** A stream before its first request. One that is not aggregated has `onlyType`, which its requests need not name. */
export function openStream(variant: Variant, settings: StreamSettings, snapshot: Snapshot | undefined, onlyType?: string): StreamState {
  return { variant, onlyType, settings, snapshot, types: new Map(), nonces: 0, writing: false, burst: { sinceMs: -Infinity, untilMs: -Infinity, isHeld: false } };
}

/**
 * One stream of one client, aggregated or of one type, as a pure function: what has happened in, the next state and what to do
 * about it out. At most one response comes of a step. A client gets nothing before there is a snapshot for it.
 */
export function step(before: StreamState, event: StreamEvent): Step {
  switch (event.kind) {
    case 'request':
      return receive(before, event.request, event.atMs);
    case 'snapshot': {
      const { snapshot, atMs } = event;
      if (snapshot === undefined) return { state: { ...before, snapshot }, effects: [] };
      const types = new Map<string, TypeState>();
      for (const [typeUrl, type] of before.types) types.set(typeUrl, moveTo(type, resourcesOf(snapshot, typeUrl), modeOf(before, typeUrl, type.subscription)));
      return respond({ ...before, snapshot, types, burst: burstAfter(before, atMs) }, atMs, []);
    }
    case 'written':
      return respond({ ...before, writing: false }, event.atMs, []);
    case 'tick':
      return respond(before, event.atMs, []);
    case 'heard': {
      const { typeUrl, names, absent } = event;
      const type = before.types.get(typeUrl);
      if (type === undefined) return { state: before, effects: [] };
      const heard = hearOwner(type, names, absent, modeOf(before, typeUrl, type.subscription));
      return respond({ ...before, types: new Map(before.types).set(typeUrl, heard) }, event.atMs, []);
    }
  }
}

function burstAfter({ burst, settings: { quietMs, quietWaitMaxMs } }: StreamState, atMs: number): StreamState['burst'] {
  if (quietMs === 0) return burst; // nothing ever waits
  const sinceMs = burst.isHeld ? burst.sinceMs : atMs;
  return { ...burst, sinceMs, untilMs: Math.min(atMs + quietMs, sinceMs + quietWaitMaxMs) };
}

function receive(before: StreamState, given: DeltaRequest | SotwRequest, atMs: number): Step {
  const { settings, snapshot, onlyType } = before;
  const typeUrl = given.typeUrl === '' ? (onlyType ?? '') : given.typeUrl;
  const request = { ...given, typeUrl };
  if (typeUrl === '') return refuse(before, 'malformed', 'a request names no type');
  if (onlyType !== undefined && typeUrl !== onlyType) return refuse(before, 'malformed', `a request for type "${typeUrl.slice(0, settings.messageCharactersMax)}" on a stream of type "${onlyType}"`);
  const known = before.types.get(typeUrl);
  if (known === undefined && before.types.size >= settings.typesMax) return refuse(before, 'too-much', `more than ${settings.typesMax} types on one stream`);

  const started = known ?? { ...NEW_TYPE, current: snapshot === undefined ? NO_RESOURCES : resourcesOf(snapshot, typeUrl) };
  const answered = takeAnswer(started, request, atMs, before);
  const change = changeOf(answered.type, request);
  const subscribed = subscribe(answered.type, change, modeOf(before, typeUrl, change.subscription), known === undefined ? heldOf(request) : {});
  const missing = settings.isOnDemand ? change.asked.filter((name) => !subscribed.current.has(name)) : [];
  const type = missing.length === 0 ? subscribed : awaitOwner(subscribed, missing);
  const types = new Map(before.types).set(typeUrl, type);
  let names = 0;
  for (const { subscription } of types.values()) names += subscription.names.size;
  if (names > settings.namesMax) return refuse(before, 'too-much', `more than ${settings.namesMax} names on one stream`);
  return respond({ ...before, types }, atMs, missing.length === 0 ? answered.effects : [...answered.effects, { kind: 'missing', typeUrl, names: missing }]);
}

function refuse(state: StreamState, fault: 'malformed' | 'too-much', reason: string): Step {
  return { state, effects: [{ kind: 'refuse', fault, reason }] };
}

/** Takes the request as an acknowledgement, if it is one: it must name the outstanding response. A stale nonce says nothing. */
function takeAnswer(type: TypeState, request: DeltaRequest | SotwRequest, atMs: number, state: StreamState): { readonly type: TypeState; readonly effects: readonly StreamEffect[] } {
  const { typeUrl, responseNonce, errorDetail } = request;
  const { outstanding } = type;
  if (outstanding === undefined || responseNonce !== outstanding.nonce) return { type, effects: [] };
  const { version, names } = outstanding;
  if (errorDetail === undefined) return { type: accept(type, outstanding), effects: [{ kind: 'accepted', typeUrl, version }] };
  const message = errorDetail.message.slice(0, state.settings.messageCharactersMax);
  return { type: reject(type, outstanding, modeOf(state, typeUrl, type.subscription), message, atMs), effects: [{ kind: 'rejected', typeUrl, version, message, names }] };
}

/** Whatever the nonce, the subscription is what the latest request says (envoyproxy/envoy#16659). */
function changeOf({ subscription }: TypeState, request: DeltaRequest | SotwRequest): SubscriptionChange {
  return 'resourceNames' in request
    ? changeBySotw(subscription, request.resourceNames)
    : changeByDelta(subscription, request.resourceNamesSubscribe, request.resourceNamesUnsubscribe);
}

/** What the client says that it holds from an earlier stream; only Delta can. */
function heldOf(request: DeltaRequest | SotwRequest): Readonly<Record<string, string>> {
  return 'resourceNames' in request ? {} : request.initialResourceVersions;
}

/** Sends the first response that is due and may go, if any. */
function respond(state: StreamState, atMs: number, effects: readonly StreamEffect[]): Step {
  const { snapshot } = state;
  if (snapshot === undefined || state.writing) return { state, effects };
  const { burst } = state;
  let isHeld = false;
  let wakeAtMs = Infinity;
  for (const typeUrl of sendingOrder(state)) {
    const type = state.types.get(typeUrl)!;
    if (type.outstanding !== undefined) continue;
    const delivery = deliver(type, modeOf(state, typeUrl, type.subscription), mustKeepRemovals(state, typeUrl), atMs);
    if (delivery === undefined) {
      wakeAtMs = Math.min(wakeAtMs, nextRefreshAt(type, modeOf(state, typeUrl, type.subscription), atMs));
      continue;
    }
    const restsAtMs = type.isAsking ? -Infinity : burst.untilMs;
    const opensAtMs = Math.max(opensAt(state, typeUrl), restsAtMs);
    if (opensAtMs <= atMs) return send(state, typeUrl, type, delivery, snapshot.version, atMs, effects);
    isHeld ||= restsAtMs > atMs;
    wakeAtMs = Math.min(wakeAtMs, opensAtMs);
  }
  return { state: isHeld === burst.isHeld ? state : { ...state, burst: { ...burst, isHeld } }, effects: wakeAtMs === Infinity ? effects : [...effects, { kind: 'wake', atMs: wakeAtMs }] };
}

function send(state: StreamState, typeUrl: string, type: TypeState, delivery: Delivery, version: string, atMs: number, effects: readonly StreamEffect[]): Step {
  const nonces = state.nonces + 1;
  const nonce = String(nonces);
  const { resources, removed, refreshed, names, remaining, rejected, refreshAtMs } = delivery;
  const sent: TypeState = {
    ...type,
    due: remaining,
    answerDue: false,
    isAsking: false,
    outstanding: { nonce, names, version, sentAtMs: atMs, refreshed: refreshed.map(({ name }) => name), before: heldWithout(type, names) },
    refreshAtMs,
    rejected,
    versionSent: version,
  };
  const types = new Map(state.types).set(typeUrl, sent);
  return {
    state: { ...state, types, nonces, writing: true, burst: { ...state.burst, isHeld: state.burst.isHeld && atMs < state.burst.untilMs } },
    effects: [...effects, { kind: 'respond', response: { typeUrl, version, nonce, resources, removed, refreshed } }],
  };
}

export function modeOf({ variant, settings }: StreamState, typeUrl: string, subscription: Subscription): DeliveryMode {
  if (variant === 'delta') return 'changes';
  return subscription.wildcard || settings.fullStateTypes.includes(typeUrl) ? 'whole' : 'named';
}

/** The types that wait for none first, then stage after stage. */
function sendingOrder({ types, settings: { typeOrder } }: StreamState): readonly string[] {
  if (types.size === 1) return [...types.keys()];
  const staged = typeOrder.flat();
  return [...types.keys()].sort((one, other) => staged.indexOf(one) - staged.indexOf(other));
}

/** From when on a type may be sent: once no earlier stage is unanswered, or the wait for that is over. */
function opensAt({ types, settings }: StreamState, typeUrl: string): number {
  const stage = stageOf(settings.typeOrder, typeUrl);
  let opensAtMs = -Infinity;
  if (stage === undefined) return opensAtMs;
  for (const [other, { outstanding }] of types) {
    const otherStage = stageOf(settings.typeOrder, other);
    if (outstanding === undefined || otherStage === undefined || otherStage >= stage) continue;
    opensAtMs = Math.max(opensAtMs, outstanding.sentAtMs + settings.orderWaitMs);
  }
  return opensAtMs;
}

/** Whether what is gone must stay a while, because a later stage of the client may still refer to it. */
function mustKeepRemovals(state: StreamState, typeUrl: string): boolean {
  const { typeOrder } = state.settings;
  const stage = stageOf(typeOrder, typeUrl);
  if (stage === undefined) return false;
  for (const [other, type] of state.types) {
    const otherStage = stageOf(typeOrder, other);
    if (otherStage === undefined || otherStage <= stage) continue;
    if (type.outstanding !== undefined || type.rejected.length > 0 || isBehind(type, modeOf(state, other, type.subscription))) return true;
  }
  return false;
}
