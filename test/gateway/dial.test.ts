import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { SnatSource, Target } from '../../src/core/plan/plan.ts';
import { createSnatPorts } from '../../src/core/snat/snat-ports.ts';
import { createDial, streams, type DialOutcome, type DialRequest } from '../../src/gateway/dial.ts';
import { createHostLookup } from '../../src/gateway/host-lookup.ts';
import { loopback, startServer, until, type TestServer } from '../support/gateway.ts';

const snatFrom = (address: string, first = 1024, last = 65535): SnatSource => ({ ipv4: { address: address as IpAddress, ports: { first, last } } });
const at = (address: string, port: number): Target => ({ kind: 'address', address: address as IpAddress, port });

const endTogether = (socket: net.Socket): void => void socket.on('end', () => socket.end()).resume();

describe('dialling from an identity\'s address', () => {
  let server: TestServer;
  const sockets: net.Socket[] = [];
  const hosts = new Map<string, () => Promise<readonly { address: string }[]>>();
  const ports = createSnatPorts(0);
  const dial = createDial(streams, { ports, lookup: createHostLookup((host) => hosts.get(host)!()), now: Date.now });

  async function dialling(request: Partial<DialRequest> & Pick<DialRequest, 'targets'>): Promise<DialOutcome> {
    const outcome = await dial({ snat: snatFrom('127.0.1.41'), connectTimeoutMs: 1_000, ...request });
    if (outcome.ok) sockets.push(outcome.socket);
    return outcome;
  }

  async function failing(request: Parameters<typeof dialling>[0]): Promise<Extract<DialOutcome, { ok: false }>> {
    const outcome = await dialling(request);
    assert.ok(!outcome.ok);
    return outcome;
  }

  before(async () => {
    server = await startServer(endTogether);
  });
  after(() => server.stop());
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await until(() => server.sockets.size === 0);
    server.clients.length = 0;
  });

  it('tries the targets in turn', async () => {
    const outcome = await dialling({ targets: [at(loopback, 1), at('127.0.0.9', 1), at(loopback, server.port)] });
    assert.ok(outcome.ok);
    assert.deepEqual(server.clients, [`127.0.1.41:${outcome.local.port}`]);
    assert.deepEqual(outcome.remote, { address: loopback, port: server.port });
  });

  it('tells of every target that failed', async () => {
    const { reason, detail } = await failing({ targets: [at(loopback, 1), at('127.0.0.9', 1)] });
    assert.equal(reason, 'connect-failed');
    assert.match(detail, /127\.0\.0\.1:1 .*ECONNREFUSED; .*127\.0\.0\.9:1 .*ECONNREFUSED/);
  });

  it('resolves a host anew each time and tries every address of it', async () => {
    let asked = 0;
    hosts.set('partner.example', () => Promise.resolve(asked++ === 0 ? [{ address: '127.0.0.9' }, { address: loopback }] : [{ address: '127.0.0.9' }]));
    const target: Target = { kind: 'host', host: 'partner.example', port: server.port };
    const first = await dialling({ targets: [target] });
    assert.ok(first.ok && first.remote.address === loopback);
    assert.equal((await failing({ targets: [target] })).reason, 'connect-failed');
    assert.equal(asked, 2);
  });

  it('resolves a real name by the system', async () => {
    const real = createDial(streams, { ports, lookup: createHostLookup(), now: Date.now });
    const outcome = await real({ snat: snatFrom('127.0.1.41'), targets: [{ kind: 'host', host: 'localhost', port: server.port }], connectTimeoutMs: 1_000 });
    assert.ok(outcome.ok);
    sockets.push(outcome.socket);
  });

  it('bounds a resolver that fails, and one that never answers', async () => {
    hosts.set('nowhere.example', () => Promise.reject(Object.assign(new Error('no such host'), { code: 'ENOTFOUND' })));
    const unknown = await failing({ targets: [{ kind: 'host', host: 'nowhere.example', port: 1 }] });
    assert.deepEqual([unknown.reason, unknown.detail], ['connect-failed', '"nowhere.example" could not be resolved: ENOTFOUND']);
    hosts.set('silent.example', () => new Promise(() => undefined));
    const silent = await failing({ targets: [{ kind: 'host', host: 'silent.example', port: 1 }], connectTimeoutMs: 100 });
    assert.equal(silent.reason, 'connect-timeout');
  });

  it('asks for a name once for all that wait for it, and for a bounded number of names', async () => {
    const pending: (() => void)[] = [];
    let asked = 0;
    const lookup = createHostLookup(() => new Promise((resolve) => pending.push(() => resolve([{ address: loopback }])) && (asked += 1)));
    const same = Array.from({ length: 10 }, () => lookup('same.example', 1_000));
    const others = Array.from({ length: 63 }, (_, index) => lookup(`${index}.example`, 1_000));
    const beyond = await lookup('beyond.example', 1_000);
    assert.equal(beyond.ok, false);
    assert.equal(asked, 64);
    for (const answer of pending) answer();
    for (const outcome of await Promise.all([...same, ...others])) assert.equal(outcome.ok, true);
  });

  it('refuses a target of a family that the identity has no address of, and tries the others', async () => {
    const { reason, detail } = await failing({ targets: [at('2001:db8::1', 21)] });
    assert.equal(reason, 'snat-family-mismatch');
    assert.match(detail, /\[2001:db8::1\]:21 needs an IPv6 source address/);
    assert.ok((await dialling({ targets: [at('2001:db8::1', server.port), at(loopback, server.port)] })).ok);
    assert.equal((await failing({ targets: [at('2001:db8::1', 21), at(loopback, 1)] })).reason, 'connect-failed');
  });

  it('leaves only from ports of the holder\'s block, uses each once for a destination, and says when they are gone', async () => {
    const snat = snatFrom('127.0.1.42', 7000, 7004);
    for (let count = 0; count < 5; count++) assert.ok((await dialling({ snat, targets: [at(loopback, server.port)] })).ok);
    assert.deepEqual(server.clients.map((client) => client.split(':')[1]).sort(), ['7000', '7001', '7002', '7003', '7004']);
    const { reason, detail } = await failing({ snat, targets: [at(loopback, server.port)] });
    assert.equal(reason, 'snat-ports-exhausted');
    assert.match(detail, /127\.0\.1\.42:7000-7004/);
    const other = await startServer(endTogether);
    assert.ok((await dialling({ snat, targets: [at(loopback, other.port)] })).ok, 'the same ports serve another destination');
    for (const socket of sockets.splice(0)) socket.destroy();
    await other.stop();
  });

  it('gives a port back when its connection is closed', async () => {
    const snat = snatFrom('127.0.1.43', 7100, 7101);
    const target = at(loopback, server.port);
    for (let round = 0; round < 2; round++) assert.ok((await dialling({ snat, targets: [target] })).ok);
    const serverSide = [...server.sockets];
    for (const socket of serverSide) socket.destroy(); // so that TIME_WAIT is the server's
    for (const socket of sockets.splice(0)) {
      socket.resume();
      socket.end();
      await once(socket, 'close');
    }
    assert.equal(ports.taken(snat.ipv4!, `127.0.0.1:${server.port}`), 0);
  });

  it('takes another port when the kernel says that one is taken', async () => {
    const blocker = net.connect({ host: loopback, port: server.port, localAddress: '127.0.1.44', localPort: 7200 });
    const listener = net.createServer().listen(7201, '127.0.1.44');
    await Promise.all([once(blocker, 'connect'), once(listener, 'listening')]);
    const outcome = await dialling({ snat: snatFrom('127.0.1.44', 7200, 7202), targets: [at(loopback, server.port)] });
    assert.ok(outcome.ok && outcome.local.port === 7202, JSON.stringify(outcome));
    assert.equal((await failing({ snat: snatFrom('127.0.1.44', 7200, 7202), targets: [at(loopback, server.port)] })).reason, 'snat-ports-exhausted');
    assert.equal(ports.taken(snatFrom('127.0.1.44', 7200, 7202).ipv4!, `127.0.0.1:${server.port}`), 1, 'refused ports are not kept');
    blocker.destroy();
    listener.close();
  });

  it('says so when the source address is not this host\'s', async () => {
    const { reason, detail } = await failing({ snat: snatFrom('192.0.2.77'), targets: [at(loopback, server.port)] });
    assert.deepEqual([reason, detail], ['connect-failed', 'the source address 192.0.2.77 is not an address of this host']);
  });

  it('gives up when the client does', async () => {
    hosts.set('slow.example', () => new Promise((resolve) => setTimeout(() => resolve([{ address: loopback }]), 50)));
    const leaving = new AbortController();
    const outcome = dialling({ targets: [{ kind: 'host', host: 'slow.example', port: server.port }], signal: leaving.signal });
    leaving.abort();
    const left = await outcome;
    assert.ok(!left.ok && left.reason === 'client-closed');
    assert.deepEqual(server.clients, []);
  });

  it('leaves time for the next target when one does not answer', async () => {
    // A process that has stopped accepts nothing, and with its backlog full the kernel answers no further SYN.
    const script = "const s = require('node:net').createServer().listen({port: 0, host: '127.0.0.8', backlog: 1}, () => console.log(s.address().port))";
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const fillers: net.Socket[] = [];
    try {
      const port = Number(String((await once(child.stdout, 'data'))[0]));
      child.kill('SIGSTOP');
      for (let count = 0; count < 4; count++) fillers.push(net.connect(port, '127.0.0.8').on('error', () => undefined));
      await until(() => fillers.filter(({ connecting }) => !connecting).length === 2);
      const startedAtMs = performance.now();
      const { reason, detail } = await failing({ targets: [at('127.0.0.8', port), at(loopback, 1)], connectTimeoutMs: 2_400 });
      assert.ok(performance.now() - startedAtMs < 2_300);
      assert.equal(reason, 'connect-failed');
      assert.match(detail, /127\.0\.0\.8:[0-9]+ did not answer within 2000 ms; .*127\.0\.0\.1:1 failed with ECONNREFUSED/);
      assert.equal((await failing({ targets: [at('127.0.0.8', port)], connectTimeoutMs: 100 })).reason, 'connect-timeout');
    } finally {
      for (const socket of fillers) socket.destroy();
      child.kill('SIGKILL');
    }
  });
});
