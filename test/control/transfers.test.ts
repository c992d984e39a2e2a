import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseTransferQuery, transferLines } from '../../src/control/transfers.ts';
import type { FtpTransfer } from '../../src/core/ledger-record.ts';
import { openLedger, type Ledger } from '../../src/store/index.ts';

const record = { time: '2026-11-21T07:30:00.000Z', origin: 'gate', revision: null, client: '10.1.0.1:1', spiffeId: null, service: null, policies: [], snatAddress: '10.4.0.65', snatPort: 2, target: '10.4.0.2:3', user: null, verb: 'RETR', path: '/a', bytes: 1, durationMs: 1 } as const;

describe('transfers in the ledger', () => {
  let directory: string;
  let ledger: Ledger;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-transfers-'));
    ledger = await openLedger({ directory, now: Date.now });
  });
  afterEach(async () => {
    await ledger.close();
    await rm(directory, { recursive: true, force: true });
  });

  it('are followed with their progress, from where the list ended', async () => {
    const over: FtpTransfer = { ...record, type: 'ftp-transfer', connectionId: 'a', outcome: 'completed', reason: 'finished', replyCode: 226 };
    await ledger.append({ ...record, type: 'ftp-transfer-progress', connectionId: 'a' });
    await ledger.append(over);
    await ledger.append({ ...record, type: 'ftp-transfer-progress', connectionId: 'b', bytes: 2 });
    const interrupted = new AbortController();
    const lines = transferLines(ledger, parseTransferQuery(new URLSearchParams('follow=true')), interrupted.signal);
    const next = async () => {
      const { value } = (await lines.next()) as IteratorResult<string, undefined>;
      const { sequence, connectionId, bytes } = JSON.parse(value ?? '') as FtpTransfer & { readonly sequence: number };
      return [sequence, connectionId, bytes];
    };
    assert.deepEqual(await next(), [2, 'a', 1]);
    assert.deepEqual(await next(), [3, 'b', 2]);
    const later = next();
    await ledger.append({ type: 'certificate-revoked', time: record.time, origin: 'control', spiffeId: 'spiffe://a/b', serialNumber: '1' });
    await ledger.append({ ...record, type: 'ftp-transfer-progress', connectionId: 'b', bytes: 3 });
    assert.deepEqual(await later, [5, 'b', 3]);
    interrupted.abort();
    assert.equal((await lines.next()).done, true);
  });

  it('are asked for from a time on, which must be one', () => {
    assert.equal(parseTransferQuery(new URLSearchParams('since=2026-11-21T07:30:00Z')).sinceMs, Date.UTC(2026, 10, 21, 7, 30));
    assert.throws(() => parseTransferQuery(new URLSearchParams('since=yesterday')), { code: 'request-invalid' });
  });
});
