import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { createResource, createSnapshot } from '../../src/xds/resource.ts';
import type { Snapshot } from '../../src/xds/resource.ts';
import { openStream, step } from '../../src/xds/stream-state.ts';
import { statusOf } from '../../src/xds/stream-status.ts';
import type { DeltaRequest, SotwRequest, StreamEvent, StreamResponse, StreamState, Variant } from '../../src/xds/stream-state.ts';
import { testSettings } from './stream-play.ts';

/*
 * Many clients and the reducer, without sockets: messages wait in two queues a client, and a drawn list of actions says what
 * happens next. Whatever happened, when all has been delivered each client must hold exactly what it subscribes to.
 */

export const TYPES = ['test.Cluster', 'test.Listener', 'test.Fruit'] as const;
export const NAMES = ['a', 'b', 'c', 'd'] as const;
const settings = { ...testSettings, typeOrder: [['test.Cluster'], ['test.Listener']], fullStateTypes: ['test.Cluster'], quietMs: 50, quietWaitMaxMs: 200, isOnDemand: true };
/** Fruit decays: what the client has not been told of for this long, it drops. */
export const TTL_MS = 20_000;
const ttlOf = (typeUrl: string) => (typeUrl === 'test.Fruit' ? { ttlMs: TTL_MS } : {});

interface Wanted {
  readonly names: Set<string>;
  wildcard: boolean;
  readonly held: Map<string, string>;
  /** Until when, of what has a time to live. */
  readonly keptUntilMs: Map<string, number>;
}

/** What a client does with a response of which it dislikes a part: nothing, or all but that part (as Envoy does). */
export type Temper = 'all-or-nothing' | 'what-it-can';

export function simulate(variant: Variant, temper: Temper, clientCount = 3) {
  let snapshot = createSnapshot('0', []);
  let nowMs = 0;
  let resourcesHeard = 0;
  const clients = Array.from({ length: clientCount }, () => createClient());

  function createClient() {
    const wanted = new Map<string, Wanted>(TYPES.map((type) => [type, { names: new Set(), wildcard: false, held: new Map(), keptUntilMs: new Map() }]));
    let stream: StreamState;
    /** With whether there is news in it, which there is not in the answer to a word that keeps something alive. */
    let toServer: { readonly request: DeltaRequest | SotwRequest; readonly isNews: boolean }[];
    let toClient: StreamResponse[];
    /** Demands of which the owner has not been heard. */
    let demands: { readonly typeUrl: string; readonly names: readonly string[] }[];
    let nonces: Map<string, string>;
    /** Types of which a name was asked for on this stream. */
    let named: Set<string>;

    function feed(event: StreamEvent): void {
      const done = step(stream, event);
      stream = done.state;
      for (const effect of done.effects) {
        assert.notEqual(effect.kind, 'refuse');
        if (effect.kind === 'respond') toClient.push(effect.response);
        if (effect.kind === 'missing') demands.push(effect);
      }
    }

    function ask(typeUrl: string, change: Partial<DeltaRequest>, isNews = true): void {
      const { names, wildcard } = wanted.get(typeUrl)!;
      if (wildcard || names.size > 0) named.add(typeUrl);
      if (variant === 'delta') {
        toServer.push({ isNews, request: { typeUrl, responseNonce: '', resourceNamesSubscribe: [], resourceNamesUnsubscribe: [], initialResourceVersions: {}, ...change } });
      } else {
        const { responseNonce = nonces.get(typeUrl) ?? '', errorDetail } = change;
        toServer.push({ isNews, request: { typeUrl, responseNonce, errorDetail, resourceNames: [...(wildcard ? ['*'] : []), ...names] } });
      }
    }

    function connect(): void {
      stream = openStream(variant, settings, snapshot);
      toServer = [];
      toClient = [];
      demands = [];
      nonces = new Map();
      named = new Set();
      for (const [typeUrl, { names, wildcard, held }] of wanted) {
        if (!wildcard && names.size === 0) continue;
        ask(typeUrl, { resourceNamesSubscribe: [...(wildcard ? ['*'] : []), ...names], initialResourceVersions: Object.fromEntries(held) });
      }
    }

    /** Returns whether there was news in it. */
    function hear(response: StreamResponse): boolean {
      const { typeUrl, resources, removed, refreshed, nonce } = response;
      const { names, wildcard, held, keptUntilMs } = wanted.get(typeUrl)!;
      nonces.set(typeUrl, nonce);
      resourcesHeard += resources.length + removed.filter((name) => held.has(name)).length;
      const wants = (name: string): boolean => wildcard || names.has(name);
      // What it has dropped meanwhile it cannot keep (so does Envoy).
      const isUnknown = refreshed.some(({ name, version }) => wants(name) && held.get(name) !== version);
      const heldBefore = new Map(held);
      const isBad = isUnknown || resources.some(({ version }) => version.startsWith('bad'));
      if (!isBad || temper === 'what-it-can') {
        const isWhole = variant === 'sotw' && (wildcard || settings.fullStateTypes.includes(typeUrl));
        const listed = new Set(resources.map(({ name }) => name));
        if (isWhole) for (const name of held.keys()) if (!listed.has(name)) held.delete(name);
        for (const { name, version } of resources) if (wants(name) && !version.startsWith('bad')) held.set(name, version);
        for (const name of removed) held.delete(name);
        for (const { name, ttlMs } of resources) if (held.has(name) && ttlMs !== undefined) keptUntilMs.set(name, nowMs + ttlMs);
        for (const { name, version, ttlMs } of refreshed) {
          if (held.get(name) === version) keptUntilMs.set(name, nowMs + ttlMs!);
        }
      }
      const isNews = isBad || !isDeepStrictEqual(held, heldBefore);
      ask(typeUrl, { responseNonce: nonce, ...(isBad ? { errorDetail: { message: 'bad' } } : {}) }, isNews);
      return isNews;
    }

    connect();
    return {
      wanted,
      status: (typeUrl: string) => statusOf(stream, typeUrl),
      subscribe(typeUrl: string, name: string): void {
        const want = wanted.get(typeUrl)!;
        if (name === '*') want.wildcard = true;
        else want.names.add(name);
        ask(typeUrl, { resourceNamesSubscribe: [name] });
      },
      unsubscribe(typeUrl: string, name: string): void {
        const want = wanted.get(typeUrl)!;
        if (name === '*') want.wildcard = false;
        else want.names.delete(name);
        // A Delta client that still has the wildcard is told whether that covers the name.
        if (!want.wildcard) for (const held of want.held.keys()) if (!want.names.has(held)) want.held.delete(held);
        if (variant === 'delta') ask(typeUrl, { resourceNamesUnsubscribe: [name] });
        else if (named.has(typeUrl)) ask(typeUrl, {}); // to name nothing without having named anything would be to ask for everything
      },
      reconnect: connect,
      publish: () => feed({ kind: 'snapshot', snapshot, atMs: nowMs }),
      written: () => feed({ kind: 'written', atMs: nowMs }),
      tick: () => feed({ kind: 'tick', atMs: nowMs }),
      /** The owner is heard about the oldest demand: what there is stands in the snapshot, so the rest does not exist. */
      hearOwner(): void {
        const demand = demands.shift();
        if (demand !== undefined) feed({ kind: 'heard', typeUrl: demand.typeUrl, names: demand.names, absent: demand.names, atMs: nowMs });
      },
      decay(): void {
        for (const { held, keptUntilMs } of wanted.values()) {
          for (const [name, untilMs] of keptUntilMs) {
            if (untilMs > nowMs && held.has(name)) continue;
            held.delete(name);
            keptUntilMs.delete(name);
          }
        }
      },
      /** Deliver the oldest message, if any, and say whether there was news in it. */
      toServer(): boolean {
        const next = toServer.shift();
        if (next !== undefined) feed({ kind: 'request', request: next.request, atMs: nowMs });
        return next?.isNews ?? false;
      },
      toClient(): boolean {
        const response = toClient.shift();
        return response !== undefined && hear(response);
      },
      isIdle: () => toServer.length === 0 && toClient.length === 0,
    };
  }

  return {
    clients,
    /** Resources, and removals of what was held, over all clients and responses. */
    get resourcesHeard() {
      return resourcesHeard;
    },
    pass: (ms: number) => (nowMs += ms),
    publish(change: (version: (typeUrl: string, name: string) => string | undefined) => (typeUrl: string, name: string) => string | undefined): Snapshot {
      const next = change((typeUrl, name) => snapshot.types.get(typeUrl)?.get(name)?.version);
      const resources = TYPES.flatMap((typeUrl) =>
        NAMES.flatMap((name) => {
          const version = next(typeUrl, name);
          return version === undefined ? [] : [createResource({ name, version, typeUrl, value: new Uint8Array(), ...ttlOf(typeUrl) })];
        }),
      );
      snapshot = createSnapshot(String(Number(snapshot.version) + 1), resources, snapshot);
      for (const client of clients) client.publish();
      return snapshot;
    },
    /** Fails unless each client holds of the latest snapshot exactly what it subscribes to. */
    assertHeld(): void {
      for (const { wanted, status } of clients) {
        for (const [typeUrl, { names, wildcard, held }] of wanted) {
          const expected = new Map([...(snapshot.types.get(typeUrl) ?? [])].filter(([resource]) => wildcard || names.has(resource)).map(([resource, { version }]) => [resource, version]));
          // SotW cannot say that a resource of such a type is gone (xds_protocol, "Deleting Resources").
          const cannotTell = variant === 'sotw' && !wildcard && !settings.fullStateTypes.includes(typeUrl);
          const compared = cannotTell ? new Map([...held].filter(([resource]) => expected.has(resource))) : held;
          assert.deepEqual(new Map([...compared].sort()), new Map([...expected].sort()), `what is held of ${typeUrl}`);
          if (wildcard || names.size > 0) assert.equal(status(typeUrl)?.state, 'SYNCED', typeUrl);
        }
      }
    },
    /** Lets time pass in which nothing changes. */
    wait(ms: number): void {
      for (const endsAtMs = nowMs + ms; nowMs < endsAtMs; ) this.settle();
    },
    /** Delivers everything, and lets time pass, until there is no news; fails where that does not come to an end. */
    settle(): void {
      // What a client is sent once more may be on its way before what is new.
      let roundsWithout = 0;
      for (let round = 0; round < 500; round += 1) {
        let isNews = false;
        nowMs += settings.orderWaitMs;
        for (const client of clients) {
          client.written();
          client.tick();
          client.decay();
          client.hearOwner();
          while (!client.isIdle()) if ([client.toClient(), client.toServer()].includes(true)) isNews = true;
        }
        roundsWithout = isNews ? 0 : roundsWithout + 1;
        if (roundsWithout === 3) return;
      }
      assert.fail('there is news without end');
    },
  };
}

export type World = ReturnType<typeof simulate>;
