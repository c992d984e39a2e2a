import { NAMES, simulate, TTL_MS, TYPES, type World } from './world.ts';

/* Thousands of clients, minutes of their time, and chance, which is drawn from a seed: `SEED=... npx mocha THIS` plays it again. */

const CLIENTS = 2_000;
const ROUNDS = 60;
const seed = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 32));

/** Mulberry32: small, and the same everywhere. */
function createRandom(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function play(world: World, random: () => number): void {
  const oneOf = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!;
  for (let round = 0; round < ROUNDS; round += 1) {
    world.pass(Math.floor(random() * 2_000));
    if (random() < 0.3) {
      const [changedType, changedName, next] = [oneOf(TYPES), oneOf(NAMES), oneOf(['1', '2', '3', 'bad1', undefined])];
      world.publish((version) => (typeUrl, name) => (typeUrl === changedType && name === changedName ? next : version(typeUrl, name)));
    }
    for (const client of world.clients) {
      if (random() < 0.02) client.reconnect();
      if (random() < 0.05) client[random() < 0.6 ? 'subscribe' : 'unsubscribe'](oneOf(TYPES), oneOf([...NAMES, '*']));
      // Some read and answer at once, some late.
      for (let count = Math.floor(random() * 4); count > 0; count -= 1) {
        client.written();
        client.toClient();
        client.toServer();
      }
      client.hearOwner();
      client.tick();
      client.decay();
    }
  }
}

describe(`thousands of clients on a clock of their own (seed ${seed})`, function () {
  this.timeout(120_000);

  for (const variant of ['delta', 'sotw'] as const) {
    it(`hold in the end what they subscribe to, by ${variant}, and go on holding it`, () => {
      const world = simulate(variant, 'what-it-can', CLIENTS);
      play(world, createRandom(seed));
      world.publish((version) => (typeUrl, name) => version(typeUrl, name)?.replace('bad', 'good'));
      world.settle();
      world.assertHeld();
      world.wait(2 * TTL_MS);
      world.assertHeld();
    });
  }
});
