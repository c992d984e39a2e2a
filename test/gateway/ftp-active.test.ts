import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { Grant, Revision } from '../../src/core/plan/plan.ts';
import { converse, readToEnd } from '../support/ftp-dialogue.ts';
import type { Dialogue } from '../support/ftp-dialogue.ts';
import { openFtpPath, snatAddress } from '../support/ftp-path.ts';
import type { FtpPath } from '../support/ftp-path.ts';
import { batch, grantTo, loopback, productpage, servicePort, startServer, until } from '../support/gateway.ts';
import type { TestServer } from '../support/gateway.ts';
import type { Issued } from '../support/pki.ts';

const statement = Buffer.from('the statement of the month\r\n'.repeat(20_000));
/** Fits in the buffers between server and gateway. */
const short = statement.subarray(0, 1_000);

/** What the server was told by PORT. */
interface Place {
  readonly host: string;
  readonly port: number;
}

/** Orders in which servers reply and connect. */
type Order = 'replies-first' | 'connects-first' | 'ends-data-after-226' | 'skips-150' | 'never-ends';

describe('ftp at the gateway, to an active server', () => {
  const closing: (() => unknown)[] = [];
  let server: TestServer;
  let path: FtpPath;
  let owner: Issued;
  let stranger: Issued;
  /** Of every PORT, in order. */
  let places: Place[];
  let order: Order;
  let portAnswer: string;
  let received: Buffer;

  beforeEach(() => {
    places = [];
    order = 'replies-first';
    portAnswer = '200 PORT command successful.';
    received = Buffer.alloc(0);
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  async function open(options: { readonly grants?: readonly Grant[]; readonly limits?: Parameters<typeof openFtpPath>[0]['limits'] } = {}): Promise<void> {
    server = await startServer((socket) => {
      socket.write('220 ready\r\n');
      socket.on('end', () => socket.end());
      let place: Place | undefined;
      socket.on('data', (chunk: Buffer) => {
        for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
          const numbers = /^PORT ([0-9,]+)$/.exec(line)?.[1]?.split(',').map(Number);
          if (numbers !== undefined) {
            place = { host: numbers.slice(0, 4).join('.'), port: numbers[4]! * 256 + numbers[5]! };
            places.push(place);
            socket.write(`${portAnswer}\r\n`);
          } else if (/^(RETR|STOR) [^m]/.test(line)) {
            void transfer(socket, place!, line.startsWith('STOR'), line.endsWith(' short') ? short : statement);
          } else {
            socket.write(`${/^RETR/.test(line) ? '550 no such file' : '200 ok'}\r\n`);
          }
        }
      });
    });
    closing.push(() => server.stop());
    path = await openFtpPath({ serverPort: server.port, dataMode: 'Active', grants: options.grants ?? [grantTo('bookinfo', snatAddress), grantTo('reports', '127.0.1.12')], ...(options.limits !== undefined && { limits: options.limits }) });
    closing.push(path.stop);
    owner = path.gateway.pki.issue(productpage);
    stranger = path.gateway.pki.issue(batch);
  }

  async function transfer(control: net.Socket, { host, port }: Place, upload: boolean, content: Buffer): Promise<void> {
    const connectData = () => net.connect({ host, port, localAddress: loopback, allowHalfOpen: true }).on('error', () => undefined);
    let data: net.Socket | undefined;
    if (order === 'connects-first') await once((data = connectData()), 'connect');
    if (order !== 'skips-150') control.write('150 here it comes\r\n');
    data ??= connectData();
    if (order === 'never-ends') {
      data.write(statement);
      return;
    }
    if (upload) received = await readToEnd(data);
    else if (order === 'ends-data-after-226') await new Promise((resolve) => data.write(content, resolve));
    else await readToEnd(data.end(content));
    control.write('226 done\r\n');
    if (order === 'ends-data-after-226') data.end();
  }

  async function logIn(identity = owner): Promise<Dialogue> {
    const dialogue = converse(path.connect(identity));
    assert.equal(await dialogue.reply(), '220 ready');
    return dialogue;
  }

  async function connectData(identity: Issued, port: number): Promise<net.Socket> {
    const socket = path.connect(identity, port);
    await once(socket, 'secureConnect');
    return socket;
  }

  /** A connection to where the server was told to come, from another place than the server's. */
  function knock({ host, port }: Place, localAddress = '127.0.0.66'): Promise<Buffer> {
    return readToEnd(net.connect({ host, port, localAddress }).on('error', () => undefined));
  }

  const deniedFor = (reason: string): Promise<Extract<LedgerRecord, { type: 'connection-denied' }>> => path.gateway.record('connection-denied', (record) => record.reason === reason);

  for (const each of ['replies-first', 'connects-first', 'ends-data-after-226', 'skips-150'] as const) {
    it(`joins what it awaited at the identity's own address with the client's, for a server that ${each.replaceAll('-', ' ')}`, async () => {
      order = each;
      await open();
      const dialogue = await logIn();
      const data = await connectData(owner, await dialogue.passive());
      const content = readToEnd(data);
      assert.equal(await dialogue.command('RETR x'), '226 done');
      assert.deepEqual(await content, statement);
      assert.deepEqual(places.map(({ host }) => host), [snatAddress]);

      const control = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-control');
      const opened = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-data');
      assert.deepEqual([opened.parentId, opened.snatAddress, opened.snatPort], [control.connectionId, snatAddress, places[0]!.port]);
      assert.match(opened.target, /^127\.0\.0\.1:\d+$/);
      const closed = await path.gateway.record('connection-closed', ({ connectionId }) => connectionId === opened.connectionId);
      assert.deepEqual([closed.reason, closed.bytesSent, closed.bytesReceived], ['finished', 0, statement.length]);
    });
  }

  it('uploads', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    data.end(statement);
    assert.equal(await dialogue.command('STOR x'), '226 done');
    assert.deepEqual(received, statement);
  });

  it('waits for a client that comes after its server', async () => {
    await open();
    order = 'connects-first';
    const dialogue = await logIn();
    const port = await dialogue.passive();
    const reply = dialogue.command('RETR x');
    await until(() => places.length === 1);
    await knock(places[0]!); // by now the server may have come, or not: a stranger makes no difference
    const content = readToEnd(await connectData(owner, port));
    assert.equal(await reply, '226 done');
    assert.deepEqual(await content, statement);
  });

  it('records all of a transfer that its server has sent and confirmed before the client comes', async () => {
    await open();
    order = 'ends-data-after-226';
    const dialogue = await logIn();
    const port = await dialogue.passive();
    assert.equal(await dialogue.command('RETR short'), '226 done');
    assert.deepEqual(await readToEnd(await connectData(owner, port)), short);
    const { bytes, outcome, snatPort } = await path.gateway.record('ftp-transfer');
    assert.deepEqual({ bytes, outcome, snatPort }, { bytes: short.length, outcome: 'completed', snatPort: places[0]!.port });
  });

  it('says that a transfer failed for which its server has come, and no client', async () => {
    await open({ limits: { ftpDataTimeoutMs: 100 } });
    order = 'ends-data-after-226';
    const dialogue = await logIn();
    await dialogue.passive();
    assert.equal(await dialogue.command('RETR short'), '226 done');
    const { bytes, outcome, reason } = await path.gateway.record('ftp-transfer');
    assert.deepEqual({ bytes, outcome, reason }, { bytes: 0, outcome: 'failed', reason: 'ftp-transfer-failed' });
  });

  it('keeps two identities apart that use it at the same moment, each with ports of its own block', async () => {
    const block = (first: number) => ({ ipv4: { address: snatAddress as IpAddress, ports: { first, last: first + 15 } } });
    await open({ grants: [grantTo('bookinfo', snatAddress, { snat: block(20_000) }), grantTo('reports', snatAddress, { snat: block(20_016) })] });
    await Promise.all(
      [owner, stranger, owner, stranger].map(async (identity) => {
        const dialogue = await logIn(identity);
        const content = readToEnd(await connectData(identity, await dialogue.passive()));
        assert.equal(await dialogue.command('RETR x'), '226 done');
        assert.deepEqual(await content, statement);
      }),
    );
    const opened = path.gateway.records.filter((record) => record.type === 'connection-opened' && record.channel === 'ftp-data').map((record) => record as Extract<LedgerRecord, { type: 'connection-opened' }>);
    assert.equal(opened.length, 4);
    for (const { spiffeId, snatPort } of opened) assert.equal(Math.floor((snatPort - 20_000) / 16), spiffeId === productpage ? 0 : 1);
  });

  it('gives nothing to who comes from another address than the server’s, and the server the transfer', async () => {
    await open();
    const dialogue = await logIn();
    const content = readToEnd(await connectData(owner, await dialogue.passive()));
    assert.deepEqual(await Promise.all([knock(places[0]!), knock(places[0]!), knock(places[0]!, '127.0.0.9')]), [Buffer.alloc(0), Buffer.alloc(0), Buffer.alloc(0)]);
    assert.match((await deniedFor('ftp-data-address-mismatch')).detail, /^127\.0\.0\.(66|9):\d+ came for a data connection of 127\.0\.0\.1$/);
    assert.equal(await dialogue.command('RETR x'), '226 done');
    assert.deepEqual(await content, statement);
  });

  it('lets nobody have a port twice, and listens no more when it was used', async () => {
    await open();
    const dialogue = await logIn();
    const content = readToEnd(await connectData(owner, await dialogue.passive()));
    assert.equal(await dialogue.command('RETR x'), '226 done');
    await content;
    const again = net.connect({ ...places[0]!, localAddress: loopback });
    await assert.rejects(once(again, 'connect'), { code: 'ECONNREFUSED' });
  });

  it('listens no more when another port is asked for, and when the session ends', async () => {
    await open();
    const dialogue = await logIn();
    await dialogue.passive();
    await dialogue.passive();
    const isClosed = async (place: Place) => assert.rejects(once(net.connect({ ...place, localAddress: loopback }), 'connect'), { code: 'ECONNREFUSED' });
    await isClosed(places[0]!);
    dialogue.socket.destroy();
    await path.gateway.record('connection-closed');
    await isClosed(places[1]!);
  });

  it('answers 425 where the server refuses its port, and says so', async () => {
    await open();
    portAnswer = '500 Illegal PORT command.';
    const dialogue = await logIn();
    assert.match(await dialogue.command('EPSV'), /^425 /);
    assert.match(await dialogue.command('PASV'), /^425 /);
    assert.equal((await deniedFor('ftp-active-refused')).detail, 'the server refused PORT with 500');
    assert.equal(await dialogue.command('NOOP'), '200 ok');
    assert.equal(places.length, 2);
  });

  it('answers 425 where no port of its block is free, says so, and finds one that is given back', async () => {
    const snat = { ipv4: { address: snatAddress as IpAddress, ports: { first: 20_100, last: 20_100 } } };
    await open({ grants: [grantTo('bookinfo', snatAddress, { snat })] });
    const dialogue = await logIn(); // from the one port, which may be listened on beside: the connections' other ends differ
    const other = await startServer(() => undefined, { address: snatAddress as IpAddress, port: 20_100 }); // as another thread may
    assert.match(await dialogue.command('EPSV'), /^425 /);
    assert.match((await deniedFor('snat-ports-exhausted')).detail, /127\.0\.0\.1/);
    await other.stop();
    assert.match(await dialogue.command('EPSV'), /^229 /);
    assert.match(await dialogue.command('EPSV'), /^229 /);
    const content = readToEnd(await connectData(owner, await dialogue.passive()));
    assert.equal(await dialogue.command('RETR x'), '226 done');
    assert.deepEqual(await content, statement);
    assert.deepEqual(places.map(({ port }) => port), [20_100, 20_100, 20_100]);
  });

  it('refuses a client that would be active, and the server hears nothing of it', async () => {
    await open();
    const dialogue = await logIn();
    assert.match(await dialogue.command('PORT 127,0,0,1,200,1'), /^502 /);
    assert.deepEqual(places, []);
  });

  it('gives up a data connection whose transfer the server refused', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    assert.equal(await dialogue.command('RETR missing'), '550 no such file');
    const content = readToEnd(data);
    await dialogue.passive();
    assert.equal((await content).length, 0);
  });

  it('ends session and transfer within a second when the grant is revoked, awaited ones too', async () => {
    await open();
    order = 'never-ends';
    const [running, waiting] = [await logIn(), await logIn()];
    const data = await connectData(owner, await running.passive());
    running.socket.write('RETR x\r\n');
    await once(data, 'data');
    const awaited = await connectData(owner, await waiting.passive());
    const closed = Promise.all([running.socket, waiting.socket, data, awaited].map(readToEnd));
    const begin = performance.now();
    await path.gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [servicePort({ protocol: 'FTP', dataMode: 'Active', targetPort: server.port, grants: [] })] });
    await closed;
    await until(() => path.gateway.dataPlane.connections === 0);
    assert.ok(performance.now() - begin < 1_000);
    await assert.rejects(once(net.connect({ ...places[1]!, localAddress: loopback }), 'connect'), { code: 'ECONNREFUSED' });
  });

  it('ends a data connection for which the server has come, and no client', async () => {
    await open({ limits: { ftpDataTimeoutMs: 200 } });
    const dialogue = await logIn();
    await dialogue.passive();
    const data = net.connect({ ...places[0]!, localAddress: loopback }).on('error', () => undefined);
    assert.equal((await readToEnd(data)).length, 0);
    await deniedFor('ftp-data-timeout');
  });

  it('ends a data connection to which the server never comes', async () => {
    await open({ limits: { idleTimeoutMs: 300 } });
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    assert.equal((await readToEnd(data)).length, 0);
    assert.match((await deniedFor('ftp-data-timeout')).detail, /the server made no data connection/);
  });
});
