import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';
import type { Revision } from '../../src/core/plan/plan.ts';
import { startFtpServer, type DemoFtpServer } from '../../src/demo/ftp-server.ts';
import { keepConnection, type KeptConnection } from '../../src/relay/kept-connection.ts';
import { converse, readToEnd, type Dialogue } from '../support/ftp-dialogue.ts';
import { openFtpPath, snatAddress, type FtpPath } from '../support/ftp-path.ts';
import { batch, grantTo, productpage, servicePort, until } from '../support/gateway.ts';
import type { Issued } from '../support/pki.ts';

const statement = Buffer.from('the statement of the month\r\n'.repeat(20_000));

describe('data connections that an agent keeps', () => {
  let server: DemoFtpServer;
  let path: FtpPath;
  let owner: Issued;
  const sockets: net.Socket[] = [];

  beforeEach(async () => {
    server = await startFtpServer({ files: { '/statement.txt': statement } });
    path = await openFtpPath({ serverPort: server.port, grants: [grantTo('bookinfo', snatAddress), grantTo('reports', '127.0.1.12')] });
    owner = path.gateway.pki.issue(productpage);
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await path.stop();
    server.close();
  });

  async function logIn(socket: net.Socket = path.connect(owner)): Promise<Dialogue> {
    sockets.push(socket);
    const dialogue = converse(socket);
    assert.match(await dialogue.reply(), /^220 /);
    assert.match(await dialogue.command('USER demo'), /^[23]\d\d /);
    assert.match(await dialogue.command('PASS s3cret'), /^2\d\d /);
    return dialogue;
  }

  const opened = () => path.gateway.records.flatMap((record) => (record.type === 'connection-opened' && record.channel === 'ftp-data' ? [record] : []));
  const clients = () => opened().map(({ client }) => client);

  /** What the gateway says to an agent: the port, and whether the connection is kept. */
  async function askToKeep(dialogue: Dialogue): Promise<number> {
    const port = /^229 Kept data connection \(\|\|\|(\d+)\|\)$/.exec(await dialogue.command('EPSV KEEP'))?.[1];
    assert.ok(port !== undefined);
    return Number(port);
  }

  async function connectData(identity: Issued, port: number): Promise<TLSSocket> {
    const socket = path.connect(identity, port);
    sockets.push(socket);
    await once(socket, 'secureConnect');
    return socket;
  }

  async function fetchStatement(dialogue: Dialogue, connection: KeptConnection): Promise<void> {
    const transfer = connection.begin();
    transfer.end();
    const content = buffer(transfer);
    assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
    assert.deepEqual(await content, statement);
    await until(() => connection.isIdle);
  }

  /** Long before it would have waited for too long. */
  async function closing({ closed }: KeptConnection): Promise<void> {
    let isClosed = false;
    void closed.then(() => (isClosed = true));
    await until(() => isClosed);
  }

  it('carry the transfers of a session one after the other, each with a record of its own', async () => {
    const dialogue = await logIn(net.connect(path.agentPort, '127.0.0.1'));
    for (let file = 0; file < 5; file += 1) {
      const content = readToEnd(net.connect(await dialogue.passive(), '127.0.0.1'));
      assert.match(await dialogue.command('RETR statement.txt'), /^226 /);
      assert.deepEqual(await content, statement);
      await until(() => path.gateway.records.filter(({ type }) => type === 'connection-closed').length === file + 1);
    }
    assert.equal(new Set(clients()).size, 1, clients().join());
    assert.equal(new Set(opened().map(({ connectionId }) => connectionId)).size, 5);
    const received = path.gateway.records.flatMap((record) => (record.type === 'connection-closed' ? [record.bytesReceived] : []));
    assert.deepEqual(received, Array.from({ length: 5 }, () => statement.length), 'what the transfer had, and no frames');
  });

  it('are a session’s own: nobody comes to their port any more, and another session of the identity has another', async () => {
    const first = await logIn();
    const port = await askToKeep(first);
    const connection = keepConnection(await connectData(owner, port));
    await fetchStatement(first, connection);
    for (const identity of [owner, path.gateway.pki.issue(batch)]) await assert.rejects(connectData(identity, port), /ECONNREFUSED/);
    const second = await logIn();
    assert.notEqual(await askToKeep(second), port);
    assert.equal(await askToKeep(first), port);
    await fetchStatement(first, connection);
    assert.equal(server.connections.filter(({ channel }) => channel === 'data').length, 2);
  });

  it('are given up with an offer that was not used, for its transfer may still be on the way', async () => {
    const dialogue = await logIn();
    const port = await askToKeep(dialogue);
    const connection = keepConnection(await connectData(owner, port));
    await fetchStatement(dialogue, connection);
    assert.equal(await askToKeep(dialogue), port);
    await askToKeep(dialogue);
    await closing(connection);
  });

  it('are not kept longer than a transfer where they have another certificate than the control connection, which may be revoked apart', async () => {
    const dialogue = await logIn();
    const connection = keepConnection(await connectData(path.gateway.pki.issue(productpage), await askToKeep(dialogue)));
    await fetchStatement(dialogue, connection);
    await closing(connection);
  });

  it('end with their session', async () => {
    const dialogue = await logIn();
    const connection = keepConnection(await connectData(owner, await askToKeep(dialogue)));
    await fetchStatement(dialogue, connection);
    dialogue.socket.destroy();
    await closing(connection);
  });

  it('end when the grant is revoked, also while they wait', async () => {
    const dialogue = await logIn();
    const connection = keepConnection(await connectData(owner, await askToKeep(dialogue)));
    await fetchStatement(dialogue, connection);
    await path.gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [servicePort({ protocol: 'FTP', targetPort: server.port, grants: [] })] });
    await closing(connection);
    assert.match(await dialogue.reply(), /^421 .*policy-revoked/);
  });

  it('are not awaited for ever by who has come and begins nothing', async () => {
    const dialogue = await logIn();
    const socket = await connectData(owner, await askToKeep(dialogue));
    socket.resume();
    await once(socket, 'close'); // after ftpDataTimeoutMs
    assert.equal(opened().length, 0);
  });
});
