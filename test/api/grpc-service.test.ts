import assert from 'node:assert/strict';
import { Client, credentials, Metadata, Server, ServerCredentials, status, type ServiceError } from '@grpc/grpc-js';
import { callUnary, errorOfGrpc, grpcServiceDefinition, grpcStatusOf, unaryHandler } from '../../src/api/grpc-service.ts';
import { errorCodes, SallyportError, type ErrorCode } from '../../src/core/errors.ts';
import { EnrolmentService, type EnrolRequest } from '../../src/proto/sallyport/v1alpha1/identity_pb.ts';

const { enrol } = EnrolmentService.method;

describe('grpc service', () => {
  const closers: (() => void)[] = [];
  afterEach(() => {
    for (const close of closers.splice(0)) close();
  });

  async function serve(handle: (request: EnrolRequest) => Promise<{ spiffeId?: string }>): Promise<Client> {
    const server = new Server();
    server.addService(grpcServiceDefinition(EnrolmentService), { enrol: unaryHandler(enrol, handle) });
    const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
    closers.push(() => client.close(), () => server.forceShutdown());
    return client;
  }

  it('carries messages both ways', async () => {
    const client = await serve((request) => Promise.resolve({ spiffeId: `spiffe://td/${request.token.value}/${request.csr.length}` }));
    const answer = await callUnary(client, enrol, { token: { case: 'joinToken', value: 'token' }, csr: new Uint8Array(3) }, { timeoutMs: 5_000 });
    assert.equal(answer.spiffeId, 'spiffe://td/token/3');
  });

  it('gives the caller the code, message and hint of a SallyportError', async () => {
    const client = await serve(() => Promise.reject(new SallyportError('token-invalid', 'join token is spent', { hint: 'make another: sallyport token create …', cause: new Error('secret') })));
    await assert.rejects(callUnary(client, enrol, {}, { timeoutMs: 5_000 }), { code: 'token-invalid', message: 'join token is spent', hint: 'make another: sallyport token create …' });
  });

  it('tells the caller nothing about an error that is not ours', async () => {
    const client = await serve(() => Promise.reject(new Error('key of ca at /secret')));
    await assert.rejects(callUnary(client, enrol, {}, { timeoutMs: 5_000 }), { code: 'internal', message: 'internal error' });
  });

  it('ends a call at its deadline', async () => {
    const client = await serve(() => new Promise(() => undefined));
    await assert.rejects(callUnary(client, enrol, {}, { timeoutMs: 50 }), { code: 'timeout' });
  });

  it('ends a call that its caller gives up', async () => {
    const controller = new AbortController();
    const client = await serve(() => {
      controller.abort();
      return new Promise(() => undefined);
    });
    await assert.rejects(callUnary(client, enrol, {}, { timeoutMs: 5_000, signal: controller.signal }), SallyportError);
  });

  it('calls a server that is not there unavailable', async () => {
    const client = new Client('127.0.0.1:1', credentials.createInsecure());
    closers.push(() => client.close());
    await assert.rejects(callUnary(client, enrol, {}, { timeoutMs: 5_000 }), { code: 'unavailable' });
  });

  it('keeps every code of the table across the wire', () => {
    for (const code of Object.keys(errorCodes) as ErrorCode[]) {
      const sent = grpcStatusOf(new SallyportError(code, 'what happened', { hint: 'what to do' }));
      const received = errorOfGrpc({ ...sent, metadata: sent.metadata ?? new Metadata(), code: sent.code ?? status.OK } as ServiceError, 'call');
      assert.deepEqual([received.code, received.message, received.hint], [code, 'what happened', 'what to do']);
    }
  });
});
