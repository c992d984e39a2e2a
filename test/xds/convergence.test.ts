import assert from 'node:assert/strict';
import fc from 'fast-check';
import { NAMES, simulate, TTL_MS, TYPES, type World } from './world.ts';

const client = fc.integer({ min: 0, max: 2 });
const type = fc.constantFrom(...TYPES);
const name = fc.constantFrom(...NAMES, '*');
const actions = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('subscribe' as const), client, type, name }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('unsubscribe' as const), client, type, name }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconnect' as const), client }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('update' as const), type, name: fc.constantFrom(...NAMES), version: fc.constantFrom('1', '2', '3', 'bad1', 'bad2', undefined) }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constantFrom('toServer' as const, 'toClient' as const, 'written' as const, 'tick' as const, 'hearOwner' as const), client }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('settle' as const) }) },
  ),
  { maxLength: 50, size: 'max' },
);

type Action = typeof actions extends fc.Arbitrary<readonly (infer A)[]> ? A : never;

function act(world: World, action: Action): void {
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
      world.clients[action.client]!.decay();
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
            world.publish((version) => (typeUrl, resource) => version(typeUrl, resource)?.replace('bad', 'good'));
            world.settle();
            const { resourcesHeard: heardBefore } = world;
            world.wait(3 * TTL_MS);
            if (variant === 'delta') assert.equal(world.resourcesHeard, heardBefore, 'what lives on is not sent again');
            world.assertHeld();
            if (variant === 'sotw') return;
            const { resourcesHeard } = world;
            for (const reconnecting of world.clients) reconnecting.reconnect();
            world.settle();
            assert.equal(world.resourcesHeard, resourcesHeard, 'an unchanged client is sent nothing when it connects anew');
          }),
          { numRuns: 150 },
        );
      });

      it(`leaves each ${variant} client with its last good version of what it rejects, for as long as that stands (a client takes ${temper})`, () => {
        const world = simulate(variant, temper);
        for (const each of world.clients) each.subscribe('test.Fruit', 'a');
        const publish = (a: string) => void world.publish((version) => (typeUrl, resource) => (typeUrl === 'test.Fruit' && resource === 'a' ? a : version(typeUrl, resource)));
        for (const version of ['1', 'bad1', 'bad2']) {
          publish(version);
          world.settle();
        }
        world.wait(3 * TTL_MS);
        assert.deepEqual(world.clients.map(({ wanted }) => wanted.get('test.Fruit')!.held.get('a')), ['1', '1', '1']);
        publish('2');
        world.wait(3 * TTL_MS);
        world.assertHeld();
      });
    }
  }
});
