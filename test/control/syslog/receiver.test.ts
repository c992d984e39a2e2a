/** The receiver with a ledger that the test rules; with the real one: control-plane.test.ts beside it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { pino } from 'pino';
import { createSyslogReceiver, type SyslogLimits, type SyslogReceiver, type SyslogReceiverOptions } from '../../../src/control/syslog/receiver.ts';
import { SallyportError } from '../../../src/core/errors.ts';
import { parseAddressRange } from '../../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../../src/core/ledger-record.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { gateway, planOf } from '../../core/world.ts';
import { makePki } from '../../support/pki.ts';
import { bigipLine, counted } from '../../support/syslog.ts';

const limitMs = 5_000;
const unused = { certificateChainPem: '', privateKeyPem: '', trustBundlePem: '', notAfterMs: 0 };

const issued = makePki().issue('spiffe://cluster.local/ns/sallyport-system/sa/control');

describe('the syslog receiver', () => {
  let options: SyslogReceiverOptions;
  let receiver: SyslogReceiver;
  let append: (record: LedgerRecord) => Promise<number>;
  let recorded: string[];
  let refusedLines: number;
  let refusedConnections: number;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    recorded = [];
    refusedLines = 0;
    refusedConnections = 0;
    append = (record) => Promise.resolve(recorded.push('connectionId' in record ? record.connectionId : ''));
    const loopback = parseAddressRange('127.0.0.1');
    assert.ok(loopback.ok);
    options = {
      tcp: { host: '127.0.0.1', port: 0 },
      tls: null,
      allowed: [{ gateway: 'f5', addresses: loopback.range }],
      ledger: { append: (record) => append(record) },
      plan: () => plan,
      isRevoked: () => false,
      isTaken: (record) => !('connectionId' in record && record.connectionId === 'one-too-many'),
      onRecord: () => undefined,
      onRefused: () => (refusedLines += 1),
      onConnectionRefused: () => (refusedConnections += 1),
      now: Date.now,
      random: () => 0,
      log: pino({ level: 'silent' }),
    };
    receiver = createSyslogReceiver(options);
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

  describe('with limits', () => {
    async function limit(limits: Partial<SyslogLimits>, where: Partial<SyslogReceiverOptions> = {}): Promise<void> {
      await receiver.close();
      receiver = createSyslogReceiver({ ...options, ...where, limits });
      await receiver.show({ ...unused, ...issued });
    }
    const ended = async (socket: Socket): Promise<true> => {
      socket.resume();
      return await waitFor('the end of the connection', limitMs, () => socket.closed || undefined);
    };

    it('takes no more connections than there may be, says so, and takes the next when one has ended', async () => {
      await limit({ connectionsMax: 2 });
      const [first, second] = [await open(), await open()];
      await ended(await open());
      assert.deepEqual([refusedConnections, receiver.conditions().length], [1, 1]);
      assert.match(receiver.conditions().join(), /^a syslog connection from 127\.0\.0\.1 was refused, once of late, .*: it came when 2 were open, which is all there are$/);
      second.write(line('open'));
      first.end();
      await ended(first);
      await waitFor('the next one to be taken', limitMs, async () => {
        (await open()).end(line('next'));
        return recorded.includes('next') || undefined;
      });
      assert.ok(recorded.includes('open'));
    });

    it('ends a connection on which nothing comes any more, and finds nothing wrong in that', async () => {
      await limit({ idleTimeoutMs: 50 });
      const [mute, spoken] = [await open(), await open()];
      spoken.write(line('a'));
      await Promise.all([ended(mute), ended(spoken)]);
      assert.deepEqual([recorded, refusedLines, receiver.conditions()], [['a'], 0, []]);
    });

    it('ends a connection that stops within a frame long before one that is idle, and says so', async () => {
      await limit({ frameTimeoutMs: 50 });
      const [idle, half] = [await open(), await open()];
      half.write(Buffer.concat([line('a'), line('b').subarray(0, 20)]));
      await ended(half);
      await waitFor('the refusal', limitMs, () => refusedLines > 0 || undefined);
      assert.deepEqual([recorded, refusedLines, idle.destroyed], [['a'], 1, false]);
      assert.match(receiver.conditions().join(), /^a syslog line of gateway "f5" was refused, once of late, .*: it was not whole after 0\.05 s$/);
    });

    it('ends a connection that brings a frame byte by byte and is not done in time', async () => {
      await limit({ frameTimeoutMs: 100 });
      const slow = await open();
      const bytes = [...line('a')];
      const drip = setInterval(() => slow.write(Buffer.from(bytes.splice(0, 1))), 10);
      await ended(slow).finally(() => clearInterval(drip));
      await waitFor('the refusal', limitMs, () => refusedLines > 0 || undefined);
      assert.ok(bytes.length > 0);
      assert.deepEqual([recorded, refusedLines], [[], 1]);
    });

    it('lets no time run out while the ledger writes what came before', async () => {
      await limit({ frameTimeoutMs: 50, idleTimeoutMs: 50 });
      const take = append;
      let release = (): void => undefined;
      append = async (record) => {
        await new Promise<void>((resolve) => (release = resolve));
        append = take;
        return await take(record);
      };
      const socket = await open();
      const next = line('b');
      socket.write(Buffer.concat([line('a'), next.subarray(0, 20)]));
      const began = performance.now();
      await waitFor('more than the time for a frame', limitMs, () => performance.now() - began > 100 || undefined);
      socket.write(next.subarray(20));
      release();
      await waitFor('both', limitMs, () => recorded.length === 2 || undefined);
      assert.deepEqual([recorded, refusedLines], [['a', 'b'], 0]);
    });

    it('ends a connection that begins no handshake of TLS, and says so', async () => {
      await limit({ handshakeTimeoutMs: 50 }, { tls: { host: '127.0.0.1', port: 0 } });
      await ended(await open(receiver.ports.tls));
      assert.equal(refusedConnections, 1);
      assert.match(receiver.conditions().join(), /: it has failed in its TLS handshake \(ERR_TLS_HANDSHAKE_TIMEOUT\)$/);
    });
  });

  it('takes the lines of many senders at once, those of each in their order', async () => {
    const senders = await Promise.all(Array.from({ length: 100 }, () => open()));
    const lines = (sender: number) => Array.from({ length: 20 }, (_, index) => `${sender}/${index}`);
    for (const [sender, socket] of senders.entries()) {
      const bytes = Buffer.concat(lines(sender).map((connectionId) => line(connectionId)));
      const cut = (sender * 37) % bytes.length;
      socket.write(bytes.subarray(0, cut));
      setImmediate(() => socket.end(bytes.subarray(cut)));
    }
    await waitFor('all of them', limitMs, () => recorded.length === 2_000 || undefined);
    for (const sender of senders.keys()) assert.deepEqual(recorded.filter((id) => id.startsWith(`${sender}/`)), lines(sender));
  });

  it('takes what one sender brings while the ledger writes that of another', async () => {
    const take = append;
    let release = (): void => undefined;
    const durable = new Promise<void>((resolve) => (release = resolve));
    append = async (record) => {
      if ('connectionId' in record && record.connectionId === 'stuck') await durable;
      return await take(record);
    };
    const [held, free] = [await open(), await open()];
    held.write(line('stuck'));
    free.write(line('free'));
    await waitFor('that of the other', limitMs, () => recorded.includes('free') || undefined);
    assert.deepEqual(recorded, ['free']);
    release();
    await waitFor('both', limitMs, () => recorded.length === 2 || undefined);
  });
});
