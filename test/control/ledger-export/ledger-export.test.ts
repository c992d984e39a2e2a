import assert from 'node:assert/strict';
import { create, toBinary } from '@bufbuild/protobuf';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createCollector, type CollectorOptions } from '../../../src/control/ledger-export/collector.ts';
import { startLedgerExport, type LedgerExport } from '../../../src/control/ledger-export/ledger-export.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { StatusSchema } from '../../../src/proto/google/rpc/status_pb.ts';
import { openLedger, type Ledger } from '../../../src/store/index.ts';
import { sequencesOf, startAnsweringCollector, verifyArrived, type Answer, type AnsweringCollector } from '../../support/otlp.ts';
import { makePki } from '../../support/pki.ts';
import { inDirectory } from '../../store/support/directory.ts';
import { numberedRecord } from '../../store/support/numbers.ts';

const limitMs = 8_000;
const upTo = (count: number, from = 1): number[] => Array.from({ length: count - from + 1 }, (_, index) => from + index);

interface Logged {
  readonly level: 'error' | 'info' | 'warn';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

interface Exporting {
  readonly exported: LedgerExport;
  readonly logged: readonly Logged[];
}

function startExport(ledger: Ledger, options: CollectorOptions): Exporting {
  const logged: Logged[] = [];
  const at = (level: Logged['level']) => (fields: object, message: string) => void logged.push({ level, fields: fields as Logged['fields'], message });
  const exported = startLedgerExport({
    ledger,
    collector: createCollector(options),
    source: { resource: { 'service.name': 'sallyport', 'service.instance.id': 'sallyport-0' }, scope: { name: 'sallyport.ledger', version: '1' } },
    now: Date.now,
    random: () => 0,
    log: { error: at('error'), info: at('info'), warn: at('warn') } as never,
  });
  return { exported, logged };
}

const openAt = (directory: string, segmentBytesMax = 1 << 20): Promise<Ledger> => openLedger({ directory, now: Date.now, segmentBytesMax });

async function append(ledger: Ledger, count: number): Promise<void> {
  await Promise.all(upTo(ledger.head.sequence + count, ledger.head.sequence + 1).map((number) => ledger.append(numberedRecord(number))));
}

const arrived = (collector: AnsweringCollector, count: number) => waitFor(`${count} records`, limitMs, () => (new Set(sequencesOf(collector.taken)).size >= count ? true : undefined));
const status = (message: string): Answer => ({ status: 400, headers: { 'content-type': 'application/x-protobuf' }, body: toBinary(StatusSchema, create(StatusSchema, { code: 3, message })) });

/** A ledger, and a collector that answers so. */
async function between(answer: Parameters<typeof startAnsweringCollector>[0], test: (ledger: Ledger, collector: AnsweringCollector, directory: string) => Promise<void>, segmentBytesMax?: number): Promise<void> {
  const collector = await startAnsweringCollector(answer);
  try {
    await inDirectory(async (directory) => {
      const ledger = await openAt(directory, segmentBytesMax);
      try {
        await test(ledger, collector, directory);
      } finally {
        await ledger.close();
      }
    });
  } finally {
    await collector.close();
  }
}

describe('the ledger, sent on,', () => {
  it('begins with what there is, goes on with what comes, and is whole where it arrives', () =>
    between(
      () => undefined,
      async (ledger, collector) => {
        await append(ledger, 40);
        const { exported } = startExport(ledger, { url: collector.url });
        await arrived(collector, 40);
        await append(ledger, 10);
        await arrived(collector, 50);
        await exported.close(limitMs);
        assert.deepEqual(sequencesOf(collector.taken), upTo(50));
        assert.deepEqual(await verifyArrived(collector.taken), await ledger.verify());
        assert.deepEqual(collector.taken.at(-1)!.resource, { 'service.name': 'sallyport', 'service.instance.id': 'sallyport-0' });
        assert.deepEqual(exported.status(), { sequence: 50, waitingRecords: 0, standstill: null, refusedRecords: 0, deletedRecords: 0 });
      },
      2_000, // several segments
    ));

  it('goes on where it was, also in another process', () =>
    between(
      () => undefined,
      async (_ledger, collector, directory) => {
        for (const count of [20, 5]) {
          const ledger = await openAt(join(directory, 'reopened'));
          await append(ledger, count);
          await startExport(ledger, { url: collector.url }).exported.close(limitMs);
          await ledger.close();
        }
        assert.deepEqual(sequencesOf(collector.taken), upTo(25));
      },
    ));

  it('sends what it has before it ends', () =>
    between(
      () => undefined,
      async (ledger, collector) => {
        const { exported } = startExport(ledger, { url: collector.url });
        await append(ledger, 3);
        await exported.close(limitMs);
        assert.deepEqual(sequencesOf(collector.taken), [1, 2, 3]);
      },
    ));

  it('waits as long as it is told to, and sends the same again', () =>
    between(
      (_, request) => (request === 1 ? { status: 429, headers: { 'retry-after': '2' } } : undefined),
      async (ledger, collector) => {
        await append(ledger, 3);
        const { exported } = startExport(ledger, { url: collector.url });
        await waitFor('a standstill', limitMs, () => (exported.status().standstill === null ? undefined : true));
        assert.deepEqual([exported.status().waitingRecords, exported.status().standstill?.reason], [3, 'answer 429']);
        await arrived(collector, 3);
        const [first, second] = collector.requests;
        assert.ok(second!.atMs - first!.atMs >= 2_000, `after ${second!.atMs - first!.atMs} ms`);
        await exported.close(limitMs);
        assert.equal(exported.status().standstill, null);
        assert.deepEqual(sequencesOf(collector.taken), [1, 2, 3]);
      },
    ));

  for (const [what, answer] of [
    ['a page of a proxy', { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>' }],
    ['a wrong path', { status: 404 }],
    ['no authorization', { status: 401 }],
    ['a collector that is away', { status: 503 }],
  ] as const) {
    it(`stands still and says so at ${what}: nothing is passed over`, () => {
      let away = true;
      return between(
        () => (away ? answer : undefined),
        async (ledger, collector) => {
          await append(ledger, 3);
          const { exported, logged } = startExport(ledger, { url: collector.url });
          await waitFor('a warning', limitMs, () => logged.find(({ level, message }) => level === 'warn' && message === 'the ledger cannot be sent on'));
          assert.equal(exported.status().waitingRecords, 3);
          const before = collector.taken.length;
          away = false;
          await waitFor('all', limitMs, () => (exported.status().waitingRecords === 0 ? true : undefined));
          await exported.close(limitMs);
          assert.deepEqual(sequencesOf(collector.taken.slice(before)), [1, 2, 3]);
          assert.equal(logged.at(-1)!.message, 'the ledger is sent on again');
        },
      );
    });
  }

  it('passes over the one record that is refused for what it is, and says which', () =>
    between(
      (logs) => (sequencesOf(logs).includes(7) ? status('no seven') : undefined),
      async (ledger, collector) => {
        await append(ledger, 20);
        const { exported, logged } = startExport(ledger, { url: collector.url });
        await arrived(collector, 19);
        await exported.close(limitMs);
        assert.deepEqual(sequencesOf(collector.taken), upTo(20).filter((sequence) => sequence !== 7));
        assert.equal(exported.status().refusedRecords, 1);
        assert.deepEqual(logged.map(({ level, fields }) => [level, fields]), [['error', { refused: 1, first: 7, last: 7, said: 'answer 400: no seven' }]]);
      },
    ));

  it('goes on in halves where it is too much at once', () =>
    between(
      (logs) => (logs.length > 4 ? { status: 413 } : undefined),
      async (ledger, collector) => {
        await append(ledger, 20);
        const { exported } = startExport(ledger, { url: collector.url });
        await arrived(collector, 20);
        await exported.close(limitMs);
        assert.deepEqual(sequencesOf(collector.taken), upTo(20));
        assert.equal(exported.status().refusedRecords, 0);
      },
    ));

  it('counts and tells what is refused of a batch that is taken, and does not send it again', () =>
    between(
      () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: '{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}' }),
      async (ledger, collector) => {
        await append(ledger, 3);
        const { exported, logged } = startExport(ledger, { url: collector.url });
        await arrived(collector, 3);
        await exported.close(limitMs);
        assert.equal(collector.requests.length, 1);
        assert.equal(exported.status().refusedRecords, 2);
        assert.deepEqual(logged[0]!.fields, { refused: 2, first: 1, last: 3, said: 'too old' });
      },
    ));

  it('tells what was deleted before it had gone', () => {
    let away = true;
    return between(
      () => (away ? { status: 503 } : undefined),
      async (ledger, collector, directory) => {
        await append(ledger, 1);
        const { exported, logged } = startExport(ledger, { url: collector.url });
        await waitFor('a standstill', limitMs, () => (exported.status().standstill === null ? undefined : true));
        while ((await readdir(directory)).filter((name) => name.endsWith('.jsonl')).length < 4) await append(ledger, 1);
        const segments = (await readdir(directory)).filter((name) => name.endsWith('.jsonl')).sort();
        const [, , third] = segments.map((name) => Number(name.slice('ledger-'.length, -'.jsonl'.length)));
        await rm(join(directory, segments[1]!));
        const first = Number(segments[1]!.slice('ledger-'.length, -'.jsonl'.length));
        away = false;
        await waitFor('all', limitMs, () => (exported.status().waitingRecords === 0 ? true : undefined));
        await exported.close(limitMs);
        assert.equal(exported.status().deletedRecords, third! - first);
        assert.deepEqual(logged.find(({ level }) => level === 'error')?.fields, { first, last: third! - 1 });
      },
      1_000,
    );
  });

  it('begins anew where it is another ledger than the one that was sent before', () =>
    between(
      () => undefined,
      async (ledger, collector, directory) => {
        await append(ledger, 3);
        await writeFile(join(directory, 'ledger.cursor'), `{"sequence":2,"hash":"${'0'.repeat(64)}"}\n`);
        const { exported, logged } = startExport(ledger, { url: collector.url });
        await arrived(collector, 3);
        await exported.close(limitMs);
        assert.deepEqual(sequencesOf(collector.taken), [1, 2, 3]);
        assert.deepEqual(logged.map(({ level }) => level), ['warn']);
      },
    ));

  it('keeps nobody waiting, neither who writes it nor who ends it, whatever the collector does', () =>
    between(
      (_, request) => (request === 1 ? { status: 503 } : null),
      async (ledger, collector) => {
        const { exported } = startExport(ledger, { url: collector.url });
        await waitFor('a request that is not answered', limitMs, () => (collector.requests.length === 2 ? true : undefined));
        await append(ledger, 500);
        assert.equal(ledger.head.sequence, 500);
        const begunMs = Date.now();
        await exported.close(60_000);
        assert.ok(Date.now() - begunMs < limitMs, 'what stands still is not waited for');
      },
    ));

  describe('to whom', () => {
    const pki = makePki();
    const { certificateChainPem: cert, privateKeyPem: key } = pki.issue('spiffe://cluster.local/ns/a/sa/collector', { names: [{ type: 'ip', value: '127.0.0.1' }] });

    async function withTls(test: (ledger: Ledger, collector: AnsweringCollector, file: (name: string, text: string) => Promise<string>) => Promise<void>): Promise<void> {
      const collector = await startAnsweringCollector(() => undefined, { cert, key });
      try {
        await inDirectory(async (directory) => {
          const ledger = await openAt(join(directory, 'ledger'));
          await append(ledger, 3);
          const file = async (name: string, text: string): Promise<string> => {
            await writeFile(join(directory, name), text);
            return join(directory, name);
          };
          await test(ledger, collector, file);
          await ledger.close();
        });
      } finally {
        await collector.close();
      }
    }

    it('is whom the CA vouches for, who gets the headers, as they are in their files at that time', () =>
      withTls(async (ledger, collector, file) => {
        const headersFile = await file('headers', 'Authorization: Bearer one\n\nX-Scope-OrgID: mesh\n');
        const { exported } = startExport(ledger, { url: collector.url, caFile: await file('ca.pem', pki.rootPem), headersFile });
        await arrived(collector, 3);
        await file('headers', 'Authorization: Bearer two\n');
        await append(ledger, 1);
        await arrived(collector, 4);
        await exported.close(limitMs);
        const sent = collector.requests.map(({ headers }) => [headers.authorization, headers['x-scope-orgid'], headers['content-encoding'], headers['content-type']]);
        assert.deepEqual(sent, [['Bearer one', 'mesh', 'gzip', 'application/x-protobuf'], ['Bearer two', undefined, 'gzip', 'application/x-protobuf']]);
      }));

    for (const [what, ca] of [['another CA has signed', makePki().rootPem], ['no CA that is known has signed', undefined], ['there is no CA to tell', 'none']] as const) {
      it(`is not whom ${what}, and that is told`, () =>
        withTls(async (ledger, collector, file) => {
          const { exported, logged } = startExport(ledger, { url: collector.url, ...(ca === undefined ? {} : { caFile: await file('ca.pem', ca) }) });
          await waitFor('a warning', limitMs, () => logged.find(({ level }) => level === 'warn'));
          await exported.close(limitMs);
          assert.match(exported.status().standstill!.reason, /certificate/);
          assert.deepEqual([collector.requests.length, exported.status().waitingRecords], [0, 3]);
        }));
    }

    it('is not who has a certificate for another name', () =>
      withTls(async (ledger, collector, file) => {
        const url = new URL(collector.url);
        url.hostname = 'localhost';
        const { exported, logged } = startExport(ledger, { url, caFile: await file('ca.pem', pki.rootPem) });
        await waitFor('a warning', limitMs, () => logged.find(({ level }) => level === 'warn'));
        await exported.close(limitMs);
        assert.match(exported.status().standstill!.reason, /does not match certificate/);
        assert.equal(collector.requests.length, 0);
      }));

    it('a header that is none is named by its line, and not quoted', () =>
      withTls(async (_ledger, collector, file) => {
        for (const [text, line] of [['Authorization: Bearer one\nsecret', 2], ['secret\u0000: a', 1], ['Content-Length: 0', 1]] as const) {
          await assert.rejects(createCollector({ url: collector.url, headersFile: await file('headers', text) }).check(), (error: Error) => error.message.includes(`line ${line}`) && !error.message.includes('secret'));
        }
      }));
  });
});
