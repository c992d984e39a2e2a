import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { runAgent, type Agent } from '../../src/agent/index.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { trustDomainText } from '../identity/support/fake-control-plane.ts';
import { createOpensslCa, type OpensslCa } from '../identity/support/openssl-ca.ts';
import { until } from '../identity/support/waiting.ts';
import { startFakeGateway, startFakeMesh, upstreamMessage, type FakeGateway, type FakeMesh } from './support/fake-mesh.ts';
import { connectTo, freePort } from './support/local-client.ts';

const workloadId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const service = 'bookinfo/ftp:control';

describe('agent with ftp', () => {
  let ca: OpensslCa;
  let control: FakeMesh;
  let data: FakeGateway;
  let gateway: FakeGateway;
  let agent: Agent;
  let listenPort: number;
  let content: Buffer;
  let awaitData: (socket: TLSSocket) => void;
  let dataSockets: TLSSocket[];
  const closers: (() => unknown)[] = [];

  before(async () => {
    ca = await createOpensslCa();
  });
  after(() => ca.remove());
  beforeEach(async () => {
    content = randomBytes(300_000);
    listenPort = await freePort();
    control = await startFakeMesh(workloadId, { ca, tokens: new Map([['token', workloadId]]) });
    closers.push(() => control.stop());
    // A gateway as FTP sees it: the control connection's port and, for passive mode, one more on the same address.
    dataSockets = [];
    data = await startFakeGateway(ca, (socket) => {
      dataSockets.push(socket);
      awaitData(socket);
    });
    closers.push(() => data.stop());
    gateway = await startFakeGateway(ca, speakFtp);
    closers.push(() => gateway.stop());
    control.publish({ [service]: upstreamMessage(listenPort, [gateway.port], { protocol: 'FTP' }) });
    agent = await runAgent({
      trustDomain: trustDomainText as TrustDomain,
      enrolmentAddress: control.enrolmentAddress,
      controlAddress: control.identityAddress,
      trustBundle: () => ca.rootPem,
      joinToken: () => Promise.resolve('token'),
      version: 'test',
      now: Date.now,
      random: () => 0,
      log: pino({ level: 'silent' }),
    });
    closers.push(() => agent.stop());
    await until('the listener', () => agent.status().upstreams[0]?.listener.listening);
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  function speakFtp(socket: TLSSocket): void {
    let transfer: Promise<TLSSocket> | undefined;
    const answer = (line: string) => void socket.write(`${line}\r\n`);
    const obey = async (line: string): Promise<void> => {
      const verb = line.split(' ')[0];
      if (verb === 'PASV' || verb === 'EPSV') {
        transfer = new Promise((resolve) => {
          awaitData = resolve;
        });
        answer(verb === 'PASV' ? `227 Entering Passive Mode (10,9,8,7,${data.port >> 8},${data.port & 255}).` : `229 Entering Extended Passive Mode (|||${data.port}|)`);
      } else if (verb === 'RETR') {
        answer('150 here it comes');
        (await transfer)!.end(content, () => answer('226 done'));
      } else if (verb === 'STOR') {
        answer('150 send it');
        const chunks: Buffer[] = [];
        const incoming = (await transfer)!;
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        await once(incoming, 'end');
        incoming.end();
        content = Buffer.concat(chunks);
        answer('226 stored');
      } else {
        answer('200 ok');
      }
    };
    answer('220 hello');
    createInterface({ input: socket }).on('line', (line) => void obey(line));
  }

  /** A client's control connection: `send` gives the reply to a command. */
  async function openControl(): Promise<{ socket: Socket; reply: () => Promise<string>; send: (command: string) => Promise<string> }> {
    const socket = connectTo(listenPort);
    closers.push(() => socket.destroy());
    const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
    const reply = async (): Promise<string> => String((await lines.next()).value);
    assert.equal(await reply(), '220 hello');
    return { socket, reply, send: (command) => (socket.write(`${command}\r\n`), reply()) };
  }

  function portOf(reply: string): number {
    const passive = /\(127,0,0,1,([0-9]+),([0-9]+)\)/.exec(reply);
    return passive === null ? Number(/\(\|\|\|([0-9]+)\|\)/.exec(reply)?.[1]) : Number(passive[1]) * 256 + Number(passive[2]);
  }

  for (const command of ['PASV', 'EPSV']) {
    it(`downloads after ${command}, over a second connection that the agent offers on its own address`, async () => {
      const { reply, send } = await openControl();
      const port = portOf(await send(command));
      assert.notEqual(port, data.port, 'a port of the agent');
      const incoming = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      assert.equal(await send('RETR file'), '150 here it comes');
      await once(incoming, 'end');
      incoming.end();
      assert.equal(await reply(), '226 done');
      assert.ok(Buffer.concat(chunks).equals(content));
    });
  }

  describe('whose client is active', () => {
    let place: Server;
    let arrivals: Socket[];

    beforeEach(async () => {
      arrivals = [];
      place = createServer({ allowHalfOpen: true }, (socket) => {
        socket.on('error', () => undefined);
        arrivals.push(socket);
      });
      closers.push(() => place.close());
      await new Promise<void>((resolve) => place.listen(0, '127.0.0.1', resolve));
    });

    const port = () => (place.address() as AddressInfo).port;
    const commands = {
      PORT: () => `PORT 127,0,0,1,${port() >> 8},${port() & 255}`,
      EPRT: () => `EPRT |1|127.0.0.1|${port()}|`,
    };

    for (const command of ['PORT', 'EPRT'] as const) {
      it(`downloads after ${command}, over a connection that comes from where its control connection went`, async () => {
        const { reply, send } = await openControl();
        assert.match(await send(commands[command]()), /^200 /);
        await until('the data connection at the gateway', () => dataSockets.length === 1); // a server may not begin before
        assert.equal(arrivals.length, 0, 'the client awaits nothing yet');
        assert.equal(await send('RETR file'), '150 here it comes');
        await until('the data connection', () => arrivals.length === 1);
        assert.equal(arrivals[0]!.remoteAddress, '127.0.0.1');
        const chunks: Buffer[] = [];
        arrivals[0]!.on('data', (chunk: Buffer) => chunks.push(chunk));
        await once(arrivals[0]!, 'end');
        arrivals[0]!.end();
        assert.equal(await reply(), '226 done');
        assert.ok(Buffer.concat(chunks).equals(content));
      });
    }

    it('uploads', async () => {
      const { reply, send } = await openControl();
      await send(commands.PORT());
      assert.equal(await send('STOR file'), '150 send it');
      await until('the data connection', () => arrivals.length === 1);
      const sent = randomBytes(300_000);
      arrivals[0]!.end(sent);
      arrivals[0]!.resume();
      assert.equal(await reply(), '226 stored');
      assert.ok(content.equals(sent));
    });

    it('connects to no third party, nor to a well-known service, and the gateway hears nothing of it', async () => {
      const { send } = await openControl();
      for (const command of ['PORT 127,0,0,9,200,1', 'EPRT |1|192.0.2.1|50000|', 'PORT 127,0,0,1,0,25']) assert.match(await send(command), /^504 /);
      assert.equal(data.seen.length, 0);
    });

    it('breaks the transfer off where the client does not listen, and goes on', async () => {
      const { reply, send } = await openControl();
      await send(commands.PORT());
      await new Promise((resolve) => place.close(resolve));
      assert.equal(await send('RETR file'), '150 here it comes');
      await until('the end of the data connection', () => dataSockets[0]?.destroyed === true);
      assert.deepEqual([await send('NOOP'), await reply()], ['226 done', '200 ok']); // this gateway says so however it ends
    });

    it('gives up what was prepared when another is asked for, and when the session ends', async () => {
      const { socket, send } = await openControl();
      for (const count of [1, 2]) {
        await send(commands.PORT());
        await until('the data connection at the gateway', () => dataSockets.length === count);
      }
      await until('the end of the first', () => dataSockets[0]!.destroyed);
      assert.ok(!dataSockets[1]!.destroyed);
      socket.resetAndDestroy();
      await until('the end of the second', () => dataSockets[1]!.destroyed);
      assert.equal(arrivals.length, 0);
    });

    it('gets 425 where the gateway does not take the data connection', async () => {
      const { send } = await openControl();
      data.stop();
      assert.match(await send(commands.PORT()), /^425 /);
      assert.equal(await send('NOOP'), '200 ok');
    });

    it('is rid of session and transfer when the upstream is gone', async () => {
      const { socket, send } = await openControl();
      await send(commands.PORT());
      awaitData = () => undefined;
      socket.write('NOOP\r\n');
      await send('RETR file');
      await until('the data connection', () => arrivals.length === 1);
      const ended = Promise.all([once(socket, 'end'), new Promise((resolve) => arrivals[0]!.resume().once('close', resolve).once('end', resolve))]);
      control.publish({});
      await ended;
      await until('nothing left', () => agent.status().upstreams.length === 0);
    });
  });

  it('uploads', async () => {
    const { reply, send } = await openControl();
    const outgoing = connect({ host: '127.0.0.1', port: portOf(await send('PASV')), allowHalfOpen: true });
    const sent = randomBytes(300_000);
    assert.equal(await send('STOR file'), '150 send it');
    outgoing.end(sent);
    outgoing.resume();
    assert.equal(await reply(), '226 stored');
    assert.ok(content.equals(sent));
  });

  it('takes one data connection only, and only from the address of the control connection', async () => {
    const { send } = await openControl();
    const port = portOf(await send('PASV'));
    const stranger = connect({ host: '127.0.0.1', port, localAddress: '127.0.0.9' });
    const refused = (await once(stranger, 'end').catch((error: unknown) => error)) as NodeJS.ErrnoException;
    assert.equal(refused.code, 'ECONNRESET');
    const first = connect({ host: '127.0.0.1', port });
    closers.push(() => first.destroy());
    await until('the transfer at the gateway', () => data.seen.length === 1);
    const second = connect({ host: '127.0.0.1', port });
    const late = (await once(second, 'connect').then(() => once(second, 'end')).catch((error: unknown) => error)) as NodeJS.ErrnoException;
    assert.ok(late.code === 'ECONNREFUSED' || late.code === 'ECONNRESET', late.code);
    assert.equal(data.seen.length, 1);
  });

  it('ends session and transfer when the upstream is gone', async () => {
    const { socket, send } = await openControl();
    const transfer = connect({ host: '127.0.0.1', port: portOf(await send('PASV')) });
    transfer.on('error', () => undefined);
    await until('the transfer at the gateway', () => data.seen.length === 1);
    const ended = Promise.all([once(socket, 'end'), new Promise((resolve) => transfer.once('close', resolve))]);
    control.publish({});
    await ended;
    await until('nothing left', () => agent.status().upstreams.length === 0);
  });
});
