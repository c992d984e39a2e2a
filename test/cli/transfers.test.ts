import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { FtpTransfer, FtpTransferProgress } from '../../src/core/ledger-record.ts';
import { openLedger } from '../../src/store/index.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

let now: number;
const ago = (ms: number): string => new Date(now - ms).toISOString();
const hourMs = 3_600_000;

const common = {
  origin: 'egress-1',
  parentId: 'control',
  revision: null,
  client: '10.1.0.1:40000',
  spiffeId: 'spiffe://cluster.local/ns/payments/sa/upload',
  service: 'payments/partner-ftp:control',
  policies: ['payments/p'],
  snatAddress: '10.4.0.65',
  snatPort: 40132,
  target: '10.4.0.201:50000',
  user: 'statements',
  verb: 'STOR',
  path: '/outgoing/a.txt',
  bytes: 1_000,
  durationMs: 1_500,
};
const over = (time: string, connectionId: string, more: Partial<FtpTransfer> = {}): FtpTransfer => ({ ...common, type: 'ftp-transfer', time, connectionId, outcome: 'completed', reason: 'finished', replyCode: 226, ...more });
const running = (time: string, connectionId: string, more: Partial<FtpTransferProgress> = {}): FtpTransferProgress => ({ ...common, type: 'ftp-transfer-progress', time, connectionId, ...more });

describe('sallyport transfers', () => {
  let server: TestControl;
  let sallyport: CommandLine;

  beforeEach(() => {
    now = Date.now();
  });

  /** A control plane with these records in its ledger. */
  async function startWith(records: readonly (FtpTransfer | FtpTransferProgress)[]): Promise<void> {
    server = await startTestControl();
    sallyport = commandLine(join(server.directory, 'admin.sock'));
    await append(records);
  }
  async function append(records: readonly (FtpTransfer | FtpTransferProgress)[]): Promise<void> {
    await server.control.close();
    const ledger = await openLedger({ directory: join(server.directory, 'ledger'), now: Date.now });
    for (const record of records) await ledger.append(record);
    await ledger.close();
    server = await startTestControl({ directory: server.directory });
  }
  afterEach(() => server.close());

  const rows = (out: string) => out.trimEnd().split('\n').map((line) => line.split(/ {2,}/));

  it('lists what is over with how it ended, and then how far those are that run', async () => {
    const first = ago(2 * hourMs);
    const recent = ago(1_000);
    await startWith([
      over(first, 'c-1'),
      running(ago(hourMs), 'c-2', { bytes: 5 }),
      over(ago(hourMs), 'c-2', { bytes: 7, outcome: 'failed', reason: 'ftp-transfer-too-large', replyCode: 552, path: '/outgoing/\u001b[2J' }),
      running(ago(11_000), 'c-3', { bytes: 10 }),
      running(recent, 'c-3', { bytes: 20, durationMs: 20_000, user: null }),
      running(ago(hourMs), 'c-4', { bytes: 30, spiffeId: 'spiffe://cluster.local/gateway' }),
    ]);
    const { status, out } = await sallyport(['transfers']);
    assert.equal(status, 0);
    assert.deepEqual(rows(out), [
      ['TIME', 'IDENTITY', 'SERVICE', 'USER', 'VERB', 'PATH', 'BYTES', 'DURATION', 'OUTCOME'],
      [first, 'payments/upload', 'payments/partner-ftp:control', 'statements', 'STOR', '/outgoing/a.txt', '1000', '1s500ms', 'completed'],
      [ago(hourMs), 'payments/upload', 'payments/partner-ftp:control', 'statements', 'STOR', '/outgoing/\\u001b[2J', '7', '1s500ms', 'failed (ftp-transfer-too-large)'],
      [recent, 'payments/upload', 'payments/partner-ftp:control', '-', 'STOR', '/outgoing/a.txt', '20', '20s', 'running'],
      [ago(hourMs), 'spiffe://cluster.local/gateway', 'payments/partner-ftp:control', 'statements', 'STOR', '/outgoing/a.txt', '30', '1s500ms', 'unknown'],
    ]);
    const wide = rows((await sallyport(['transfers', '-o', 'wide'])).out);
    assert.deepEqual(wide[0]?.slice(-5), ['CLIENT', 'LEFT FROM', 'TARGET', 'REPLY', 'SHA-256']);
    assert.deepEqual(wide[1]?.slice(-5), ['10.1.0.1:40000', '10.4.0.65:40132', '10.4.0.201:50000', '226', '-']);
  });

  it('lists those of a namespace, an identity, a service and a time only', async () => {
    await startWith([
      over(ago(48 * hourMs), 'old'),
      over(ago(hourMs), 'ours'),
      over(ago(hourMs), 'other-account', { spiffeId: 'spiffe://cluster.local/ns/payments/sa/archive' }),
      over(ago(hourMs), 'other-namespace', { spiffeId: 'spiffe://cluster.local/ns/reports/sa/upload', service: 'reports/partner-ftp:secure' }),
      over(ago(hourMs), 'nobody', { spiffeId: null, service: null }),
    ]);
    const listed = async (...args: string[]) => {
      const { out } = await sallyport(['transfers', '-o', 'json', ...args]);
      return out.split('\n').filter(Boolean).map((line) => (JSON.parse(line) as FtpTransfer).connectionId);
    };
    assert.deepEqual(await listed(), ['ours', 'other-account', 'other-namespace', 'nobody']);
    assert.deepEqual(await listed('--since', '3d'), ['old', 'ours', 'other-account', 'other-namespace', 'nobody']);
    assert.deepEqual(await listed('--since', ago(3 * hourMs)), ['ours', 'other-account', 'other-namespace', 'nobody']);
    assert.deepEqual(await listed('-n', 'payments'), ['ours', 'other-account']);
    assert.deepEqual(await listed('--identity', 'payments/upload'), ['ours']);
    assert.deepEqual(await listed('--identity', 'spiffe://cluster.local/ns/payments/sa/archive'), ['other-account']);
    assert.deepEqual(await listed('--service', 'partner-ftp'), ['ours', 'other-account', 'other-namespace']);
    assert.deepEqual(await listed('--service', 'reports/partner-ftp'), ['other-namespace']);
    assert.deepEqual(await listed('--service', 'payments/partner-ftp:control'), ['ours', 'other-account']);
    assert.deepEqual(await listed('--service', 'partner'), []);
  });

  it('says that there was none, and where to look', async () => {
    await startWith([]);
    const { status, out, err } = await sallyport(['transfers']);
    assert.deepEqual([status, out, err], [0, '', 'no transfers since 24h; for earlier ones: --since 7d\n']);
    assert.equal((await sallyport(['transfers', '--since', 'yesterday'])).status, 2);
  });

  it('follows, row by row, until it is interrupted', async () => {
    await startWith([over(ago(hourMs), 'c-1'), running(ago(1_000), 'c-2')]);
    const interrupted = new AbortController();
    const seen: string[] = [];
    const { promise: all, resolve } = Promise.withResolvers<undefined>();
    const onOut = (line: string): void => {
      if (seen.push(line) === 3) resolve(undefined);
    };
    const followed = sallyport(['transfers', '-f'], { signal: interrupted.signal, onOut });
    await all;
    interrupted.abort();
    assert.equal((await followed).status, 0);
    assert.deepEqual(seen.map((line) => line.split(/ {2,}/).slice(-3).join(' ')), ['BYTES DURATION OUTCOME', '1000 1s500ms completed', '1000 1s500ms running']);
    assert.equal(new Set(seen.map((line) => line.search(/OUTCOME|completed|running/))).size, 1, 'rows stand below each other');
  });
});
