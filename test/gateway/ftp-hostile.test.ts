import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { openFtpPath, snatAddress } from '../support/ftp-path.ts';
import type { FtpPath } from '../support/ftp-path.ts';
import { batch, grantTo, loopback, productpage, startServer, until } from '../support/gateway.ts';
import type { TestServer } from '../support/gateway.ts';
import type { Issued } from '../support/pki.ts';

const otherAddress = '127.0.1.12';

const bytes = fc.uint8Array({ minLength: 1, maxLength: 30 }).map((array) => Buffer.from(array).toString('latin1'));
const command = fc.constantFrom('EPSV', 'PASV', 'EPSV', 'EPSV ALL', 'PORT 127,0,0,1,200,1', 'RETR x', 'STOR x', 'LIST', 'NOOP', '\xff\xf4\xff\xf2ABOR', 'NO\0OP').map((line) => `${line}\r\n`);
const reply = fc.constantFrom('200 ok', '150 go', '226 done', '227 (192,0,2,1,200,1)', '229 (|||22|)', '425 no', '226-\r\n226 done', '227-', '421 bye').map((line) => `${line}\r\n`);

/** What both sides do. The server answers each command rightly, where its next answer is null, or as it likes. */
const script = fc.record({
  sent: fc.array(fc.record({ text: fc.oneof({ weight: 9, arbitrary: command }, { weight: 1, arbitrary: bytes }), cut: fc.nat(12), pauseMs: fc.nat(3) }), { minLength: 3, maxLength: 15 }),
  answers: fc.array(fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: reply }, { weight: 1, arbitrary: bytes }), { minLength: 15, maxLength: 15 }),
});
type Script = typeof script extends fc.Arbitrary<infer Value> ? Value : never;

describe('ftp at the gateway, between a hostile client and a hostile server', function () {
  this.timeout(60_000);
  for (const dataMode of ['Passive', 'Active'] as const) {
    it(`whose data mode is ${dataMode}, neither crashes nor hangs, connects elsewhere or mixes identities up`, async () => {
      const data = await startDataServer();
      const server = await startServer((socket) => socket.write('220 ready\r\n'));
      const path = await openFtpPath({ serverPort: server.port, dataMode, grants: [grantTo('bookinfo', snatAddress), grantTo('reports', otherAddress)], limits: { ftpDataTimeoutMs: 300 } });
      const [owner, stranger] = [path.gateway.pki.issue(productpage), path.gateway.pki.issue(batch)];
      try {
        await fc.assert(
          fc.asyncProperty(script, script, async (one, other) => {
            await Promise.all([play({ path, server, data, identity: owner, stranger, source: snatAddress }, one), play({ path, server, data, identity: stranger, stranger: owner, source: otherAddress }, other)]);
            await until(() => path.gateway.dataPlane.connections === 0, () => 'a session is left');
          }),
          { numRuns: 25, endOnFailure: true }, // timing decides too, so a smaller script would prove nothing
        );
        for (const record of path.gateway.records) {
          if (record.type !== 'connection-opened') continue;
          assert.equal(record.snatAddress, record.spiffeId === productpage ? snatAddress : otherAddress);
          assert.match(record.target, /^127\.0\.0\.1:[0-9]{4,5}$/);
        }
        const transfers = path.gateway.records.filter((record) => record.type === 'connection-closed' && record.parentId !== undefined && record.bytesReceived > 0);
        assert.notEqual(transfers.length, 0, 'no transfer came about');
        assert.doesNotMatch(JSON.stringify(path.gateway.records), /127\.0\.0\.1:22\b/, 'a well-known service was dialled');
      } finally {
        await path.stop();
        await server.stop();
        data.close();
      }
    });
  }
});

/** A server's passive port, for everybody: it tells each connection where it came from. */
async function startDataServer(): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`for ${socket.remoteAddress}\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, loopback, resolve));
  return server;
}

interface Players {
  readonly path: FtpPath;
  readonly server: TestServer;
  readonly data: net.Server;
  /** Whose session it is, and who wants what comes of it. */
  readonly identity: Issued;
  readonly stranger: Issued;
  /** Where `identity` leaves from. */
  readonly source: string;
}

async function play({ path, server, data, identity, stranger, source }: Players, { sent, answers }: Script): Promise<void> {
  const client = path.connect(identity);
  const sockets: Socket[] = [client];
  let replies = '';
  client.on('data', (chunk: Buffer) => {
    replies += chunk.toString('latin1');
    const ports = [...replies.matchAll(/^22[79] .*\((?:127,0,0,1,(\d+),(\d+)|\|\|\|(\d+)\|)\)\.?\r\n/gm)].map(([, high, low, port]) => Number(port ?? Number(high) * 256 + Number(low)));
    for (const port of ports) sockets.push(takeData(path.connect(stranger, port), 'nobody'), takeData(path.connect(identity, port), source));
    replies = replies.slice(replies.lastIndexOf('\n') + 1);
  });
  const reached = () => [...server.sockets].find((socket) => socket.remoteAddress === source && !socket.destroyed);
  await until(() => reached() !== undefined, () => 'the server was not reached');
  const control = reached()!;
  const { port } = data.address() as AddressInfo;
  const rest = [...answers];
  const rightAnswers: Readonly<Record<string, string>> = { EPSV: `229 (|||${port}|)`, PASV: `227 (127,0,0,1,${port >> 8},${port & 255})`, RETR: '150 go\r\n226 done', STOR: '150 go\r\n226 done', LIST: '226 done' };
  control.on('data', (chunk: Buffer) => {
    for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
      const [verb = '', argument = ''] = line.split(' ');
      if (verb === 'PORT') sockets.push(...knock(argument.split(',').map(Number), source));
      if (control.writable) control.write(rest.shift() ?? `${rightAnswers[verb] ?? '200 ok'}\r\n`, 'latin1');
    }
  });
  for (const { text, cut, pauseMs } of sent) {
    for (const part of [text.slice(0, cut), text.slice(cut)]) {
      if (client.writable && part !== '') client.write(part, 'latin1');
      await new Promise((resolve) => setTimeout(resolve, pauseMs)); // so that some transfers come about and others break off
    }
  }
  for (const socket of [control, ...sockets]) socket.destroy();
}

/** What comes to an active server's port: the server, and somebody else. */
function knock([a, b, c, d, high = 0, low = 0]: readonly number[], source: string): Socket[] {
  assert.equal([a, b, c, d].join('.'), source, 'the server is sent to its own client’s address');
  return ['127.0.0.66', loopback].map((localAddress) => {
    const socket = net.connect({ host: source, port: high * 256 + low, localAddress }).on('error', () => undefined);
    return socket.end(`for ${localAddress === loopback ? source : 'somebody else'}\n`).resume();
  });
}

/** An end of a transfer. Whatever comes there must be meant for who is there. */
function takeData(socket: Socket, source: string): Socket {
  let text = '';
  return socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
    assert.ok(`for ${source}\n`.startsWith(text), `the client at ${source} has got ${JSON.stringify(text)}`);
  });
}
