import assert from 'node:assert/strict';
import { createServer, type RequestListener, type Server } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAdminClient, type AdminClient } from '../../src/api/admin-client.ts';
import { problemOf } from '../../src/api/problem.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { rejection } from '../support/rejection.ts';

describe('admin client', () => {
  let directory: string;
  const servers: Server[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-admin-client-'));
  });
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
    rmSync(directory, { recursive: true });
  });

  async function clientOf(listener: RequestListener): Promise<AdminClient> {
    const socketPath = join(directory, 'admin.sock');
    const server = createServer(listener);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    return createAdminClient({ kind: 'unix', socketPath });
  }

  it('sends a query without what is undefined, and a body as JSON', async () => {
    const seen: unknown[] = [];
    const client = await clientOf((request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text)).on('end', () => {
        seen.push([request.method, request.url, body]);
        response.end('{"a":1}');
      });
    });
    assert.deepEqual(await client.get('/x', { kind: 'A&B', name: undefined }), { a: 1 });
    assert.deepEqual(await client.post('/y', { b: [2] }), { a: 1 });
    assert.deepEqual(seen, [['GET', '/x?kind=A%26B', ''], ['POST', '/y', '{"b":[2]}']]);
  });

  it('throws the error that the control plane answered with, whatever was asked for', async () => {
    const problem = problemOf(new SallyportError('not-found', 'no such thing', { hint: 'look elsewhere' }));
    const client = await clientOf((_request, response) => response.writeHead(problem.status).end(JSON.stringify(problem)));
    const lines = async () => {
      for await (const line of client.lines('/x', {}, new AbortController().signal)) assert.fail(line);
    };
    for (const call of [client.get('/x'), client.post('/x', {}), client.text('/x'), lines()]) {
      const { code, message, hint } = await rejection(call);
      assert.deepEqual([code, message, hint], ['not-found', 'no such thing', 'look elsewhere']);
    }
  });

  it('calls "unavailable" what is not there, breaks off, or is no control plane', async () => {
    const away = await rejection(createAdminClient({ kind: 'unix', socketPath: join(directory, 'nothing.sock') }).get('/x'));
    assert.equal(away.code, 'unavailable');
    assert.match(away.hint ?? '', /sallyport serve/);
    const other = await clientOf((request, response) => {
      if (request.url === '/cut') request.socket.destroy();
      else response.writeHead(request.url === '/error' ? 502 : 200).end('<html>');
    });
    for (const path of ['/cut', '/error', '/html']) assert.equal((await rejection(other.get(path))).code, 'unavailable', path);
    assert.equal((await rejection(other.text('/error'))).code, 'unavailable');
  });

  it('calls "unavailable" an answer that breaks off in the middle', async () => {
    const client = await clientOf((request, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('{"a":', () => request.socket.destroy());
    });
    assert.equal((await rejection(client.get('/x'))).code, 'unavailable');
    assert.equal((await rejection(client.text('/x'))).code, 'unavailable');
  });

  it('gives the lines of an endless answer as they come, until it is aborted', async () => {
    const client = await clientOf((_request, response) => {
      response.write('one\ntw');
      setImmediate(() => response.write('o\nthr'));
    });
    const aborted = new AbortController();
    const lines: string[] = [];
    for await (const line of client.lines('/x', {}, aborted.signal)) {
      lines.push(line);
      if (line === 'two') aborted.abort();
    }
    assert.deepEqual(lines, ['one', 'two']);
  });
});
