import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { TLSSocket } from 'node:tls';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { Grant, Revision, Target } from '../../src/core/plan/plan.ts';
import { startFtpServer } from '../../src/demo/ftp-server.ts';
import type { DemoFtpServer } from '../../src/demo/ftp-server.ts';
import { converse, readToEnd } from '../support/ftp-dialogue.ts';
import type { Dialogue } from '../support/ftp-dialogue.ts';
import { openFtpPath, snatAddress } from '../support/ftp-path.ts';
import type { FtpPath } from '../support/ftp-path.ts';
import { batch, grantTo, productpage, servicePort, startServer, until } from '../support/gateway.ts';
import type { Issued } from '../support/pki.ts';

const statement = Buffer.from('the statement of the month\r\n'.repeat(20_000));
const slowBytesPerSecond = 1_000_000;

describe('ftp at the gateway', () => {
  const closing: (() => unknown)[] = [];
  let server: DemoFtpServer;
  let path: FtpPath;
  let owner: Issued;
  let stranger: Issued;

  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  async function open(options: { readonly serverPort?: number; readonly grants?: readonly Grant[]; readonly limits?: Parameters<typeof openFtpPath>[0]['limits'] } = {}): Promise<void> {
    server = await startFtpServer({ files: { '/statement.txt': statement, '/slow.bin': statement }, bytesPerSecond: (file) => (file === '/slow.bin' ? slowBytesPerSecond : Infinity) });
    closing.push(() => server.close());
    path = await openFtpPath({
      serverPort: options.serverPort ?? server.port,
      grants: options.grants ?? [grantTo('bookinfo', snatAddress), grantTo('reports', '127.0.1.12')],
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    closing.push(path.stop);
    owner = path.gateway.pki.issue(productpage);
    stranger = path.gateway.pki.issue(batch);
  }

  /** A server that greets, and answers each command as told; without an answer, with 200. */
  async function openScripted(answers: Readonly<Record<string, string>>): Promise<string[]> {
    const commands: string[] = [];
    const scripted = await startServer((socket) => {
      socket.write('220 ready\r\n');
      socket.on('end', () => socket.end());
      socket.on('data', (chunk: Buffer) => {
        for (const line of chunk.toString('latin1').split('\r\n').slice(0, -1)) {
          commands.push(line);
          socket.write(`${answers[line] ?? '200 ok'}\r\n`);
        }
      });
    });
    closing.push(() => scripted.stop());
    await open({ serverPort: scripted.port });
    return commands;
  }

  async function logIn(identity = owner): Promise<Dialogue> {
    const dialogue = converse(path.connect(identity));
    assert.match(await dialogue.reply(), /^220 /);
    assert.match(await dialogue.command('USER demo'), /^[23]\d\d /);
    assert.match(await dialogue.command('PASS s3cret'), /^2\d\d /);
    return dialogue;
  }

  async function connectData(identity: Issued, port: number): Promise<TLSSocket> {
    const socket = path.connect(identity, port);
    await once(socket, 'secureConnect');
    return socket;
  }

  const deniedFor = (reason: string): Promise<Extract<LedgerRecord, { type: 'connection-denied' }>> => path.gateway.record('connection-denied', (record) => record.reason === reason);

  it('carries control and data from the identity’s own address, and records both', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    const content = readToEnd(data);
    assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
    assert.deepEqual(await content, statement);
    assert.match(await dialogue.command('QUIT'), /^221 /);
    assert.deepEqual(server.connections.map(({ channel, address }) => [channel, address]), [['control', snatAddress], ['data', snatAddress]]);

    const control = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-control');
    const transfer = await path.gateway.record('connection-opened', ({ channel }) => channel === 'ftp-data');
    assert.equal(transfer.parentId, control.connectionId);
    assert.equal(transfer.snatPort, server.connections[1]!.port);
    const end = await path.gateway.record('connection-closed', ({ connectionId }) => connectionId === transfer.connectionId);
    assert.deepEqual([end.reason, end.bytesSent, end.bytesReceived], ['finished', 0, statement.length]);
    assert.equal((await path.gateway.record('connection-closed', ({ connectionId }) => connectionId === control.connectionId)).reason, 'finished');
    assert.doesNotMatch(JSON.stringify(path.gateway.records), /s3cret/);
  });

  it('keeps two identities apart that use it at the same moment', async () => {
    await open();
    const transfers = [owner, stranger, owner, stranger].map(async (identity) => {
      const dialogue = await logIn(identity);
      const data = await connectData(identity, await dialogue.passive());
      const content = readToEnd(data);
      assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
      assert.deepEqual(await content, statement);
      dialogue.socket.end();
    });
    await Promise.all(transfers);
    const count = (address: string) => server.connections.filter((seen) => seen.address === address).length;
    assert.deepEqual([count(snatAddress), count('127.0.1.12'), server.connections.length], [4, 4, 8]);
  });

  it('gives another identity that races for the data port nothing, and its owner the transfer', async () => {
    await open();
    const dialogue = await logIn();
    const port = await dialogue.passive();
    const stolen = await Promise.all(Array.from({ length: 3 }, async () => readToEnd(await connectData(stranger, port))));
    assert.deepEqual(stolen.map(({ length }) => length), [0, 0, 0]);
    const record = await deniedFor('ftp-data-identity-mismatch');
    assert.equal(record.spiffeId, batch);
    assert.notEqual(record.parentId, undefined);
    assert.equal(server.connections.length, 1, 'nothing was dialled for the stranger');

    const data = await connectData(owner, port);
    const content = readToEnd(data);
    assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
    assert.deepEqual(await content, statement);
  });

  it('lets nobody have a data port twice', async () => {
    await open();
    const dialogue = await logIn();
    const port = await dialogue.passive();
    const content = readToEnd(await connectData(owner, port));
    assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
    await content;
    await assert.rejects(connectData(owner, port));
  });

  it('closes a data port to which nobody comes, and the earlier one when another is asked for', async () => {
    await open({ limits: { ftpDataTimeoutMs: 200 } });
    const dialogue = await logIn();
    const first = await dialogue.passive();
    const second = await dialogue.passive();
    await assert.rejects(connectData(owner, first));
    await deniedFor('ftp-data-timeout');
    await assert.rejects(connectData(owner, second));
  });

  it('closes an unused data port with its session', async () => {
    await open();
    const dialogue = await logIn();
    const port = await dialogue.passive();
    dialogue.socket.destroy();
    await path.gateway.record('connection-closed', ({ target }) => target.endsWith(`:${server.port}`));
    await assert.rejects(connectData(owner, port));
  });

  it('lets a running transfer finish when its control connection is gone', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    const content = readToEnd(data);
    dialogue.socket.write('RETR slow.bin\r\n');
    await once(data, 'data');
    dialogue.socket.destroy();
    await path.gateway.record('connection-closed', ({ target }) => target.endsWith(`:${server.port}`));
    assert.deepEqual(await content, statement);
    await until(() => path.gateway.dataPlane.connections === 0);
  });

  it('ends session and transfer within a second when the grant is revoked', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    const content = readToEnd(data);
    dialogue.socket.write('RETR slow.bin\r\n');
    await once(data, 'data');
    const begin = performance.now();
    await path.gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [servicePort({ protocol: 'FTP', targetPort: server.port, grants: [] })] });
    assert.ok((await content).length < statement.length);
    assert.match(await dialogue.reply(), /^421 .*policy-revoked/);
    await until(() => path.gateway.dataPlane.connections === 0);
    assert.ok(performance.now() - begin < 1_000);
    const ends = path.gateway.records.filter((record) => record.type === 'connection-closed').map(({ reason }) => reason);
    assert.deepEqual(ends, ['policy-revoked', 'policy-revoked']);
  });

  it('ends session and transfer within a second when the server’s address is removed from the service', async () => {
    await open();
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    const content = readToEnd(data);
    dialogue.socket.write('RETR slow.bin\r\n');
    await once(data, 'data');
    const partner = servicePort({ protocol: 'FTP', targetPort: server.port, grants: [grantTo('bookinfo', snatAddress)] });
    const elsewhere: Target = { kind: 'address', address: '127.0.0.3' as IpAddress, port: server.port };
    const retarget = (...targets: Target[]) => path.gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [{ ...partner, targets }] });
    await retarget(elsewhere, ...partner.targets);
    await once(data, 'data');
    const begin = performance.now();
    await retarget(elsewhere);
    assert.ok((await content).length < statement.length);
    assert.match(await dialogue.reply(), /^421 .*target-removed/);
    await until(() => path.gateway.dataPlane.connections === 0);
    assert.ok(performance.now() - begin < 1_000);
    const ends = path.gateway.records.filter((record) => record.type === 'connection-closed').map(({ reason }) => reason);
    assert.deepEqual(ends, ['target-removed', 'target-removed']);
  });

  it('goes to its own server, whatever address the 227 names', async () => {
    const commands = await openScripted({ PASV: '227 Entering Passive Mode (192,0,2,1,200,1)' });
    const dialogue = await logIn();
    assert.match(await dialogue.command('PASV'), /^227 .*\(127,0,0,1,\d+,\d+\)/);
    assert.match((await deniedFor('ftp-passive-address-ignored')).detail, /192\.0\.2\.1.*127\.0\.0\.1/);
    assert.deepEqual(commands, ['USER demo', 'PASS s3cret', 'PASV']);
  });

  it('tells by the end of the data connection that the server does not take it', async () => {
    const taken = await startServer((socket) => socket.destroy());
    await taken.stop(); // the port is free now, and nobody listens
    await openScripted({ EPSV: `229 ok (|||${taken.port}|)` });
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    assert.equal((await readToEnd(data)).length, 0);
    const record = await deniedFor('connect-failed');
    assert.notEqual(record.parentId, undefined);
    assert.equal(await dialogue.command('NOOP'), '200 ok');
  });

  it('refuses what it cannot carry, and the server hears nothing of it', async () => {
    const commands = await openScripted({});
    const dialogue = await logIn();
    for (const [command, code] of [['PORT 127,0,0,1,4,1', '502'], ['EPRT |1|127.0.0.1|1025|', '502'], ['AUTH TLS', '534'], ['PROT P', '503']] as const) {
      assert.equal((await dialogue.command(command)).slice(0, 3), code);
    }
    assert.equal((await deniedFor('ftp-command-refused')).detail, 'PORT is not available');
    assert.deepEqual(commands, ['USER demo', 'PASS s3cret']);
  });

  const faults: readonly (readonly [what: string, answers: Readonly<Record<string, string>>, command: string, reason: string])[] = [
    ['a 227 that cannot be parsed', { PASV: '227 somewhere' }, 'PASV', 'ftp-reply-unparsable'],
    ['a reply without a code', { NOOP: 'hello' }, 'NOOP', 'ftp-reply-unparsable'],
    ['a command of a million bytes', {}, 'x'.repeat(1_000_000), 'ftp-line-too-long'],
    ['a reply of a million bytes', { NOOP: '2'.repeat(1_000_000) }, 'NOOP', 'ftp-line-too-long'],
  ];
  for (const [what, answers, command, reason] of faults) {
    it(`ends a session with 421 for ${what}`, async () => {
      await openScripted(answers);
      const dialogue = await logIn();
      assert.match(await dialogue.command(command), /^421 /);
      assert.equal(await dialogue.reply(), 'closed');
      assert.equal((await path.gateway.record('connection-closed')).reason, reason);
    });
  }

  it('ends an idle session, but not while a transfer runs', async () => {
    await open({ limits: { idleTimeoutMs: 300 } });
    const dialogue = await logIn();
    const data = await connectData(owner, await dialogue.passive());
    const content = readToEnd(data);
    const begin = performance.now();
    assert.match(await dialogue.command('RETR slow.bin'), /^226 /);
    assert.ok(performance.now() - begin > 400, 'the transfer outlasted the idle timeout');
    assert.deepEqual(await content, statement);
    assert.match(await dialogue.reply(), /^421 .*idle-timeout/);
  });

  it('says 421 where the server cannot be reached', async () => {
    const taken = await startServer((socket) => socket.destroy());
    await taken.stop();
    await open({ serverPort: taken.port });
    const dialogue = converse(path.connect(owner));
    assert.match(await dialogue.reply(), /^421 /);
    await deniedFor('connect-failed');
    await until(() => path.gateway.dataPlane.connections === 0);
  });

  it('lets whom no policy names hear no greeting', async () => {
    await open({ grants: [grantTo('bookinfo', snatAddress)] });
    assert.equal((await readToEnd(path.connect(stranger))).length, 0);
    await deniedFor('no-policy');
    assert.equal(server.connections.length, 0);
  });
});
