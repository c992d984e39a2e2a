/** A change of the plan ends the connections that it no longer allows, with the same reason by every class, and no others. */
import assert from 'node:assert/strict';
import type { ConnectionReason } from '../../src/core/ledger-record.ts';
import { playedClasses, promptClasses } from './classes.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { makePki } from '../support/pki.ts';
import { dataPlanes, type DataPlane } from './data-plane.ts';
import { endFor } from './divergence.ts';
import { visitByStream } from './visit.ts';
import { startWitness, type ConformanceWitness } from './witness.ts';
import { describeLife } from './words.ts';
import type { Conversation } from './workload.ts';
import { witnessAddresses, type Life } from './world.ts';
import { changes } from './worlds/changes.ts';

const recordedWithinMs = 10_000;

describe('a change, while connections live through gateways of every class', function () {
  this.timeout(40_000);
  const pki = makePki();
  let witness: ConformanceWitness;

  before(async () => {
    witness = await startWitness(witnessAddresses);
  });
  after(() => (witness as ConformanceWitness | undefined)?.close());

  for (const gatewayClass of playedClasses) {
    describe(`by class ${gatewayClass}`, () => {
      let plane: DataPlane;
      before(async function () {
        plane = await dataPlanes[gatewayClass](this, { witness, pki });
      });
      after(() => (plane as DataPlane | undefined)?.stop());

      for (const change of changes) {
        it(`${change.name}: ${change.lives.map((life) => describeLife(life, gatewayClass)).join(', ')}`, async () => {
          await plane.enforce({ manifests: change.from }, change.lives.map(({ as }) => as));
          const living = await Promise.all(change.lives.map((life) => begin(life, plane)));
          await plane.change(change);
          for (const { visiting } of living) visiting.takeLeave();
          for (const { life, client, visiting } of living) {
            const [conversation, reason] = [await visiting.over, endFor(life, gatewayClass)];
            assert.equal(wasLetGoOn(conversation), reason === 'finished');
            if (promptClasses.includes(gatewayClass)) await checkRecords(plane, client, conversation, reason);
          }
        });
      }
    });
  }
});

async function begin(life: Life, plane: DataPlane) {
  const connection = await plane.connect(life.as, life.to);
  const visiting = visitByStream(connection);
  await visiting.greeted;
  return { life, client: connection.client, visiting };
}

/** It was heard to the last word. */
const wasLetGoOn = ({ said, heard }: Conversation): boolean => said !== '' && heard.endsWith('221 bye\r\n');

/** The end is that of the connection that was opened, for this reason. */
async function checkRecords(plane: DataPlane, client: string, { heard }: Conversation, reason: ConnectionReason): Promise<void> {
  const recordsOf = () => plane.records.filter((record) => record.client === client);
  await waitFor(`the end of ${client}`, recordedWithinMs, () => recordsOf().length === 2 || undefined);
  const [opened, closed] = recordsOf();
  assert.ok(opened?.type === 'connection-opened' && closed?.type === 'connection-closed');
  const { connectionId, spiffeId, snatAddress, snatPort, target } = opened;
  const expected = { connectionId, spiffeId, snatAddress, snatPort, target, reason, bytesReceived: heard.length };
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((field) => [field, closed[field as keyof typeof closed]])), expected);
}
