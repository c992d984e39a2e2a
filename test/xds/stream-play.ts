import { createResource, createSnapshot } from '../../src/xds/resource.ts';
import type { Snapshot } from '../../src/xds/resource.ts';
import { openStream, step } from '../../src/xds/stream-state.ts';
import type { DeltaRequest, SotwRequest, StreamEffect, StreamEvent, StreamSettings, StreamState, Variant } from '../../src/xds/stream-state.ts';
import { statusOf } from '../../src/xds/stream-status.ts';
import type { TypeStatus } from '../../src/xds/stream-status.ts';

export const FRUIT = 'type.googleapis.com/test.Fruit';

export const testSettings: StreamSettings = { typeOrder: [], fullStateTypes: [], orderWaitMs: 1_000, quietMs: 0, quietWaitMaxMs: 1_000, isOnDemand: false, typesMax: 8, namesMax: 1_000, messageCharactersMax: 100 };

/** A snapshot of resources given as `{ name: version }` by type; the value is the version's bytes. */
export function snapshotOf(version: string, types: Readonly<Record<string, Readonly<Record<string, string>>>>): Snapshot {
  const resources = Object.entries(types).flatMap(([typeUrl, named]) => Object.entries(named).map(([name, v]) => createResource({ name, version: v, typeUrl, value: Buffer.from(v) })));
  return createSnapshot(version, resources);
}

export function fruit(version: string, named: Readonly<Record<string, string>>): Snapshot {
  return snapshotOf(version, { [FRUIT]: named });
}

/** Fruit of which each has a time to live. */
export function mortalFruit(version: string, named: Readonly<Record<string, string>>, ttlMs: number): Snapshot {
  return createSnapshot(version, Object.entries(named).map(([name, v]) => createResource({ name, version: v, typeUrl: FRUIT, value: Buffer.from(v), ttlMs })));
}

/** A response in short: `['apple@1', '-pear', '~plum@1']`, of which the last is only to be kept, and its nonce. */
export interface Heard {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
  readonly says: readonly string[];
}

/** Plays a client against the reducer: each call is one event; responses are read at once unless `slow`. */
export function play(variant: Variant, snapshot: Snapshot | undefined, settings: Partial<StreamSettings> = {}, onlyType?: string) {
  let state: StreamState = openStream(variant, { ...testSettings, ...settings }, snapshot, onlyType);
  let nowMs = 0;
  let effects: StreamEffect[] = [];

  function send(event: StreamEvent, slow = false): Heard | undefined {
    effects = [];
    let heard: Heard | undefined;
    for (let next: StreamEvent | undefined = event; next !== undefined; ) {
      const done = step(state, next);
      state = done.state;
      effects.push(...done.effects);
      next = undefined;
      const effect = done.effects.find(({ kind }) => kind === 'respond');
      if (effect?.kind !== 'respond') continue;
      const { typeUrl, version, nonce, resources, removed, refreshed } = effect.response;
      heard ??= { typeUrl, version, nonce, says: [...resources.map((r) => `${r.name}@${r.version}`).sort(), ...removed.map((name) => `-${name}`).sort(), ...refreshed.map(({ name, version }) => `~${name}@${version}`).sort()] };
      if (!slow) next = { kind: 'written', atMs: nowMs };
    }
    return heard;
  }

  return {
    delta: (request: Partial<DeltaRequest> & { subscribe?: readonly string[]; unsubscribe?: readonly string[]; initial?: Readonly<Record<string, string>> } = {}) => {
      const { subscribe = [], unsubscribe = [], initial = {}, ...rest } = request;
      return send({ kind: 'request', atMs: nowMs, request: { typeUrl: FRUIT, responseNonce: '', resourceNamesSubscribe: subscribe, resourceNamesUnsubscribe: unsubscribe, initialResourceVersions: initial, ...rest } });
    },
    sotw: (resourceNames: readonly string[], request: Partial<SotwRequest> = {}) => send({ kind: 'request', atMs: nowMs, request: { typeUrl: FRUIT, responseNonce: '', resourceNames, ...request } }),
    snapshot: (next: Snapshot | undefined) => send({ kind: 'snapshot', snapshot: next, atMs: nowMs }),
    /** A snapshot whose response stays in the transport until `written`. */
    snapshotUnread: (next: Snapshot) => send({ kind: 'snapshot', snapshot: next, atMs: nowMs }, true),
    written: () => send({ kind: 'written', atMs: nowMs }),
    /** The owner has heard of names that are missing, and says which of them do not exist. */
    heard: (names: readonly string[], absent: readonly string[] = []) => send({ kind: 'heard', typeUrl: FRUIT, names, absent, atMs: nowMs }),
    passTime: (ms: number) => void (nowMs += ms),
    tickAfter: (ms: number) => {
      nowMs += ms;
      return send({ kind: 'tick', atMs: nowMs });
    },
    /** Of the last event. */
    effects: () => effects,
    status: (typeUrl = FRUIT): TypeStatus => statusOf(state, typeUrl)!,
    state: () => state,
  };
}
