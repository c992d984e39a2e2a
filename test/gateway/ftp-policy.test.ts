/** What policy allows within FTP, and what the ledger says of its transfers: at a gateway, with a server that does whatever it is told. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { setTimeout as pause } from 'node:timers/promises';
import type { FtpConstraints, FtpTransferStart } from '../../src/core/ftp/index.ts';
import type { FtpTransfer, LedgerRecord } from '../../src/core/ledger-record.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { startFtpServer } from '../../src/demo/ftp-server.ts';
import type { DemoFtpServer } from '../../src/demo/ftp-server.ts';
import { createDataFlow } from '../../src/gateway/data-flow.ts';
import { createFtpTransfers } from '../../src/gateway/ftp-transfers.ts';
import type { DataChannel } from '../../src/relay/ftp-session.ts';
import { converse, readToEnd, type Dialogue } from '../support/ftp-dialogue.ts';
import { openFtpPath, snatAddress, type FtpPath } from '../support/ftp-path.ts';
import { grantTo, productpage, servicePort, startServer, until } from '../support/gateway.ts';
import type { Issued } from '../support/pki.ts';

const free: FtpConstraints = { readOnly: false, noDelete: false, paths: null, users: null, maxTransferBytes: null, maxBytesPerSecond: null, unknownCommands: 'Refuse' };
const statement = Buffer.from('the statement of the month\r\n'.repeat(20_000));

describe('policy within ftp at the gateway', () => {
  const closing: (() => unknown)[] = [];
  let server: DemoFtpServer;
  let path: FtpPath;
  let owner: Issued;

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const grantWith = (...rules: readonly Partial<FtpConstraints>[]) => grantTo('bookinfo', snatAddress, { ftp: rules.length === 0 ? null : rules.map((each) => ({ ...free, ...each })) });

  async function open(rules: readonly Partial<FtpConstraints>[], options: { readonly recordDigest?: boolean; readonly bytesPerSecond?: number } = {}): Promise<Dialogue> {
    server = await startFtpServer({ files: { '/out/statement.txt': statement, '/out/small.txt': Buffer.from('small'), '/secret/plan.txt': statement }, bytesPerSecond: () => options.bytesPerSecond ?? Infinity });
    closing.push(() => server.close());
    path = await openFtpPath({ serverPort: server.port, grants: [grantWith(...rules)], ...(options.recordDigest === undefined ? {} : { recordDigest: options.recordDigest }) });
    closing.push(path.stop);
    owner = path.gateway.pki.issue(productpage);
    const dialogue = converse(path.connect(owner));
    assert.match(await dialogue.reply(), /^220 /);
    assert.match(await dialogue.command('USER demo'), /^331 /);
    assert.match(await dialogue.command('PASS s3cret'), /^230 /);
    return dialogue;
  }

  async function connectData(dialogue: Dialogue): Promise<TLSSocket> {
    const socket = path.connect(owner, await dialogue.passive());
    await once(socket, 'secureConnect');
    return socket;
  }

  async function download(dialogue: Dialogue, name: string): Promise<{ readonly reply: string; readonly content: Buffer }> {
    const content = readToEnd(await connectData(dialogue));
    const reply = await dialogue.command(`RETR ${name}`);
    return { reply, content: await content };
  }

  async function upload(dialogue: Dialogue, name: string, content: Buffer): Promise<string> {
    const data = await connectData(dialogue);
    data.on('error', () => undefined);
    const reply = dialogue.command(`STOR ${name}`);
    data.end(content);
    return reply;
  }

  const transfer = (fits: (record: FtpTransfer) => boolean = () => true): Promise<FtpTransfer> => path.gateway.record('ftp-transfer', fits);

  it('keeps a session to its paths and to reading, and has each refusal in the ledger', async () => {
    const dialogue = await open([{ paths: ['/out'], readOnly: true }]);
    assert.match(await dialogue.command('RETR /secret/plan.txt'), /^550 Refused by policy/);
    assert.match(await dialogue.command('CWD out'), /^250 /);
    assert.match(await dialogue.command('RETR ../secret/plan.txt'), /^550 /);
    assert.match(await dialogue.command('STOR \x1bnew.txt'), /^501 /);
    assert.match(await dialogue.command('STOR n\x9bew.txt'), /^553 /);
    assert.deepEqual(await download(dialogue, 'small.txt'), { reply: '226 Done.', content: Buffer.from('small') });
    const refusals = path.gateway.records.filter((record) => record.type === 'connection-denied').map(({ reason, detail }) => [reason, detail]);
    assert.deepEqual(refusals, [
      ['ftp-policy-refused', 'RETR "/secret/plan.txt": the path is outside of those allowed'],
      ['ftp-policy-refused', 'RETR "../secret/plan.txt": the path is outside of those allowed'],
      ['ftp-policy-refused', 'STOR "n\\u{9b}ew.txt": read only'],
    ]);
  });

  it('says of a transfer who did what with which file, over which connection', async () => {
    const dialogue = await open([], { recordDigest: true });
    await dialogue.command('CWD /out');
    assert.equal((await download(dialogue, 'statement.txt')).reply, '226 Done.');
    assert.match(await upload(dialogue, 'up.txt', Buffer.from('up')), /^226 /);
    const down = await transfer(({ verb }) => verb === 'RETR');
    const data = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-data');
    const control = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-control');
    const { time, durationMs, ...facts } = down;
    assert.deepEqual(facts, {
      type: 'ftp-transfer',
      origin: 'gate',
      connectionId: data.connectionId,
      parentId: control.connectionId,
      revision: data.revision,
      client: data.client,
      spiffeId: productpage,
      service: 'egress/partner:main',
      policies: ['bookinfo/egress'],
      snatAddress,
      snatPort: data.snatPort,
      target: data.target,
      user: 'demo',
      verb: 'RETR',
      path: '/out/statement.txt',
      bytes: statement.length,
      outcome: 'completed',
      reason: 'finished',
      replyCode: 226,
      sha256: createHash('sha256').update(statement).digest('hex'),
    });
    assert.ok(Date.parse(time) > 0 && durationMs >= 0);
    const up = await transfer(({ verb }) => verb === 'STOR');
    assert.deepEqual([up.path, up.bytes, up.sha256], ['/out/up.txt', 2, createHash('sha256').update('up').digest('hex')]);
    assert.doesNotMatch(JSON.stringify(path.gateway.records), /s3cret/);
  });

  it('says that a transfer failed, by the server’s word or by the connection’s end', async () => {
    const dialogue = await open([], { bytesPerSecond: 1_000_000 });
    assert.match(await dialogue.command('RETR /none'), /^550 /);
    const refused = await transfer();
    const control = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-control');
    assert.deepEqual([refused.outcome, refused.reason, refused.replyCode, refused.bytes, refused.connectionId], ['failed', 'ftp-transfer-failed', 550, 0, control.connectionId]);
    assert.ok(!('sha256' in refused));

    const data = await connectData(dialogue);
    dialogue.socket.write('RETR /out/statement.txt\r\n');
    await once(data, 'data');
    data.destroy();
    const broken = await transfer(({ path: name }) => name === '/out/statement.txt');
    assert.deepEqual([broken.outcome, broken.reason], ['failed', 'client-closed']);
    assert.ok(broken.bytes < statement.length);
  });

  it('says that it failed where the session ends before the server has confirmed it', async () => {
    const dialogue = await open([], { bytesPerSecond: 1_000_000 });
    const content = readToEnd(await connectData(dialogue));
    dialogue.socket.write('RETR /out/statement.txt\r\n');
    await until(() => server.connections.some(({ channel }) => channel === 'data'));
    dialogue.socket.end(); // in order: destroyed with a reply unread it would be a reset, for another reason
    assert.deepEqual(await content, statement);
    const record = await transfer();
    assert.deepEqual([record.outcome, record.reason, record.replyCode, record.bytes], ['failed', 'ftp-transfer-failed', null, statement.length]);
  });

  it('breaks a download off that is too large, and its reply is 552, never 226', async () => {
    const dialogue = await open([{ maxTransferBytes: 100_000 }]);
    const { reply, content } = await download(dialogue, '/out/statement.txt');
    assert.match(reply, /^552 /);
    assert.ok(content.length <= 100_000, `${content.length} bytes came through`);
    const record = await transfer();
    assert.deepEqual([record.outcome, record.reason], ['failed', 'ftp-transfer-too-large']);
    assert.deepEqual(await download(dialogue, '/out/small.txt'), { reply: '226 Done.', content: Buffer.from('small') });
  });

  it('breaks an upload off that is too large, so that the server does not take it for whole', async () => {
    const dialogue = await open([{ maxTransferBytes: 100_000 }]);
    assert.match(await upload(dialogue, '/out/up.txt', statement), /^552 /);
    assert.equal(server.read('/out/up.txt'), undefined);
    assert.match(await upload(dialogue, '/out/up.txt', statement.subarray(0, 100_000)), /^226 /);
    assert.equal(server.read('/out/up.txt')?.length, 100_000);
    assert.deepEqual((await transfer(({ outcome }) => outcome === 'completed')).bytes, 100_000);
  });

  it('holds a transfer over a connection that an earlier one has left unused to its limit too', async () => {
    const dialogue = await open([{ maxTransferBytes: 100_000, paths: ['/out'] }, { paths: ['/elsewhere'] }]);
    const data = await connectData(dialogue);
    const content = readToEnd(data);
    assert.match(await dialogue.command('RETR /elsewhere/none'), /^550 /);
    assert.match(await dialogue.command('RETR /out/statement.txt'), /^552 /);
    assert.ok((await content).length <= 100_000);
    const failed = await transfer(({ path: name }) => name === '/elsewhere/none');
    assert.deepEqual([failed.bytes, failed.replyCode], [0, 550]);
  });

  it('tells a client that waits for it before it closes its own end that a limited transfer is complete', async () => {
    const dialogue = await open([{ maxTransferBytes: 1_000_000 }]);
    const halfOpen = { port: await dialogue.passive(), allowHalfOpen: true };
    const data = path.gateway.connect(owner, halfOpen);
    await once(data, 'secureConnect');
    data.resume();
    assert.match(await dialogue.command('RETR /out/statement.txt'), /^226 /);
    data.end();
    await transfer(({ outcome }) => outcome === 'completed');
  });

  it('passes on what a server says of a limited transfer that needed no connection', async () => {
    const scripted = await startServer((socket) => {
      socket.write('220 ready\r\n');
      socket.on('data', (chunk: Buffer) => socket.write(chunk.toString().startsWith('EPSV') ? '229 (|||50000|)\r\n' : '226 nothing to send\r\n'));
    });
    closing.push(() => scripted.stop());
    path = await openFtpPath({ serverPort: scripted.port, grants: [grantWith({ maxTransferBytes: 10 })] });
    closing.push(path.stop);
    const dialogue = converse(path.connect(path.gateway.pki.issue(productpage)));
    await dialogue.reply();
    assert.match(await dialogue.command('NLST'), /^226 nothing/);
    assert.ok((await dialogue.passive()) > 0);
    assert.match(await dialogue.command('NLST'), /^226 nothing/);
  });

  it('lets a transfer pass no faster than it may', async function () {
    this.timeout(5_000);
    const dialogue = await open([{ maxBytesPerSecond: 1_000_000 }]);
    const begin = performance.now();
    assert.deepEqual(await download(dialogue, '/out/statement.txt'), { reply: '226 Done.', content: statement });
    const seconds = (performance.now() - begin) / 1_000;
    assert.ok(statement.length / seconds < 1_200_000, `${statement.length} bytes took ${seconds} s`);
  });

  it('ends a session whose rules have been narrowed, and no other', async () => {
    const dialogue = await open([{ paths: ['/out'] }]);
    const update = (revision: string, ...rules: readonly Partial<FtpConstraints>[]) => path.gateway.dataPlane.update({ revision: revision.repeat(64) as Revision, servicePorts: [servicePort({ protocol: 'FTP', targetPort: server.port, grants: [grantWith(...rules)] })] });
    await update('2', { paths: ['/out'] }, { readOnly: true });
    assert.match(await dialogue.command('NOOP'), /^200 /);
    await update('3');
    assert.match(await dialogue.command('NOOP'), /^200 /);
    await update('4', { paths: ['/out'], readOnly: true });
    assert.match(await dialogue.reply(), /^421 .*policy-revoked/);
  });

  it('ends a session without rules when rules appear', async () => {
    const dialogue = await open([]);
    await path.gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [servicePort({ protocol: 'FTP', targetPort: server.port, grants: [grantWith({})] })] });
    assert.match(await dialogue.reply(), /^421 .*policy-revoked/);
  });
});

describe('what a data connection carries', () => {
  it('is settled when it has ended, broken or not', () => {
    const settled: boolean[] = [];
    const flow = createDataFlow({ now: Date.now, isDigested: false });
    flow.take({ from: 'b', limits: [], settle: (isTooLarge) => settled.push(isTooLarge) });
    flow.end('a');
    assert.deepEqual(settled, []);
    flow.finish('client-closed');
    assert.deepEqual(settled, [false]);
  });

  it('is digested by direction', () => {
    const flow = createDataFlow({ now: Date.now, isDigested: true });
    flow.chunk(Buffer.from('up'), 'a');
    assert.equal(flow.digest('a'), createHash('sha256').update('up').digest('hex'));
    assert.equal(flow.digest('b'), createHash('sha256').digest('hex'));
    assert.equal(createDataFlow({ now: Date.now, isDigested: false }).digest('a'), undefined);
  });

  it('makes up for time that its clock has lost or won, no more than that', () => {
    let nowMs = 1_000_000;
    const flow = createDataFlow({ now: () => nowMs, isDigested: false });
    flow.take({ from: 'a', limits: [{ maxTransferBytes: null, maxBytesPerSecond: 1_000 }], settle: () => undefined });
    assert.equal(flow.chunk(Buffer.alloc(100), 'a'), 100);
    nowMs += 60;
    assert.equal(flow.chunk(Buffer.alloc(100), 'a'), 140);
    nowMs -= 3_600_000;
    assert.equal(flow.chunk(Buffer.alloc(100), 'a'), 240);
    nowMs += 7_200_000;
    assert.equal(flow.chunk(Buffer.alloc(100), 'a'), 100);
    assert.equal(flow.chunk(Buffer.alloc(100), 'b'), 0);
  });
});

describe('a transfer that runs', () => {
  const start: FtpTransferStart = { id: 1, verb: 'STOR', path: 'a\x1b', user: 'ada', limits: [] };

  it('is in the ledger now and then, with what it has carried', async () => {
    const written: LedgerRecord['type'][] = [];
    const bytes: number[] = [];
    const record = {
      closed: () => undefined,
      transferring(facts: { readonly bytes: number; readonly path: string }) {
        assert.equal(facts.path, 'a\\u{1b}');
        written.push('ftp-transfer-progress');
        bytes.push(facts.bytes);
      },
      transferred(facts: { readonly bytes: number }) {
        written.push('ftp-transfer');
        bytes.push(facts.bytes);
      },
    };
    const flow = createDataFlow({ now: Date.now, isDigested: false });
    const channel = {} as DataChannel;
    const transfers = createFtpTransfers({ record, flowOf: (each) => (each === channel ? flow : undefined), now: Date.now, progressEveryMs: 20 });
    transfers.begun(start, channel, () => undefined);
    await pause(50);
    assert.equal(written.length, 0, 'nothing is carried yet');
    flow.begin();
    flow.open(record);
    flow.chunk(Buffer.from('half'), 'a');
    await until(() => written.length === 1);
    flow.chunk(Buffer.from('more'), 'a');
    await until(() => written.length === 2);
    transfers.ended(1, 226);
    flow.finish('finished');
    await transfers.settled();
    assert.equal(written.at(-1), 'ftp-transfer');
    assert.deepEqual([bytes[0], bytes.at(-1)], [4, 8]);
    const count = written.length;
    await pause(50);
    assert.equal(written.length, count);
  });
});
