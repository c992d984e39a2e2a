/**
 * One suite for both servers: handlers written for grpc-js must not notice which of the two serves them, and neither must
 * their callers. Below it, what only ours promises.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { Client, credentials, Metadata, Server, ServerCredentials, status, type ClientDuplexStream, type handleUnaryCall, type ServerDuplexStream, type ServerReadableStream, type ServerUnaryCall, type ServerWritableStream, type ServiceDefinition, type ServiceError, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { createGrpcServer, type GrpcServer, type GrpcServerOptions } from '../../src/grpc/index.ts';
import { messagePrefix } from '../../src/grpc/framing.ts';
import { until } from '../xds/loopback.ts';

const text = { serialize: (message: string) => Buffer.from(message), deserialize: (bytes: Buffer) => bytes.toString() };

function method(name: string, requestStream: boolean, responseStream: boolean) {
  const requestDeserialize = (bytes: Buffer): string => {
    if (bytes.toString() === 'malformed') throw new Error('malformed');
    return bytes.toString();
  };
  return { path: `/test.Service/${name}`, requestStream, responseStream, requestSerialize: text.serialize, requestDeserialize, responseSerialize: text.serialize, responseDeserialize: text.deserialize };
}

const definition: ServiceDefinition = {
  unary: method('Unary', false, false),
  upload: method('Upload', true, false),
  download: method('Download', false, true),
  chat: method('Chat', true, true),
  absent: method('Absent', false, false),
};

type Unary = ServerUnaryCall<string, string>;
type Chat = ServerDuplexStream<string, string>;

/** What a test's handlers saw. */
interface Seen {
  readonly cancelled: string[];
  readonly peers: string[];
}

function handlersOf(seen: Seen): UntypedServiceImplementation {
  const unary: handleUnaryCall<string, string> = (call: Unary, callback) => {
    seen.peers.push(call.getPeer());
    switch (call.request) {
      case 'fail': {
        const metadata = new Metadata();
        metadata.set('reason', 'because');
        callback({ code: status.FAILED_PRECONDITION, details: 'not today, "ü"', metadata });
        return;
      }
      case 'throw':
        throw new Error('a bug');
      case 'never':
        call.on('cancelled', () => seen.cancelled.push('unary'));
        return;
      case 'trailers': {
        const trailers = new Metadata();
        trailers.set('last', 'word');
        callback(null, 'ok', trailers);
        return;
      }
      case 'headers': {
        const headers = new Metadata();
        headers.set('first', String(call.metadata.get('question')[0]));
        call.sendMetadata(headers);
        callback(null, call.getPath());
        return;
      }
      default:
        callback(null, call.request);
    }
  };
  return {
    unary,
    upload(call: ServerReadableStream<string, string>, callback: (error: null, value: string) => void) {
      const parts: string[] = [];
      call.on('data', (part: string) => parts.push(part));
      call.on('end', () => callback(null, parts.join('+')));
    },
    download(call: ServerWritableStream<string, string>) {
      call.on('cancelled', () => seen.cancelled.push('download'));
      if (call.request === 'endless') {
        call.write('a first word');
        return;
      }
      for (let number = 0; number < Number(call.request); number++) call.write(`${number}`);
      call.end();
    },
    chat(call: Chat) {
      call.on('data', (message: string) => {
        if (message === 'fail') call.emit('error', { code: status.ABORTED, details: 'stopped' });
        else call.write(message.toUpperCase());
      });
      call.on('end', () => call.end());
    },
  };
}

interface Serving {
  readonly address: string;
  close(): Promise<void>;
}

async function serveOurs(handlers: UntypedServiceImplementation, options?: GrpcServerOptions): Promise<Serving & { readonly grpc: GrpcServer; readonly sockets: readonly Socket[] }> {
  const grpc = createGrpcServer(options);
  grpc.addService(definition, handlers);
  const sockets: Socket[] = [];
  const listener = createServer((socket) => {
    sockets.push(socket);
    grpc.injectConnection(socket);
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  const close = async (): Promise<void> => {
    listener.close();
    await grpc.close(0);
  };
  return { grpc, sockets, address: `127.0.0.1:${(listener.address() as AddressInfo).port}`, close };
}

async function serveGrpcJs(handlers: UntypedServiceImplementation): Promise<Serving> {
  const server = new Server();
  server.addService(definition, handlers);
  const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
  const close = (): Promise<void> => {
    server.forceShutdown();
    return Promise.resolve();
  };
  return { address: `127.0.0.1:${port}`, close };
}

/** Undone after each test, the last first. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function clientOf({ address }: Serving): Client {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_receive_message_length': -1 });
  undo.push(() => client.close());
  return client;
}

interface Answer {
  readonly error: ServiceError | null;
  readonly value: string | undefined;
  readonly headers: Metadata;
  readonly trailers: Metadata;
}

function ask(client: Client, request: string, { metadata = new Metadata(), deadlineMs = 5_000, name = 'Unary' } = {}): Promise<Answer> {
  return new Promise((resolve) => {
    let headers = new Metadata();
    let outcome: Pick<Answer, 'error' | 'value'> | undefined;
    const call = client.makeUnaryRequest<string, string>(`/test.Service/${name}`, text.serialize, text.deserialize, request, metadata, { deadline: Date.now() + deadlineMs }, (error, value) => {
      outcome = { error, value };
    });
    call.on('metadata', (received) => (headers = received));
    // With the answer, or before it where there is none.
    call.on('status', ({ metadata: trailers }) => {
      void until(() => outcome !== undefined, 'an answer').then(() => resolve({ ...outcome!, headers, trailers }));
    });
  });
}

interface Chatting {
  readonly stream: ClientDuplexStream<string, string>;
  readonly heard: string[];
  readonly ended: { code?: number; details?: string };
}

function chat(client: Client, name = 'Chat'): Chatting {
  const stream = client.makeBidiStreamRequest<string, string>(`/test.Service/${name}`, text.serialize, text.deserialize);
  const heard: string[] = [];
  const ended: Chatting['ended'] = {};
  stream.on('data', (message: string) => heard.push(message));
  stream.on('error', () => undefined);
  stream.on('status', (outcome) => Object.assign(ended, outcome));
  return { stream, heard, ended };
}

for (const [name, serve] of [['grpc-js', serveGrpcJs], ['ours', serveOurs]] as const) {
  describe(`a gRPC server: ${name}`, () => {
    let seen: { cancelled: string[]; peers: string[] };
    let client: Client;

    beforeEach(async () => {
      seen = { cancelled: [], peers: [] };
      const server = await serve(handlersOf(seen));
      undo.push(() => server.close());
      client = clientOf(server);
    });

    it('answers a call, many at once, with what belongs to each', async () => {
      const answers = await Promise.all(Array.from({ length: 500 }, (_, index) => ask(client, `question ${index}`)));
      assert.deepEqual(answers.map(({ value }) => value), Array.from({ length: 500 }, (_, index) => `question ${index}`));
      assert.match(seen.peers[0]!, /^127\.0\.0\.1:[0-9]+$/);
    });

    it('takes and gives a message of 3 MB', async () => {
      const large = 'x'.repeat(3_000_000);
      assert.equal((await ask(client, large)).value, large);
    });

    it('tells a failure with its code, text and metadata', async () => {
      const { error } = await ask(client, 'fail');
      assert.deepEqual([error?.code, error?.details, error?.metadata.get('reason')], [status.FAILED_PRECONDITION, 'not today, "ü"', ['because']]);
    });

    it('carries metadata both ways, before and behind the answer', async () => {
      const metadata = new Metadata();
      metadata.set('question', '42');
      const { value, headers } = await ask(client, 'headers', { metadata });
      assert.deepEqual([value, headers.get('first')], ['/test.Service/Unary', ['42']]);
      assert.deepEqual((await ask(client, 'trailers')).trailers.get('last'), ['word']);
    });

    it('answers UNIMPLEMENTED for a method that it does not have, or that has no handler', async () => {
      assert.equal((await ask(client, '', { name: 'Absent' })).error?.code, status.UNIMPLEMENTED);
      assert.equal((await ask(client, '', { name: 'Unheard' })).error?.code, status.UNIMPLEMENTED);
    });

    it('answers UNKNOWN when a handler throws, and serves on', async () => {
      assert.equal((await ask(client, 'throw')).error?.code, status.UNKNOWN);
      assert.equal((await ask(client, 'again')).value, 'again');
    });

    it('answers INTERNAL for a request that cannot be decoded', async () => {
      assert.equal((await ask(client, 'malformed')).error?.code, status.INTERNAL);
    });

    it('refuses a message over 4 MiB', async () => {
      assert.equal((await ask(client, 'x'.repeat(4 * 1024 * 1024 + 1))).error?.code, status.RESOURCE_EXHAUSTED);
    });

    it('tells a handler that its caller has gone, or that its time is over', async () => {
      assert.equal((await ask(client, 'never', { deadlineMs: 50 })).error?.code, status.DEADLINE_EXCEEDED);
      await until(() => seen.cancelled.length === 1, 'the handler hears of the deadline');
      const stream = client.makeServerStreamRequest<string, string>('/test.Service/Download', text.serialize, text.deserialize, 'endless');
      stream.on('error', () => undefined);
      await once(stream, 'data');
      stream.cancel();
      await until(() => seen.cancelled.length === 2, 'the handler hears of the cancellation');
    });

    it('takes a stream of requests and answers once', async () => {
      const joined = await new Promise<string | undefined>((resolve, reject) => {
        const stream = client.makeClientStreamRequest<string, string>('/test.Service/Upload', text.serialize, text.deserialize, (error, value) => (error === null ? resolve(value) : reject(error)));
        for (const part of ['a', 'b', 'c']) stream.write(part);
        stream.end();
      });
      assert.equal(joined, 'a+b+c');
    });

    it('answers with a stream, in order and to its end', async () => {
      const stream = client.makeServerStreamRequest<string, string>('/test.Service/Download', text.serialize, text.deserialize, '5000');
      const numbers: string[] = [];
      stream.on('data', (number: string) => numbers.push(number));
      const [{ code }] = (await once(stream, 'status')) as [{ code: number }];
      await until(() => numbers.length === 5000, 'every answer');
      assert.equal(code, status.OK);
      assert.deepEqual(numbers, Array.from({ length: 5000 }, (_, index) => `${index}`));
    });

    it('speaks both ways at once, until the caller has ended', async () => {
      const { stream, heard, ended } = chat(client);
      for (let round = 0; round < 20; round++) {
        stream.write(`round ${round}`);
        await until(() => heard.length === round + 1, `answer ${round}`);
      }
      stream.end();
      await until(() => ended.code !== undefined, 'the status');
      assert.deepEqual([ended.code, heard.at(-1)], [status.OK, 'ROUND 19']);
    });

    it('ends a stream with a status behind what it wrote, while the caller still speaks', async () => {
      const { stream, heard, ended } = chat(client);
      stream.write('hello');
      stream.write('fail');
      await until(() => ended.code !== undefined, 'the status');
      assert.deepEqual([ended.code, ended.details, heard], [status.ABORTED, 'stopped', ['HELLO']]);
    });
  });
}

describe('the gRPC server of ours', () => {
  const nobody: Seen = { cancelled: [], peers: [] };

  async function openSession(server: Serving): Promise<http2.ClientHttp2Session> {
    const session = http2.connect(`http://${server.address}`);
    session.on('error', () => undefined);
    undo.push(() => session.destroy());
    await once(session, 'connect');
    return session;
  }

  /** One request as it stands; gives the response's headers, its trailers, and how the stream was closed. */
  async function request(session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders, body?: Buffer): Promise<{ headers: http2.IncomingHttpHeaders; trailers: http2.IncomingHttpHeaders }> {
    const stream = session.request({ ':method': 'POST', ':path': '/test.Service/Unary', 'content-type': 'application/grpc', te: 'trailers', ...headers });
    let response: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on('response', (received) => (response = received));
    stream.on('trailers', (received: http2.IncomingHttpHeaders) => (trailers = received));
    stream.on('error', () => undefined);
    stream.resume();
    stream.end(body);
    await once(stream, 'close');
    return { headers: response, trailers };
  }

  const framed = (message: string): Buffer => Buffer.concat([messagePrefix(message.length), Buffer.from(message)]);

  it('refuses what is not gRPC by its HTTP status', async () => {
    const server = await serveOurs(handlersOf(nobody));
    undo.push(() => server.close());
    const session = await openSession(server);
    assert.equal((await request(session, { ':method': 'GET' })).headers[':status'], 405);
    assert.equal((await request(session, { 'content-type': 'application/json' })).headers[':status'], 415);
    assert.equal((await request(session, { 'content-type': 'application/grpcish' })).headers[':status'], 415);
    const { headers, trailers } = await request(session, { 'content-type': 'application/grpc+proto' }, framed('hello'));
    assert.deepEqual([headers[':status'], headers['content-type'], trailers['grpc-status']], [200, 'application/grpc+proto', '0']);
  });

  it('sends a message that comes in pieces as one, whatever their number', async () => {
    const grpc = createGrpcServer();
    const inPieces = { ...method('Pieces', false, true), responseParts: (response: string) => response.split(',').map((piece) => Buffer.from(piece)) };
    grpc.addService({ pieces: inPieces }, {
      pieces(call: ServerWritableStream<string, string>) {
        for (const message of ['a', 'one,two,three', '', 'b,']) call.write(message);
        call.end();
      },
    });
    const listener = createServer((socket) => grpc.injectConnection(socket));
    await once(listener.listen(0, '127.0.0.1'), 'listening');
    const client = new Client(`127.0.0.1:${(listener.address() as AddressInfo).port}`, credentials.createInsecure());
    undo.push(async () => {
      client.close();
      listener.close();
      await grpc.close(0);
    });
    const heard: string[] = [];
    for await (const message of client.makeServerStreamRequest(inPieces.path, text.serialize, text.deserialize, 'go')) heard.push(message as string);
    assert.deepEqual(heard, ['a', 'onetwothree', '', 'b']);
  });

  const refusals: readonly (readonly [string, http2.OutgoingHttpHeaders, Buffer | undefined, status])[] = [
    ['compressed messages', { 'grpc-encoding': 'gzip' }, framed('hello'), status.UNIMPLEMENTED],
    ['a message that says it is compressed', {}, Buffer.from([1, 0, 0, 0, 1, 7]), status.UNIMPLEMENTED],
    ['a call without a message', {}, undefined, status.UNIMPLEMENTED],
    ['two messages in a unary call', {}, Buffer.concat([framed('one'), framed('two')]), status.UNIMPLEMENTED],
    ['a request that ends within a message', {}, framed('hello').subarray(0, 8), status.INTERNAL],
    ['a request that ends within a prefix', {}, Buffer.from([0, 0]), status.INTERNAL],
  ];
  for (const [what, headers, body, code] of refusals) {
    it(`refuses ${what} with ${status[code]}`, async () => {
      const server = await serveOurs(handlersOf(nobody));
      undo.push(() => server.close());
      const session = await openSession(server);
      const answer = await request(session, headers, body);
      assert.equal(answer.headers['grpc-status'] ?? answer.trailers['grpc-status'], String(code));
      const next = await request(session, {}, framed('hello'));
      assert.equal(next.trailers['grpc-status'], '0', 'the connection serves on');
    });
  }

  it('gives what a handler throws to its owner, and not to the caller', async () => {
    const thrown: unknown[] = [];
    const server = await serveOurs(handlersOf(nobody), { onError: (error) => void thrown.push(error) });
    undo.push(() => server.close());
    const { error } = await ask(clientOf(server), 'throw');
    assert.equal(error?.details, 'the handler of this call failed');
    assert.deepEqual(thrown.map(String), ['Error: a bug']);
  });

  it('reads no further than its handler does', async () => {
    let call: Chat | undefined;
    const server = await serveOurs({ ...handlersOf(nobody), chat: (taken: Chat) => void (call = taken) });
    undo.push(() => server.close());
    const session = await openSession(server);
    const stream = session.request({ ':method': 'POST', ':path': '/test.Service/Chat', 'content-type': 'application/grpc' });
    stream.on('error', () => undefined);
    const message = framed('x'.repeat(1_000_000));
    for (let count = 0; count < 20; count++) stream.write(message);
    await until(() => (call?.readableLength ?? 0) === 1, 'one message waits for the handler');
    const read = () => server.sockets[0]!.bytesRead;
    let before = -1;
    await until(() => before === (before = read()), 'the server reads nothing more');
    assert.ok(read() < 3_000_000, `${read()} bytes were read, of which the handler took none`);
    call!.resume();
    await until(() => read() >= 20_000_000, 'everything is read once the handler does');
  });

  it('writes no further than its caller reads, and says when it has', async () => {
    let written = 0;
    const server = await serveOurs({
      ...handlersOf(nobody),
      chat(call: Chat) {
        call.resume();
        for (let count = 0; count < 20; count++) call.write('x'.repeat(1_000_000), () => (written += 1));
      },
    });
    undo.push(() => server.close());
    const session = await openSession(server);
    const stream = session.request({ ':method': 'POST', ':path': '/test.Service/Chat', 'content-type': 'application/grpc' });
    stream.on('error', () => undefined);
    stream.pause();
    await once(stream, 'response');
    assert.equal(written, 0);
    assert.ok(server.sockets[0]!.bytesWritten < 500_000);
    stream.resume();
    await until(() => written === 20, 'all is written');
  });

  it('sends the status of a handler that throws while it reads with for await', async () => {
    const server = await serveOurs({
      ...handlersOf(nobody),
      chat(call: Chat) {
        void (async () => {
          for await (const message of call as AsyncIterable<string>) if (message === 'stop') throw new Error('stop');
        })().catch(() => call.emit('error', { code: status.ABORTED, details: 'stopped' }));
      },
    });
    undo.push(() => server.close());
    const { stream, ended } = chat(clientOf(server));
    stream.write('go');
    stream.write('stop');
    await until(() => ended.code !== undefined, 'the status');
    assert.deepEqual([ended.code, ended.details], [status.ABORTED, 'stopped']);
  });

  it('resets a call whose handler destroys it', async () => {
    const server = await serveOurs({ ...handlersOf(nobody), chat: (call: Chat) => void call.destroy() });
    undo.push(() => server.close());
    const { ended } = chat(clientOf(server));
    await until(() => ended.code !== undefined, 'the end of the call');
    assert.equal(ended.code, status.CANCELLED);
  });

  it('ends a connection whose other end has gone without a word', async () => {
    const server = await serveOurs(handlersOf(nobody), { limits: { keepaliveMs: 20, keepaliveTimeoutMs: 50 } });
    undo.push(() => server.close());
    const [host, port] = server.address.split(':') as [string, string];
    const silent = connect(Number(port), host);
    undo.push(() => silent.destroy());
    await once(silent, 'connect');
    await until(() => server.sockets.length === 1 && server.sockets[0]!.destroyed, 'the server gives up');
    const session = await openSession(server);
    assert.equal((await request(session, {}, framed('hello'))).trailers['grpc-status'], '0', 'one that answers stays');
  });

  it('ends a connection that does not speak HTTP/2, and no other', async () => {
    const server = await serveOurs(handlersOf(nobody));
    undo.push(() => server.close());
    const client = clientOf(server);
    assert.equal((await ask(client, 'before')).value, 'before');
    const [host, port] = server.address.split(':') as [string, string];
    const stranger = connect(Number(port), host);
    undo.push(() => stranger.destroy());
    stranger.resume().write('GET / HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(stranger, 'close');
    assert.equal((await ask(client, 'after')).value, 'after');
  });

  it('lets calls under way end when it closes, takes no further ones, and resets what takes too long', async () => {
    let answer: (() => void) | undefined;
    const server = await serveOurs({ ...handlersOf(nobody), unary: (call: Unary, callback: (error: null, value: string) => void) => (call.request === 'slow' ? (answer = () => callback(null, 'done')) : undefined) });
    undo.push(() => server.close());
    const slow = ask(clientOf(server), 'slow');
    const stuck = ask(clientOf(server), 'stuck');
    await until(() => answer !== undefined && server.sockets.length === 2, 'both calls are under way');
    const closed = server.grpc.close(300);
    answer!();
    assert.equal((await slow).value, 'done');
    await closed;
    assert.ok((await stuck).error !== null);
    assert.ok(server.sockets.every(({ destroyed }) => destroyed));
  });
});
