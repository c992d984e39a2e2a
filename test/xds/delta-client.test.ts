import assert from 'node:assert/strict';
import net from 'node:net';
import { credentials, status } from '@grpc/grpc-js';
import type { DeltaUpdate } from '../../src/xds/index.ts';
import { createLoopback, NODE, until } from './loopback.ts';
import { fruit, FRUIT } from './stream-play.ts';

const told = ({ systemVersion, changed, removed }: DeltaUpdate): unknown => [systemVersion, changed.map(({ name, value }) => `${name}=${Buffer.from(value).toString()}`), removed];

describe('the Delta client, over gRPC', () => {
  const loopback = createLoopback();
  afterEach(() => loopback.stopAll());

  it('is told of what there is, of what changes and of what is removed', async () => {
    const { address, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1', pear: '1' }));
    const client = loopback.connect(address);
    await until(() => client.updates.length === 1, 'the first update');
    await until(() => cache.status()[0]?.streams[0]?.types[0]?.state === 'SYNCED', 'the acknowledgement');
    cache.setSnapshot(NODE, fruit('r2', { apple: '2' }));
    await until(() => client.updates.length === 2, 'the second update');
    assert.deepEqual(client.updates.map(told), [['r1', ['apple=1', 'pear=1'], []], ['r2', ['apple=2'], ['pear']]]);
    assert.equal(client.connected, true);
  });

  it('takes the resources that it names and no others', async () => {
    const { address, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1', pear: '1' }));
    const client = loopback.connect(address, { subscriptions: [{ typeUrl: FRUIT, names: ['pear', 'plum'] }, { typeUrl: 'none', names: [] }] });
    await until(() => client.updates.length === 1, 'the update');
    assert.deepEqual(client.updates.map(told), [['r1', ['pear=1'], []]]);
    assert.deepEqual(cache.status()[0]?.streams[0]?.types.map(({ typeUrl }) => typeUrl), [FRUIT]);
  });

  it('works when it is started before the server', async () => {
    const { port, stop } = await loopback.listen();
    stop();
    const client = loopback.connect(`127.0.0.1:${port}`);
    await until(() => client.states.some(([state]) => state === 'disconnected'), 'the first failure');
    const { cache } = await loopback.listen({ port });
    cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
    await until(() => client.updates.length === 1, 'the update');
  });

  it('is sent nothing that it holds when it comes back to a server that was started anew', async () => {
    const first = await loopback.listen();
    first.cache.setSnapshot(NODE, fruit('r1', { apple: '1', pear: '1' }));
    const client = loopback.connect(first.address);
    await until(() => client.updates.length === 1, 'the first update');
    first.stop();
    await until(() => !client.connected, 'the disconnect');
    const second = await loopback.listen({ port: first.port });
    second.cache.setSnapshot(NODE, fruit('r1', { apple: '1', pear: '1' }));
    await until(() => second.cache.status()[0]?.streams[0]?.types[0]?.state === 'SYNCED', 'the new stream');
    second.cache.setSnapshot(NODE, fruit('r2', { apple: '1', pear: '2' }));
    await until(() => client.updates.length === 2, 'the update after');
    assert.deepEqual(told(client.updates[1]!), ['r2', ['pear=2'], []]);
  });

  it('starts with what it is said to hold from an earlier run', async () => {
    const { address, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r2', { apple: '1', pear: '2' }));
    const client = loopback.connect(address, { initialVersions: () => new Map([[FRUIT, new Map([['apple', '1'], ['pear', '1'], ['plum', '1']])]]) });
    await until(() => client.updates.length === 1, 'the update');
    assert.deepEqual(client.updates.map(told), [['r2', ['pear=2'], ['plum']]]);
  });

  it('rejects an update that its application throws at, with the reason, and is sent the mended one and what was beside it', async () => {
    const { address, cache, logged } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: 'rotten', pear: '1' }));
    const held = new Map<string, string>();
    const client = loopback.connect(address, {
      onUpdate: ({ changed }) => {
        for (const { name, version } of changed) if (version === 'rotten') throw new Error(`${name} is rotten`);
        for (const { name, version } of changed) held.set(name, version);
      },
    });
    await until(() => cache.status()[0]?.streams[0]?.types[0]?.state === 'NACKED', 'the rejection');
    assert.equal(cache.status()[0]?.streams[0]?.types[0]?.lastError?.message, 'apple is rotten');
    assert.deepEqual(logged.filter(({ level }) => level === 'warn').map(({ message, fields }) => [message, fields['reason']]), [['xds response rejected', 'apple is rotten']]);
    assert.equal(held.size, 0);
    cache.setSnapshot(NODE, fruit('r2', { apple: '2', pear: '1' }));
    await until(() => cache.status()[0]?.streams[0]?.types[0]?.state === 'SYNCED', 'the acknowledgement');
    assert.deepEqual([...held].sort(), [['apple', '2'], ['pear', '1']]);
    assert.equal(client.connected, true);
  });

  it('answers for an update once its application has taken it, one after the other, also of the stream that comes next', async () => {
    const { address, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
    const taken: string[] = [];
    const underWay: { readonly version: string; readonly settle: PromiseWithResolvers<undefined> }[] = [];
    const client = loopback.connect(address, {
      onUpdate: async ({ systemVersion }) => {
        const settle = Promise.withResolvers<undefined>();
        underWay.push({ version: systemVersion, settle });
        await settle.promise;
        taken.push(systemVersion);
      },
    });
    const stateOfType = () => cache.status()[0]?.streams[0]?.types[0];
    await until(() => underWay.length === 1, 'the first');
    assert.equal(stateOfType()?.versionAcked, undefined, 'nothing is acknowledged that is not taken');
    client.reconnect();
    cache.setSnapshot(NODE, fruit('r2', { apple: '2' }));
    await until(() => cache.status()[0]?.streams[0]?.types[0]?.versionSent === 'r2' && client.connected, 'the next stream');
    assert.equal(underWay.length, 1, 'the second waits for the first');
    underWay[0]!.settle.resolve(undefined);
    await until(() => underWay.length === 2, 'the second');
    underWay[1]!.settle.reject(new Error('apple is rotten'));
    await until(() => stateOfType()?.state === 'NACKED', 'the rejection');
    assert.deepEqual([stateOfType()?.lastError?.message, underWay.map(({ version }) => version), taken], ['apple is rotten', ['r1', 'r2'], ['r1']]);
    cache.setSnapshot(NODE, fruit('r3', { apple: '3' }));
    await until(() => underWay.length === 3, 'the third');
    underWay[2]!.settle.resolve(undefined);
    await until(() => stateOfType()?.versionAcked === 'r3', 'the acknowledgement');
  });

  it('asks for its credentials on every attempt, and takes a failure to have any as a failed attempt', async () => {
    const { address, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
    let asked = 0;
    const client = loopback.connect('', {
      connect: () => {
        asked += 1;
        if (asked === 1) throw new Error('no certificate yet');
        return { address, credentials: credentials.createInsecure() };
      },
    });
    await until(() => client.connected, 'the second attempt');
    assert.equal(client.states[1]?.[1].reason, 'no certificate yet');
    await until(() => client.updates.length === 1, 'the update');
    client.reconnect();
    assert.equal(client.connected, false);
    await until(() => client.connected, 'the third attempt');
    assert.equal(asked, 3);
    assert.deepEqual(client.states.map(([state]) => state), ['connecting', 'disconnected', 'connecting', 'connected', 'connecting', 'connected']);
    await until(() => cache.status()[0]?.streams.length === 1, 'the end of the earlier stream');
  });

  it('waits longer with each failure, up to a limit, and says how long', async () => {
    const { port, stop } = await loopback.listen();
    stop();
    const client = loopback.connect(`127.0.0.1:${port}`, { random: () => 0.5, limits: { backoffBaseMs: 8, backoffMaxMs: 40 } });
    const failures = () => client.states.filter(([state]) => state === 'disconnected').map(([, detail]) => detail);
    await until(() => failures().length >= 5, 'five failures');
    assert.deepEqual(failures().slice(0, 5).map(({ retryInMs }) => retryInMs), [6, 12, 24, 30, 30]);
    assert.deepEqual(client.states.slice(0, 10).map(([state]) => state), Array.from({ length: 5 }, () => ['connecting', 'disconnected']).flat());
    assert.ok(failures().every(({ grpcStatus }) => grpcStatus === status.UNAVAILABLE));
  });

  it('notices a server that has fallen silent', async () => {
    const { port, cache } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
    const sockets: net.Socket[] = [];
    const silent = net.createServer((socket) => {
      const upstream = net.connect(port, '127.0.0.1');
      sockets.push(socket, upstream);
      for (const end of [socket, upstream]) end.on('error', () => undefined); // either end may be torn down
      socket.pipe(upstream).pipe(socket);
    });
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    try {
      const client = loopback.connect(`127.0.0.1:${(silent.address() as net.AddressInfo).port}`, { limits: { keepaliveIntervalMs: 50, keepaliveTimeoutMs: 50 } });
      await until(() => client.updates.length === 1, 'the update');
      for (const socket of sockets) socket.unpipe().pause();
      await until(() => !client.connected, 'the keepalive');
      client.close();
    } finally {
      for (const socket of sockets) socket.destroy();
      silent.close();
    }
  });

  it('gives up a connection that does not come to stand', async () => {
    const sockets: net.Socket[] = [];
    const mute = net.createServer((socket) => void sockets.push(socket));
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    try {
      // Accepts, and never says a word of TLS.
      const client = loopback.connect('', { connect: () => ({ address: `localhost:${(mute.address() as net.AddressInfo).port}`, credentials: credentials.createSsl() }), limits: { connectTimeoutMs: 50 } });
      await until(() => client.states.some(([state]) => state === 'disconnected'), 'the timeout');
      assert.deepEqual(client.states[1]?.[1].reason, 'no connection within 50 ms');
      client.close();
    } finally {
      for (const socket of sockets) socket.destroy();
      mute.close();
    }
  });

  it('calls nobody once it is closed, be it from within a callback or by its signal', async () => {
    const { address, cache, xds } = await loopback.listen();
    cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
    const abort = new AbortController();
    const client = loopback.connect(address, { signal: abort.signal, onState: (state) => void calls.push(state), onUpdate: () => abort.abort() });
    const calls: string[] = [];
    await until(() => abort.signal.aborted, 'the update');
    await until(() => cache.status()[0]?.streams.length === 0, 'the end of the stream');
    xds.close();
    client.reconnect();
    assert.deepEqual(calls, ['connecting', 'connected']);
    assert.equal(client.connected, false);
  });
});
