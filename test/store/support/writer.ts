/**
 * Writes to a store until it is killed: node writer.ts state|ledger|spool DIRECTORY. Prints a line `N` once number N is
 * durable, and nothing before. Numbers go on from what the store holds.
 */
import { writeSync } from 'node:fs';
import { openLedger, openSpool, openStateStore } from '../../../src/store/index.ts';
import { numberedRecord, type NumberSections } from './numbers.ts';

const [kind, directory = ''] = process.argv.slice(2);

interface Writer {
  readonly last: number;
  readonly write: (number: number) => Promise<unknown>;
}

const writers: Record<string, () => Promise<Writer>> = {
  state: async () => {
    const store = await openStateStore<NumberSections>({ directory, now: Date.now, growthBytesMin: 30_000 });
    return { last: store.get('last', 'number') ?? 0, write: (number) => store.commit({ put: { last: { number }, numbers: { [number]: number, [number - 100]: null } } }) };
  },
  ledger: async () => {
    const ledger = await openLedger({ directory, now: Date.now, segmentBytesMax: 30_000 });
    return { last: ledger.head.sequence, write: (number) => ledger.append(numberedRecord(number)) };
  },
  spool: async () => {
    const spool = await openSpool({ directory, newId: () => 'abcdefgh', fileBytesMax: 30_000 });
    return {
      last: spool.lastSequence,
      write: async (number) => {
        await spool.append(numberedRecord(number));
        await spool.acknowledge(number - 100);
      },
    };
  },
};

const { last, write } = await writers[kind!]!();
const inFlightMax = 20;
let number = last;
for (;;) {
  const numbers = Array.from({ length: 1 + (number % inFlightMax) }, () => ++number);
  await Promise.all(numbers.map((each) => write(each).then(() => writeSync(1, `${each}\n`))));
}
