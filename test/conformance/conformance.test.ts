/** Every class of gateway enforces the same plan alike: the same decisions, addresses and ledger records, row by row of the table. */
import assert from 'node:assert/strict';
import { playedClasses, type PlayedClass } from './classes.ts';
import { makePki } from '../support/pki.ts';
import { dataPlanes, type DataPlane } from './data-plane.ts';
import { divergenceOf, isPlayed, outcomeFor } from './divergence.ts';
import { expectedOutcome, expectedRecords, expectedToBeSeen, foretold, isTold, seen, shared } from './expectation.ts';
import { playWorld, rounds, type Played, type PlayedWorld } from './play.ts';
import { startWitness, type ConformanceWitness } from './witness.ts';
import { describeAttempt } from './words.ts';
import { witnessAddresses, type Attempt, type World } from './world.ts';
import { worlds } from './worlds/index.ts';

const [reference, ...others] = playedClasses;

describe('gateways of every class', function () {
  this.timeout(40_000);
  const pki = makePki();
  const planes = new Map<PlayedClass, DataPlane>();
  const playedIn = new Map<World, Map<PlayedClass, PlayedWorld>>(worlds.map((world) => [world, new Map()]));
  let witness: ConformanceWitness;

  before(async () => {
    witness = await startWitness(witnessAddresses);
  });
  after(async () => {
    await Promise.all(Array.from(planes.values(), (plane) => plane.stop()));
    (witness as ConformanceWitness | undefined)?.close();
  });

  async function planeOf(gatewayClass: PlayedClass, test: Mocha.Context): Promise<DataPlane> {
    const plane = planes.get(gatewayClass) ?? (await dataPlanes[gatewayClass](test, { witness, pki }));
    planes.set(gatewayClass, plane);
    return plane;
  }

  for (const world of worlds) {
    describe(world.name, () => {
      const playedBy = playedIn.get(world)!;
      for (const gatewayClass of playedClasses) describe(`by class ${gatewayClass}`, () => describePlayed(world, gatewayClass));
      describe('by all of them', () => {
        for (const other of others) {
          it(`class ${other} leaves the same records as class ${reference}`, function () {
            const [ofReference, ofOther] = [playedBy.get(reference), playedBy.get(other)];
            if (ofReference === undefined || ofOther === undefined) this.skip();
            for (const attempt of world.attempts) compareRecords(attempt, other, ofReference, ofOther);
          });
        }
      });
    });
  }

  function describePlayed(world: World, gatewayClass: PlayedClass): void {
    let whole: PlayedWorld;
    before(async function () {
      whole = await playWorld(world, gatewayClass, await planeOf(gatewayClass, this));
      playedIn.get(world)!.set(gatewayClass, whole);
    });

    for (const attempt of world.attempts.filter((row) => isPlayed(row, gatewayClass))) {
      it(describeAttempt(attempt, gatewayClass), () => {
        const all = whole.played.filter(({ row }) => row === attempt);
        for (const played of all) checkAttempt(played, gatewayClass, whole);
        const outcome = outcomeFor(attempt, gatewayClass);
        if (outcome.kind === 'leaves') assert.equal(all.filter(({ greeting }) => greeting !== undefined).length, outcome.atMost ?? rounds);
      });
    }

    it('the service saw no other connection', () => {
      assert.equal(whole.accepted, whole.played.reduce((sum, each) => sum + arrivalsOf(each), 0));
    });

    it('the control plane says what cannot be served', () => {
      const expected = world.conditions?.[gatewayClass] ?? [];
      assert.equal(whole.conditions.length, expected.length, whole.conditions.join('\n'));
      for (const beginning of expected) assert.ok(whole.conditions.some((condition) => condition.startsWith(beginning)), `"${beginning}" is not in:\n${whole.conditions.join('\n')}`);
    });
  }

  describe('in the end', () => {
    for (const gatewayClass of playedClasses) {
      it(`the ledger of class ${gatewayClass} has nothing that nobody did`, function () {
        const plane = planes.get(gatewayClass);
        if (plane === undefined) this.skip();
        const played = [...playedIn.values()].flatMap((byClass) => byClass.get(gatewayClass)?.played ?? []);
        assert.deepEqual(plane.records.filter((record) => !played.some(({ records }) => records.includes(record))), []);
      });
    }
  });
});

function checkAttempt(played: Played, gatewayClass: PlayedClass, { revision }: PlayedWorld): void {
  const outcome = expectedOutcome(played, gatewayClass);
  assert.equal(seen(played), expectedToBeSeen(played.attempt, outcome));
  if (outcome.kind === 'leaves' && outcome.ports !== undefined) {
    const { first, last } = outcome.ports;
    for (const { fromPort } of [played.greeting!, ...(played.data === undefined ? [] : [played.data.greeting!])]) assert.ok(first <= fromPort && fromPort <= last, `left from port ${fromPort}, which is not of ${first}-${last}`);
  }
  assert.deepEqual(foretold(played, gatewayClass), expectedRecords(played, gatewayClass, revision));
  for (const each of Map.groupBy(played.records, ({ client }) => client).values()) assert.equal(new Set(each.map(({ connectionId }) => connectionId)).size, 1, 'the records of a connection share its name');
}

/** How often the witness was come to: it came itself where it was waited for. */
function arrivalsOf({ attempt, data, greeting }: Played): number {
  if (greeting === undefined || attempt.to.manner === 'reverse') return 0;
  return data === undefined ? 1 : 2;
}

function compareRecords(attempt: Attempt, other: PlayedClass, ofReference: PlayedWorld, ofOther: PlayedWorld): void {
  const { expect, servedBy, words, absent, unrecorded } = divergenceOf(attempt, other) ?? {};
  if (expect !== undefined || absent !== undefined || unrecorded !== undefined) return; // the table says of each what it must leave
  const byChance = attempt.to.manner === 'ftps' ? ['bytesSent', 'bytesReceived'] : []; // signatures differ in length
  const declared = [...(servedBy === undefined ? [] : ['origin']), ...(words === undefined ? [] : ['detail'])];
  const row = describeAttempt(attempt, other);
  const ofReferenceAsTold = { ...ofReference, played: ofReference.played.map((played) => ({ ...played, records: played.records.filter(({ type }) => isTold(type, other)) })) };
  assert.deepEqual(accountsOf(attempt, ofOther, [...declared, ...byChance], false), accountsOf(attempt, ofReferenceAsTold, [...declared, ...byChance], false), row);
  for (const field of declared) assert.notDeepEqual(accountsOf(attempt, ofOther, [field], true), accountsOf(attempt, ofReference, [field], true), `${row}: the ${field} is said to differ, and does not`);
}

/** The records of an attempt, of all rounds those that differ, with these fields only or without them. */
function accountsOf(attempt: Attempt, { played }: PlayedWorld, fields: readonly string[], only: boolean): readonly unknown[] {
  const accounts = played.filter(({ row }) => row === attempt).map(({ records }) => records.map((record) => Object.fromEntries(Object.entries(shared(record)).filter(([field]) => fields.includes(field) === only))));
  return [...new Map(accounts.map((account) => [JSON.stringify(account), account]))].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, account]) => account);
}
