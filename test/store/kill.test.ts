import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import { openLedger, openSpool, openStateStore } from '../../src/store/index.ts';
import { inDirectory, unexpected } from './support/directory.ts';
import { numberOf, type NumberSections } from './support/numbers.ts';

const writer = new URL('support/writer.ts', import.meta.url).pathname;

/** Starts the writer, kills it at a random moment, and returns the last number that it had printed. */
async function writeUntilKilled(kind: string, directory: string): Promise<number> {
  const child = spawn(process.execPath, [writer, kind, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
  const ended = once(child, 'close');
  try {
    await once(child.stdout, 'data');
    await delay(Math.random() * 40); // the moment of the kill is what this test is about
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
  assert.equal(child.signalCode, 'SIGKILL');
  return Math.max(...printed.split('\n').slice(0, -1).map(Number)); // a last line without its end may be part of a number
}

const kills = 35;

describe(`a writer killed with SIGKILL at ${3 * kills} random moments`, function () {
  this.timeout(60_000);

  it('has lost no transaction that it acknowledged, and left none half done', () =>
    inDirectory(async (directory) => {
      for (let kill = 0; kill < kills; kill++) {
        const acknowledged = await writeUntilKilled('state', directory);
        const store = await openStateStore<NumberSections>({ directory, now: Date.now, onRewriteFailure: unexpected });
        const last = store.get('last', 'number')!;
        assert.ok(last >= acknowledged, `${last} is there, ${acknowledged} was acknowledged`);
        const numbers = [...store.entries('numbers')].map(([, number]) => number);
        const count = Math.min(last, 100);
        assert.deepEqual(numbers.sort((a, b) => a - b), Array.from({ length: count }, (_, index) => last - count + 1 + index));
        await store.close();
      }
    }));

  it('has lost no ledger record that it acknowledged, and left the chain whole', () =>
    inDirectory(async (directory) => {
      let before = 0;
      for (let kill = 0; kill < kills; kill++) {
        const acknowledged = await writeUntilKilled('ledger', directory);
        const ledger = await openLedger({ directory, now: Date.now });
        assert.ok(ledger.head.sequence >= acknowledged, `${ledger.head.sequence} is there, ${acknowledged} was acknowledged`);
        for await (const { sequence, record } of ledger.tail({ from: before + 1 })) assert.equal(numberOf(record), sequence);
        const verification = await ledger.verify();
        assert.ok(verification.ok, JSON.stringify(verification));
        before = ledger.head.sequence;
        await ledger.close();
      }
    }));

  it('has lost no record of its spool that it acknowledged', () =>
    inDirectory(async (directory) => {
      for (let kill = 0; kill < kills; kill++) {
        const acknowledged = await writeUntilKilled('spool', directory);
        const spool = await openSpool({ directory, newId: unexpected as never });
        assert.ok(spool.lastSequence >= acknowledged, `${spool.lastSequence} is there, ${acknowledged} was acknowledged`);
        let next = acknowledged - 99;
        for (;;) {
          const { firstSequence, records } = await spool.pending(next, 500);
          if (records.length === 0) break;
          records.forEach((record, index) => assert.equal(numberOf(JSON.parse(Buffer.from(record).toString()) as LedgerRecord), firstSequence + index));
          next = firstSequence + records.length;
        }
        assert.equal(next, spool.lastSequence + 1);
        await spool.close();
      }
    }));
});
