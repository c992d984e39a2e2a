/** The receiver with a ledger that the test rules; with the real one: control-plane.test.ts beside it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { createSyslogReceiver, type SyslogReceiver } from '../../../src/control/syslog/index.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { parseAddressRange } from '../../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../../src/core/ledger-record.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { gateway, planOf } from '../../core/world.ts';
import { bigipLine, counted } from '../../support/syslog.ts';

const limitMs = 5_000;
const unused = { certificateChainPem: '', privateKeyPem: '', trustBundlePem: '', notAfterMs: 0 };

describe('the syslog receiver', () => {
  let receiver: SyslogReceiver;
  let append: (record: LedgerRecord) => Promise<number>;
  let recorded: string[];
  let refusedLines: number;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    recorded = [];
    refusedLines = 0;
    append = (record) => Promise.resolve(recorded.push('connectionId' in record ? record.connectionId : ''));
    const loopback = parseAddressRange('127.0.0.1');
    assert.ok(loopback.ok);
    receiver = createSyslogReceiver({
      tcp: { host: '127.0.0.1', port: 0 },
      tls: null,
      allowed: [{ gateway: 'f5', addresses: loopback.range }],
      ledger: { append: (record) => append(record) },
      plan: () => plan,
      isRevoked: () => false,
      isTaken: (record) => !('connectionId' in record && record.connectionId === 'one-too-many'),
      onRecord: () => undefined,
      onRefused: () => (refusedLines += 1),
      onConnectionRefused: () => undefined,
      now: Date.now,
      random: () => 0,
      log: pino({ level: 'silent' }),
    });
    await receiver.show(unused);
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await receiver.close();
  });

  const plan = planOf(gateway('f5', { class: 'bigip', listen: [{ address: '10.0.0.9', port: 15443 }] }));

  async function open(port = receiver.ports.tcp!): Promise<Socket> {
    const socket = connect({ host: '127.0.0.1', port });
    socket.on('error', () => undefined);
    sockets.push(socket);
    await once(socket, 'connect');
    return socket;
  }
  const line = (connectionId: string, more: object = {}) => counted(bigipLine('connection-opened', { connectionId, ...more }));

  it('reads no more of a connection than a little while the ledger has not said that what came is durable', async () => {
    let release = (): void => undefined;
    const durable = new Promise<void>((resolve) => (release = resolve));
    const kept: string[] = [];
    append = async (record) => {
      kept.push('connectionId' in record ? record.connectionId : '');
      await durable;
      return kept.length;
    };
    const socket = await open();
    const lines = Array.from({ length: 40_000 }, (_, index) => line(String(index)));
    for (const each of lines) socket.write(each);
    let [length, unchanged] = [0, 0];
    await waitFor('the sender to be held up', limitMs, () => {
      unchanged = kept.length > 0 && socket.writableLength === length ? unchanged + 1 : 0;
      length = socket.writableLength;
      return unchanged === 10 || undefined;
    });
    assert.ok(length > 0 && kept.length < 1_000, `${kept.length} records were read`);
    release();
    await waitFor('all records', 20_000, () => kept.length === lines.length || undefined);
    assert.deepEqual(kept, lines.map((_, index) => String(index)));
  });

  it('tries again where the ledger has too much to do, and loses and repeats nothing', async () => {
    let refusals = 3;
    const take = append;
    append = (record) => (record.type === 'connection-opened' && record.connectionId === 'b' && refusals > 0 && refusals-- > 0 ? Promise.reject(new SallyportError('unavailable', 'too much is waiting')) : take(record));
    const socket = await open();
    socket.end(Buffer.concat([line('a'), line('b'), line('c')]));
    await waitFor('the records', limitMs, () => recorded.length === 3 || undefined);
    assert.deepEqual([recorded, refusals], [['a', 'c', 'b'], 0]);
  });

  it('listens no longer where the ledger takes nothing any more, ends its connections, and says so', async () => {
    append = () => Promise.reject(new SallyportError('store-failed', 'the disk has refused'));
    const port = receiver.ports.tcp!;
    const [idle, socket] = [await open(), await open()];
    const ended = Promise.all([idle, socket].map((each) => once(each, 'close')));
    socket.write(line('a'));
    await ended;
    assert.match(receiver.conditions().join(), /^the ledger takes no more records/);
    await assert.rejects(open(port), { code: 'ECONNREFUSED' });
  });

  it('waits, when it is closed, for what the ledger is writing', async () => {
    let release = (): void => undefined;
    const durable = new Promise<void>((resolve) => (release = resolve));
    let asked = false;
    append = async () => {
      asked = true;
      await durable;
      return 1;
    };
    const socket = await open();
    socket.write(line('a'));
    await waitFor('the record', limitMs, () => asked || undefined);
    let closed = false;
    const closing = receiver.close().then(() => (closed = true));
    await once(socket, 'close');
    assert.equal(closed, false);
    release();
    await closing;
  });

  it('closes, though the ledger has too much to do', async () => {
    let asked = false;
    append = () => {
      asked = true;
      return Promise.reject(new SallyportError('unavailable', 'too much is waiting'));
    };
    (await open()).write(line('a'));
    await waitFor('the record', limitMs, () => asked || undefined);
    await receiver.close();
  });

  it('writes no record that strangers have had too many of', async () => {
    (await open()).write(Buffer.concat([line('one-too-many'), line('b')]));
    await waitFor('the other', limitMs, () => recorded.length > 0 || undefined);
    assert.deepEqual(recorded, ['b']);
  });

  it('goes on after a frame of a megabyte, and after a line that is none, and counts them', async () => {
    const socket = await open();
    socket.write(counted(Buffer.alloc(1_000_000, 'x')));
    socket.write(counted(Buffer.from('<34>Oct 11 22:14:15 mymachine su: hello')));
    socket.write(counted(bigipLine('connection-opened', { connectionId: 'x', origin: 'egress-1' })));
    socket.write(line('a'));
    await waitFor('the record', limitMs, () => recorded.length > 0 || undefined);
    assert.deepEqual([recorded, refusedLines], [['a'], 3]);
    assert.match(receiver.conditions().join(), /^a syslog line of gateway "f5" was refused, 3 times of late, at last .*: it names the origin "egress-1", which it did not come from$/);
  });

  it('ends a connection that is not of syslog, and others go on', async () => {
    const [garbage, good] = [await open(), await open()];
    const ended = once(garbage, 'close');
    garbage.write(Buffer.concat([line('before'), Buffer.from('GET / HTTP/1.1\r\n\r\n'), line('after')]));
    await ended;
    good.write(line('other'));
    await waitFor('the record', limitMs, () => recorded.includes('other') || undefined);
    assert.deepEqual([recorded, refusedLines], [['before', 'other'], 1]);
  });

  it('takes nothing of half a frame, and says so when it can never be whole', async () => {
    const socket = await open();
    socket.end(line('a').subarray(0, -1));
    await waitFor('the condition', limitMs, () => refusedLines > 0 || undefined);
    assert.match(receiver.conditions().join(), /: it ended before it was whole$/);
    assert.deepEqual(recorded, []);
  });

  it('takes a line whose clock is wrong at its own time, and says so', async () => {
    (await open()).write(counted(bigipLine('connection-opened', { connectionId: 'a' }, Date.now() + 3_600_000)));
    await waitFor('the record', limitMs, () => recorded.length > 0 || undefined);
    assert.match(receiver.conditions().join(), /^the record of a syslog line of gateway "f5" has the time at which it came, once of late, .*: it has a time that is more than a minute ahead$/);
    assert.equal(refusedLines, 0);
  });
});
