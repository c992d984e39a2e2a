import assert from 'node:assert/strict';
import fc from 'fast-check';
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

const TYPES = ['test.Cluster', 'test.Listener', 'test.Fruit'] as const;
const NAMES = ['a', 'b', 'c', 'd'] as const;
const settings = { ...testSettings, typeOrder: [['test.Cluster'], ['test.Listener']], fullStateTypes: ['test.Cluster'] };

interface Wanted {
  readonly names: Set<string>;
  wildcard: boolean;
  readonly held: Map<string, string>;
}

/** What a client does with a response of which it dislikes a part: nothing, or all but that part (as Envoy does). */
type Temper = 'all-or-nothing' | 'what-it-can';

function simulate(variant: Variant, temper: Temper) {
  let snapshot = createSnapshot('0', []);
  let nowMs = 0;
  let resourcesHeard = 0;
  const clients = [0, 1, 2].map(() => createClient());

  function createClient() {
    const wanted = new Map<string, Wanted>(TYPES.map((type) => [type, { names: new Set(), wildcard: false, held: new Map() }]));
    let stream: StreamState;
    let toServer: (DeltaRequest | SotwRequest)[];
    let toClient: StreamResponse[];
    let nonces: Map<string, string>;
    /** Types of which a name was asked for on this stream. */
    let named: Set<string>;

    function feed(event: StreamEvent): void {
      const done = step(stream, event);
      stream = done.state;
      for (const effect of done.effects) {
        assert.notEqual(effect.kind, 'refuse');
        if (effect.kind === 'respond') toClient.push(effect.response);
      }
    }

    function ask(typeUrl: string, change: Partial<DeltaRequest>): void {
      const { names, wildcard } = wanted.get(typeUrl)!;
      if (wildcard || names.size > 0) named.add(typeUrl);
      if (variant === 'delta') {
        toServer.push({ typeUrl, responseNonce: '', resourceNamesSubscribe: [], resourceNamesUnsubscribe: [], initialResourceVersions: {}, ...change });
      } else {
        const { responseNonce = nonces.get(typeUrl) ?? '', errorDetail } = change;
        toServer.push({ typeUrl, responseNonce, errorDetail, resourceNames: [...(wildcard ? ['*'] : []), ...names] });
      }
    }

    function connect(): void {
      stream = openStream(variant, settings, snapshot);
      toServer = [];
      toClient = [];
      nonces = new Map();
      named = new Set();
      for (const [typeUrl, { names, wildcard, held }] of wanted) {
        if (!wildcard && names.size === 0) continue;
        ask(typeUrl, { resourceNamesSubscribe: [...(wildcard ? ['*'] : []), ...names], initialResourceVersions: Object.fromEntries(held) });
      }
    }

    function hear(response: StreamResponse): void {
      const { typeUrl, resources, removed, nonce } = response;
      const { names, wildcard, held } = wanted.get(typeUrl)!;
      nonces.set(typeUrl, nonce);
      resourcesHeard += resources.length + removed.length;
      const isBad = resources.some(({ version }) => version.startsWith('bad'));
      const wants = (name: string): boolean => wildcard || names.has(name);
      if (!isBad || temper === 'what-it-can') {
        const isWhole = variant === 'sotw' && (wildcard || settings.fullStateTypes.includes(typeUrl));
        const listed = new Set(resources.map(({ name }) => name));
        if (isWhole) for (const name of held.keys()) if (!listed.has(name)) held.delete(name);
        for (const { name, version } of resources) if (wants(name) && !version.startsWith('bad')) held.set(name, version);
        for (const name of removed) held.delete(name);
      }
      ask(typeUrl, { responseNonce: nonce, ...(isBad ? { errorDetail: { message: 'bad' } } : {}) });
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
      toServer(): boolean {
        const request = toServer.shift();
        if (request !== undefined) feed({ kind: 'request', request, atMs: nowMs });
        return request !== undefined;
      },
      toClient(): boolean {
        const response = toClient.shift();
        if (response !== undefined) hear(response);
        return response !== undefined;
      },
    };
  }

  return {
    clients,
    /** Resources and removals, over all clients and responses. */
    get resourcesHeard() {
      return resourcesHeard;
    },
    pass: (ms: number) => (nowMs += ms),
    publish(change: (version: (typeUrl: string, name: string) => string | undefined) => (typeUrl: string, name: string) => string | undefined): Snapshot {
      const next = change((typeUrl, name) => snapshot.types.get(typeUrl)?.get(name)?.version);
      const resources = TYPES.flatMap((typeUrl) =>
        NAMES.flatMap((name) => {
          const version = next(typeUrl, name);
          return version === undefined ? [] : [createResource({ name, version, typeUrl, value: new Uint8Array() })];
        }),
      );
      snapshot = createSnapshot(String(Number(snapshot.version) + 1), resources, snapshot);
      for (const client of clients) client.publish();
      return snapshot;
    },
    /** Delivers everything, and lets time pass, until nothing moves; fails where that does not come to an end. */
    settle(): void {
      for (let round = 0; round < 500; round += 1) {
        let moved = false;
        nowMs += settings.orderWaitMs;
        for (const client of clients) {
          client.written();
          client.tick();
          while (client.toClient()) moved = true;
          while (client.toServer()) moved = true;
        }
        if (!moved) return;
      }
      assert.fail('messages go to and fro without end');
    },
  };
}

type Simulation = ReturnType<typeof simulate>;

const client = fc.integer({ min: 0, max: 2 });
const type = fc.constantFrom(...TYPES);
const name = fc.constantFrom(...NAMES, '*');
const actions = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('subscribe' as const), client, type, name }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('unsubscribe' as const), client, type, name }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconnect' as const), client }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('update' as const), type, name: fc.constantFrom(...NAMES), version: fc.constantFrom('1', '2', '3', 'bad1', 'bad2', undefined) }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('toServer' as const, 'toClient' as const, 'written' as const, 'tick' as const), client }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  ),
  { maxLength: 50, size: 'max' },
);

type Action = typeof actions extends fc.Arbitrary<readonly (infer A)[]> ? A : never;

function act(world: Simulation, action: Action): void {
  switch (action.kind) {
    case 'subscribe':
    case 'unsubscribe':
      world.clients[action.client]![action.kind](action.type, action.name);
      return;
    case 'update':
      world.publish((version) => (typeUrl, resource) => (typeUrl === action.type && resource === action.name ? action.version : version(typeUrl, resource)));
      return;
    case 'settle':
      world.settle();
      return;
    case 'tick':
      world.pass(300);
      world.clients[action.client]!.tick();
      return;
    default:
      world.clients[action.client]![action.kind]();
  }
}

describe('any interleaving of subscribe, unsubscribe, update, ACK, NACK and reconnect', () => {
  for (const variant of ['delta', 'sotw'] as const) {
    for (const temper of ['all-or-nothing', 'what-it-can'] as const) {
      it(`ends with each ${variant} client holding exactly what it subscribes to (a client takes ${temper})`, () => {
        fc.assert(
          fc.property(actions, (list) => {
            const world = simulate(variant, temper);
            for (const action of list) act(world, action);
            world.settle();
            const mended = world.publish((version) => (typeUrl, resource) => version(typeUrl, resource)?.replace('bad', 'good'));
            world.settle();
            for (const { wanted, status } of world.clients) {
              for (const [typeUrl, { names, wildcard, held }] of wanted) {
                const expected = new Map([...(mended.types.get(typeUrl) ?? [])].filter(([resource]) => wildcard || names.has(resource)).map(([resource, { version }]) => [resource, version]));
                // SotW cannot say that a resource of such a type is gone (xds_protocol, "Deleting Resources").
                const cannotTell = variant === 'sotw' && !wildcard && !settings.fullStateTypes.includes(typeUrl);
                const compared = cannotTell ? new Map([...held].filter(([resource]) => expected.has(resource))) : held;
                assert.deepEqual(new Map([...compared].sort()), new Map([...expected].sort()), `what is held of ${typeUrl}`);
                if (wildcard || names.size > 0) assert.equal(status(typeUrl)?.state, 'SYNCED', typeUrl);
              }
            }
            if (variant === 'sotw') return;
            const { resourcesHeard } = world;
            for (const reconnecting of world.clients) reconnecting.reconnect();
            world.settle();
            assert.equal(world.resourcesHeard, resourcesHeard, 'an unchanged client is sent nothing when it connects anew');
          }),
          { numRuns: 150 },
        );
      });
    }
  }
});
