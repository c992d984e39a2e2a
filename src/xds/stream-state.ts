import type { Resource, Snapshot } from './resource.ts';
import { NO_RESOURCES, resourcesOf } from './resource.ts';
import { deliver, isBehind } from './delivery.ts';
import type { Delivery } from './delivery.ts';
import { changeByDelta, changeBySotw } from './subscription.ts';
import type { Subscription } from './subscription.ts';
import { accept, moveTo, NEW_TYPE, reject, subscribe } from './type-state.ts';
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
}

/** What is the same for all streams of a server. */
export interface StreamSettings {
  readonly typeOrder: TypeOrder;
  /** Types whose SotW responses list everything also without a wildcard. */
  readonly fullStateTypes: readonly string[];
  /** How long a later stage waits for the acknowledgement of an earlier one. */
  readonly orderWaitMs: number;
  readonly typesMax: number;
  /** Names asked for, over all types. */
  readonly namesMax: number;
  /** Of a rejection's message that is kept. */
  readonly messageCharactersMax: number;
}

export interface StreamState {
  readonly variant: Variant;
  readonly settings: StreamSettings;
  readonly snapshot: Snapshot | undefined;
  /** By type URL, in the order of the client's first requests. */
  readonly types: ReadonlyMap<string, TypeState>;
  /** Nonces given out so far. */
  readonly nonces: number;
  /** A response is on its way into the transport. Until it is there no other follows: a client that does not read costs one buffer. */
  readonly writing: boolean;
}

export type StreamEvent =
  | { readonly kind: 'request'; readonly request: DeltaRequest | SotwRequest; readonly atMs: number }
  /** Undefined: nothing is known of the node any more, so it is left as it is. */
  | { readonly kind: 'snapshot'; readonly snapshot: Snapshot | undefined; readonly atMs: number }
  /** The transport has taken the last response. */
  | { readonly kind: 'written'; readonly atMs: number }
  /** The time of a `wake` has come. */
  | { readonly kind: 'tick'; readonly atMs: number };

export type StreamEffect =
  | { readonly kind: 'respond'; readonly response: StreamResponse }
  | { readonly kind: 'accepted'; readonly typeUrl: string; readonly version: string }
  | { readonly kind: 'rejected'; readonly typeUrl: string; readonly version: string; readonly message: string; readonly names: readonly string[] }
  /** Send a `tick` at this time, unless a step before that names another. */
  | { readonly kind: 'wake'; readonly atMs: number }
  /** The request is beyond what is allowed: the stream is to end. Nothing has changed. */
  | { readonly kind: 'refuse'; readonly fault: 'malformed' | 'too-much'; readonly reason: string };

export interface Step {
  readonly state: StreamState;
  readonly effects: readonly StreamEffect[];
}

export function openStream(variant: Variant, settings: StreamSettings, snapshot: Snapshot | undefined): StreamState {
  return { variant, settings, snapshot, types: new Map(), nonces: 0, writing: false };
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
      const { snapshot } = event;
      if (snapshot === undefined) return { state: { ...before, snapshot }, effects: [] };
      const types = new Map<string, TypeState>();
      for (const [typeUrl, type] of before.types) types.set(typeUrl, moveTo(type, resourcesOf(snapshot, typeUrl), modeOf(before, typeUrl, type.subscription)));
      return respond({ ...before, snapshot, types }, event.atMs, []);
    }
    case 'written':
      return respond({ ...before, writing: false }, event.atMs, []);
    case 'tick':
      return respond(before, event.atMs, []);
  }
}

function receive(before: StreamState, request: DeltaRequest | SotwRequest, atMs: number): Step {
  const { settings, snapshot } = before;
  const { typeUrl } = request;
  if (typeUrl === '') return refuse(before, 'malformed', 'a request names no type');
  const known = before.types.get(typeUrl);
  if (known === undefined && before.types.size >= settings.typesMax) return refuse(before, 'too-much', `more than ${settings.typesMax} types on one stream`);

  const started = known ?? { ...NEW_TYPE, current: snapshot === undefined ? NO_RESOURCES : resourcesOf(snapshot, typeUrl) };
  const answered = takeAnswer(started, request, atMs, before);
  const type = changeSubscription(answered.type, request, known === undefined, before);
  const types = new Map(before.types).set(typeUrl, type);
  let names = 0;
  for (const { subscription } of types.values()) names += subscription.names.size;
  if (names > settings.namesMax) return refuse(before, 'too-much', `more than ${settings.namesMax} names on one stream`);
  return respond({ ...before, types }, atMs, answered.effects);
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
function changeSubscription(type: TypeState, request: DeltaRequest | SotwRequest, isFirst: boolean, state: StreamState): TypeState {
  const isSotw = 'resourceNames' in request;
  const change = isSotw
    ? changeBySotw(type.subscription, request.resourceNames)
    : changeByDelta(type.subscription, request.resourceNamesSubscribe, request.resourceNamesUnsubscribe);
  const held = !isSotw && isFirst ? request.initialResourceVersions : {};
  return subscribe(type, change, modeOf(state, request.typeUrl, change.subscription), held);
}

/** Sends the first response that is due and may go, if any. */
function respond(state: StreamState, atMs: number, effects: readonly StreamEffect[]): Step {
  const { snapshot } = state;
  if (snapshot === undefined || state.writing) return { state, effects };
  let wakeAtMs = Infinity;
  for (const typeUrl of sendingOrder(state)) {
    const type = state.types.get(typeUrl)!;
    if (type.outstanding !== undefined) continue;
    const delivery = deliver(type, modeOf(state, typeUrl, type.subscription), mustKeepRemovals(state, typeUrl));
    if (delivery === undefined) continue;
    const opensAtMs = opensAt(state, typeUrl);
    if (opensAtMs <= atMs) return send(state, typeUrl, type, delivery, snapshot.version, atMs, effects);
    wakeAtMs = Math.min(wakeAtMs, opensAtMs);
  }
  return { state, effects: wakeAtMs === Infinity ? effects : [...effects, { kind: 'wake', atMs: wakeAtMs }] };
}

function send(state: StreamState, typeUrl: string, type: TypeState, delivery: Delivery, version: string, atMs: number, effects: readonly StreamEffect[]): Step {
  const nonces = state.nonces + 1;
  const nonce = String(nonces);
  const { resources, removed, names, remaining, isWhole } = delivery;
  const sent: TypeState = {
    ...type,
    due: remaining,
    answerDue: false,
    outstanding: { nonce, names, version, sentAtMs: atMs },
    rejected: isWhole ? [] : type.rejected,
    versionSent: version,
  };
  const types = new Map(state.types).set(typeUrl, sent);
  return {
    state: { ...state, types, nonces, writing: true },
    effects: [...effects, { kind: 'respond', response: { typeUrl, version, nonce, resources, removed } }],
  };
}

function modeOf({ variant, settings }: StreamState, typeUrl: string, subscription: Subscription): DeliveryMode {
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

/** What there is to say about a type of a client. */
export interface TypeStatus {
  readonly typeUrl: string;
  /** STALE: not all was sent, or the last response is not answered yet. NACKED: the client has rejected something that still stands. */
  readonly state: 'SYNCED' | 'STALE' | 'NACKED';
  /** The snapshot version of the last response; undefined where none was needed yet. */
  readonly versionSent: string | undefined;
  /** The latest snapshot version that the client is known to hold. */
  readonly versionAcked: string | undefined;
  readonly lastError: { readonly version: string; readonly message: string; readonly atMs: number } | undefined;
}

export function statusOf(state: StreamState, typeUrl: string): TypeStatus | undefined {
  const type = state.types.get(typeUrl);
  if (type === undefined) return undefined;
  const isSynced = state.snapshot !== undefined && type.outstanding === undefined && !isBehind(type, modeOf(state, typeUrl, type.subscription));
  return {
    typeUrl,
    state: type.rejection !== undefined ? 'NACKED' : isSynced ? 'SYNCED' : 'STALE',
    versionSent: type.versionSent,
    versionAcked: type.rejection === undefined && isSynced ? state.snapshot.version : type.versionAcked,
    lastError: type.rejection,
  };
}
