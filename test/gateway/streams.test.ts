import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { grantTo, loopback, productpage, readAll, servicePort, startGateway, startServer, until, type TestGateway, type TestServer } from '../support/gateway.ts';

describe('a stream through the gateway', () => {
  let gateway: TestGateway;
  let server: TestServer;
  let onConnection: (socket: net.Socket) => void;

  before(async () => {
    server = await startServer((socket) => onConnection(socket));
    gateway = await startGateway({ servicePorts: [servicePort({ targetPort: server.port, grants: [grantTo('bookinfo', '127.0.1.11')] })], limits: { idleTimeoutMs: 1_500, connectTimeoutMs: 500 } });
  });
  after(async () => {
    await gateway.stop();
    await server.stop();
  });
  beforeEach(() => {
    gateway.records.length = 0;
  });
  afterEach(() => until(() => gateway.dataPlane.connections === 0 && server.sockets.size === 0, () => `${gateway.dataPlane.connections} connections are left`));

  const connect = () => gateway.connect(gateway.pki.issue(productpage), { allowHalfOpen: true } as object);

  it('passes a half-close on, and the answer after it', async () => {
    onConnection = (socket) => {
      const hash = createHash('sha256');
      socket.on('data', (bytes: Buffer) => hash.update(bytes));
      socket.on('end', () => socket.end(hash.digest('hex')));
    };
    const sent = randomBytes(3 << 20);
    const client = connect();
    client.end(sent);
    assert.equal(await readAll(client), createHash('sha256').update(sent).digest('hex'));
    assert.equal((await gateway.record('connection-closed')).bytesSent, sent.length);
  });

  it('passes the server\'s half-close on while the client still sends', async () => {
    const heard: Buffer[] = [];
    onConnection = (socket) => {
      socket.end('done');
      socket.on('data', (bytes: Buffer) => heard.push(bytes));
    };
    const client = connect();
    assert.equal(await readAll(client), 'done');
    client.end('still here');
    await gateway.record('connection-closed', ({ reason }) => reason === 'finished');
    assert.equal(String(Buffer.concat(heard)), 'still here');
  });

  it('keeps memory bounded for a slow reader, and loses nothing', async () => {
    const total = 96 << 20;
    let written = 0;
    onConnection = (socket) => {
      const chunk = Buffer.alloc(1 << 16, 's');
      const write = (): void => {
        while (written < total) {
          written += chunk.length;
          if (!socket.write(chunk)) return;
        }
        socket.end();
      };
      socket.on('drain', write);
      write();
    };
    const client = connect();
    await once(client, 'readable'); // and read no further
    let before = -1;
    let checkedAtMs = 0;
    await until(() => {
      if (performance.now() - checkedAtMs < 150) return false;
      checkedAtMs = performance.now();
      const still = written === before;
      before = written;
      return still;
    });
    assert.ok(written < total / 2, `${written} bytes were taken from the server for a client that does not read`);
    let received = 0;
    client.on('data', (bytes: Buffer) => (received += bytes.length));
    client.resume();
    await once(client, 'end');
    client.end();
    assert.equal(received, total);
  });

  it('ends with a reset when the client vanishes, and the server learns of it', async () => {
    const broken = new Promise<string | undefined>((resolve) => {
      onConnection = (socket) => socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code)).resume();
    });
    const carrier = net.connect(gateway.port, loopback);
    const client = gateway.connect(gateway.pki.issue(productpage), { socket: carrier });
    client.write('x');
    await gateway.record('connection-opened');
    carrier.resetAndDestroy();
    assert.equal(await broken, 'ECONNRESET');
    assert.equal((await gateway.record('connection-closed')).reason, 'client-closed');
  });

  it('ends with a reset when the server resets, and says so', async () => {
    onConnection = (socket) => socket.once('data', () => socket.resetAndDestroy());
    const client = connect();
    client.write('x');
    await readAll(client);
    assert.equal((await gateway.record('connection-closed')).reason, 'target-reset');
  });

  it('ends when nothing moves for the idle timeout', async () => {
    onConnection = (socket) => socket.resume();
    const client = connect();
    client.on('data', () => undefined);
    await gateway.record('connection-closed', ({ reason }) => reason === 'idle-timeout');
  });

  it('is refused, with the reason, when the target cannot be reached', async () => {
    const refusing = await startServer(() => undefined);
    await refusing.stop();
    await gateway.dataPlane.update({ revision: '2' as never, servicePorts: [servicePort({ name: 'nobody', targetPort: refusing.port, grants: [grantTo('bookinfo', '127.0.1.11')] })] });
    const client = gateway.connect(gateway.pki.issue(productpage), { servername: 'nobody.egress.svc.cluster.local' });
    assert.equal(await readAll(client), '');
    const denied = await gateway.record('connection-denied');
    assert.equal(denied.reason, 'connect-failed');
    assert.match(denied.detail, /ECONNREFUSED/);
  });
});
