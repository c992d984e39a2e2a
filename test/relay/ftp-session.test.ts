import assert from 'node:assert/strict';
import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import type { Duplex } from 'node:stream';
import type { FtpNotice } from '../../src/core/ftp/index.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { runFtpSession } from '../../src/relay/ftp-session.ts';
import type { DataChannel, DataEnds } from '../../src/relay/ftp-session.ts';

const hour = 3_600_000;

interface ChannelSeen {
  readonly server: DataEnds['server'];
  /** What was asked of it after it was opened, in order. */
  readonly asked: string[];
  readonly finish: () => void;
}

/** A session between two in-memory ends, with channels that the test controls. */
function startSession(options: { idleTimeoutMs?: number; clientAddress?: string; openChannel?: () => Promise<DataChannel>; dialled?: Promise<undefined> } = {}) {
  const dialled = options.dialled ?? Promise.resolve();
  const [client, clientSide] = duplexPair();
  const [server, serverSide] = duplexPair();
  const notices: FtpNotice[] = [];
  const channels: ChannelSeen[] = [];
  const session = runFtpSession({
    client: clientSide,
    server: serverSide,
    clientFacingAddress: '127.0.0.1' as IpAddress,
    clientAddress: (options.clientAddress ?? null) as IpAddress | null,
    serverFacingAddress: null,
    tlsPassedThrough: false,
    serverAddress: '127.0.0.2' as IpAddress,
    idleTimeoutMs: options.idleTimeoutMs ?? hour,
    onNotice: (notice) => notices.push(notice),
    openChannel:
      options.openChannel ??
      (({ client: { how }, server: end }) => {
        const { promise: done, resolve: finish } = Promise.withResolvers<undefined>();
        const asked: string[] = [];
        channels.push({ server: end, asked, finish: () => finish(undefined) });
        const dial = () => {
          asked.push('dial-client');
          return dialled;
        };
        const ask = (what: string) => () => void asked.push(what);
        return Promise.resolve({ clientPort: how === 'awaited' ? 40_000 + channels.length : null, serverPort: null, done, dialClient: dial, close: ask('close'), abort: ask('abort') });
      }),
  });
  /** Both peers close when they see the end, as programs do. */
  async function ended() {
    client.once('end', () => client.end()).resume();
    server.once('end', () => server.end()).resume();
    return session.ended;
  }
  return { client, server, session, ended, notices, channels, clientSide, serverSide };
}

/** The next bytes of a stream up to and including `mark`. */
async function readUntil(stream: Duplex, mark: string): Promise<string> {
  let text = '';
  while (!text.includes(mark)) {
    const chunk: unknown = stream.read();
    if (chunk === null) {
      assert.ok(!stream.readableEnded && !stream.destroyed, `ended after ${JSON.stringify(text)}`);
      await Promise.race([new Promise((resolve) => stream.once('readable', resolve)), new Promise((resolve) => stream.once('close', resolve)), new Promise((resolve) => stream.once('end', resolve))]);
    } else {
      text += (chunk as Buffer).toString('latin1');
    }
  }
  const end = text.indexOf(mark) + mark.length;
  if (end < text.length) stream.unshift(Buffer.from(text.slice(end), 'latin1'));
  return text.slice(0, end);
}

async function until(condition: () => boolean): Promise<void> {
  const limit = Date.now() + 2_000;
  while (!condition()) {
    assert.ok(Date.now() < limit, 'the condition does not come true');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe('ftp session between two streams', () => {
  it('passes commands and replies on, counts their bytes, and ends with the server', async () => {
    const { client, server, ended } = startSession();
    server.write('220 ready\r\n');
    await readUntil(client, '220 ready\r\n');
    client.write('QUIT\r\n');
    await readUntil(server, 'QUIT\r\n');
    server.end('221 bye\r\n');
    await readUntil(client, '221 bye\r\n');
    assert.deepEqual(await ended(), { reason: 'finished', bytesSent: 6, bytesReceived: 20 });
  });

  it('sends the client to its own channel, and closes a channel when the next is asked for and when the session ends', async () => {
    const { client, server, ended, channels } = startSession();
    server.write('220 ready\r\n');
    for (const port of [5001, 5002]) {
      client.write('EPSV\r\n');
      await readUntil(server, 'EPSV\r\n');
      server.write(`229 (|||${port}|)\r\n`);
      await readUntil(client, `(|||${40_000 + channels.length}|)\r\n`);
    }
    assert.deepEqual(channels.map(({ server: end, asked }) => [end, asked]), [[{ how: 'dialled', port: 5001, isKept: false }, ['close']], [{ how: 'dialled', port: 5002, isKept: false }, []]]);
    client.destroy();
    await ended();
    assert.deepEqual(channels[1]!.asked, ['close']);
  });

  it('closes a channel that becomes ready after the session has ended', async () => {
    const { promise, resolve } = Promise.withResolvers<DataChannel>();
    const { client, server, session, ended } = startSession({ openChannel: () => promise });
    client.write('PASV\r\n');
    server.write('220 ready\r\n');
    await readUntil(server, 'PASV\r\n');
    server.write('227 (127,0,0,2,20,20)\r\n');
    await readUntil(client, '220 ready\r\n');
    session.stop('policy-revoked');
    await ended();
    let closed = false;
    resolve({ clientPort: 1, serverPort: null, done: Promise.resolve(), dialClient: () => Promise.resolve(), close: () => (closed = true), abort: () => undefined });
    await until(() => closed);
  });

  it('answers 425 where no channel can be opened, and goes on', async () => {
    const { client, server, session, ended } = startSession({ openChannel: () => Promise.reject(new Error('no port')) });
    server.write('220 ready\r\n');
    client.write('PASV\r\nNOOP\r\n');
    await readUntil(server, 'NOOP\r\n');
    server.write('227 (127,0,0,2,20,20)\r\n200 ok\r\n');
    assert.match(await readUntil(client, '200 ok\r\n'), /425 .*\r\n200 ok/);
    session.stop('gateway-stopping');
    await ended();
  });

  it('connects to an active client when the server begins, and breaks a transfer off that the client gives up', async () => {
    const { promise: dialled, resolve: connect } = Promise.withResolvers<undefined>();
    const { client, server, ended, channels } = startSession({ clientAddress: '127.0.0.1', dialled });
    server.write('220 ready\r\n');
    client.write('PORT 127,0,0,1,40,40\r\n');
    await readUntil(server, 'PASV\r\n');
    server.write('227 (127,0,0,2,20,20)\r\n');
    await readUntil(client, 'successful.\r\n');
    client.write('RETR x\r\n');
    await readUntil(server, 'RETR x\r\n');
    assert.deepEqual(channels[0]!.asked, []);
    server.write('150 here it comes\r\n');
    await until(() => channels[0]!.asked.includes('dial-client'));
    assert.equal(client.read(), null, 'the client hears of it when it is connected to');
    connect(undefined);
    await readUntil(client, '150 ');
    client.write('ABOR\r\n');
    await readUntil(server, 'ABOR\r\n');
    assert.deepEqual(channels[0]!.asked, ['dial-client', 'abort']);
    server.end('426 aborted\r\n226 closed\r\n');
    await ended();
  });

  it('ends an idle session with 421', async () => {
    const { client, server, ended } = startSession({ idleTimeoutMs: 30 });
    server.write('220 ready\r\n');
    await readUntil(client, '421 ');
    assert.equal((await ended()).reason, 'idle-timeout');
  });

  it('is not idle while a transfer runs', async () => {
    const { client, server, ended, channels } = startSession({ idleTimeoutMs: 30 });
    server.write('220 ready\r\n');
    client.write('EPSV\r\n');
    await readUntil(server, 'EPSV\r\n');
    server.write('229 (|||5001|)\r\n');
    await readUntil(client, '|)\r\n');
    let text = '';
    client.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await new Promise((resolve) => setTimeout(resolve, 150)); // five times the idle timeout
    assert.equal(text, '');
    channels[0]!.finish();
    await until(() => text.startsWith('421 '));
    assert.equal((await ended()).reason, 'idle-timeout');
  });

  it('is stopped within a second though the client does not read', async () => {
    const { client, server, session } = startSession();
    server.write('220 ready\r\n');
    client.pause();
    const begin = performance.now();
    session.stop('policy-revoked');
    assert.equal((await session.ended).reason, 'policy-revoked');
    assert.ok(performance.now() - begin < 1_000);
  });

  it('reads no more from a server than its client takes', async () => {
    const { client, server, session, ended, clientSide } = startSession();
    server.write('220-long\r\n');
    let written = 0;
    while (server.write(' x'.repeat(500) + '\r\n') && written < 10_000) {
      written += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(written < 1_000, 'the server was never held up');
    assert.ok(clientSide.writableLength < 200_000);
    const taken = readUntil(client, '220 end\r\n');
    server.write('220 end\r\n');
    await taken;
    session.stop('gateway-stopping');
    await ended();
  });

  it('reads no more commands than a silent server answers, nor than the client reads refusals', async () => {
    for (const command of ['NOOP\r\n', 'PORT 1,2,3,4,5,6\r\n']) {
      const { client, server, session, ended } = startSession();
      server.write('220 ready\r\n');
      let written = 0;
      while (client.write(command.repeat(100)) && written < 10_000) {
        written += 1;
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(written < 1_000, 'the client was never held up');
      session.stop('gateway-stopping');
      await ended();
    }
  });

  it('ends for a line of a million bytes', async () => {
    const { client, server, ended } = startSession();
    server.write('220 ready\r\n');
    client.write('x'.repeat(1_000_000));
    await readUntil(client, '421 ');
    assert.equal((await ended()).reason, 'ftp-line-too-long');
  });

  it('sees that a client had ended its side before the session began', async () => {
    const [clientSide, client] = duplexPair();
    const [serverSide, server] = duplexPair();
    client.end();
    await once(clientSide.resume(), 'end');
    const session = runFtpSession({
      client: clientSide,
      server: serverSide,
      clientFacingAddress: '127.0.0.1' as IpAddress,
      clientAddress: null,
      serverAddress: '127.0.0.2' as IpAddress,
      serverFacingAddress: null,
      tlsPassedThrough: false,
      idleTimeoutMs: hour,
      onNotice: () => undefined,
      openChannel: () => Promise.reject(new Error('nobody asks')),
    });
    await once(server.resume(), 'end'); // it is told, and would otherwise wait for the idle timeout
    server.end();
    client.resume();
    assert.equal((await session.ended).reason, 'finished');
  });

  it('tells a client that vanishes from a server that breaks off', async () => {
    for (const [end, reason] of [['clientSide', 'client-closed'], ['serverSide', 'target-reset']] as const) {
      const started = startSession();
      started.server.write('220 ready\r\n');
      await readUntil(started.client, '220 ready\r\n');
      started[end].destroy(new Error('ECONNRESET'));
      assert.equal((await started.ended()).reason, reason);
    }
  });

  it('reports what is worth a record', async () => {
    const { client, server, session, ended, notices } = startSession();
    server.write('220 ready\r\n');
    client.write('PORT 1,2,3,4,5,6\r\n');
    await readUntil(client, '502 ');
    assert.deepEqual(notices, [{ reason: 'ftp-command-refused', detail: 'PORT is not available' }]);
    session.stop('gateway-stopping');
    await ended();
  });
});
