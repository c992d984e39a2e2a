/** A table of routes over node:http: JSON in, JSON out, problems for errors. Knows nothing of what the routes do. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { problemContentType, problemOf } from '../api/problem.ts';
import { SallyportError } from '../core/errors.ts';

export interface HttpRequest {
  readonly query: URLSearchParams;
  /** Who asks: the admin's SPIFFE ID, or `unix` for the owner of the socket. */
  readonly actor: string;
  /** The parsed JSON body; undefined without one. */
  readonly body: unknown;
  /** Aborted when the caller is gone. */
  readonly signal: AbortSignal;
}

/** What a route answers: a JSON value, a text with its type, or lines that come over time (application/x-ndjson). */
export type HttpAnswer =
  | { readonly json: unknown; readonly status?: number }
  | { readonly text: string; readonly contentType: string; readonly status?: number }
  | { readonly lines: AsyncIterable<string> };

export type HttpRoute = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

export interface HttpRouterOptions {
  /** Keyed `METHOD /path`. */
  readonly routes: Readonly<Record<string, HttpRoute>>;
  /** Who the caller is; throws `admin-unauthorized` for whoever may not ask. `path` lets probes through. */
  readonly authorize: (request: IncomingMessage, path: string) => string;
  readonly bodyBytesMax: number;
  readonly log: Logger;
}

export function createHttpRouter({ routes, authorize, bodyBytesMax, log }: HttpRouterOptions): RequestListener {
  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://admin');
    const actor = authorize(request, url.pathname);
    const route = routes[`${request.method ?? 'GET'} ${url.pathname}`];
    if (route === undefined) throw noSuchRoute(request.method ?? 'GET', url.pathname);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const body = request.method === 'POST' ? await readJson(request, bodyBytesMax) : undefined;
    await send(response, await route({ query: url.searchParams, actor, body, signal: gone.signal }));
  }

  function noSuchRoute(method: string, path: string): SallyportError {
    const methods = Object.keys(routes).filter((key) => key.endsWith(` ${path}`)).map((key) => key.split(' ')[0]);
    if (methods.length > 0) return new SallyportError('request-invalid', `${path} answers ${methods.join(', ')}, not ${JSON.stringify(method.slice(0, 16))}`);
    return new SallyportError('not-found', `there is nothing at ${JSON.stringify(path.slice(0, 200))}`, { hint: 'docs/reference/admin-api.md lists the paths' });
  }

  return (request, response) => {
    answer(request, response).catch((error: unknown) => {
      const problem = problemOf(error);
      log[problem.status >= 500 ? 'error' : 'debug']({ err: error, method: request.method, path: request.url?.slice(0, 200) }, 'admin request refused');
      if (response.headersSent) response.destroy();
      else response.writeHead(problem.status, { 'content-type': problemContentType }).end(JSON.stringify(problem));
    });
  };
}

async function readJson(request: IncomingMessage, bytesMax: number): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new SallyportError('request-too-large', `the request is larger than ${bytesMax} bytes`, { hint: 'apply the manifests in several calls' });
    chunks.push(chunk);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown;
  } catch (cause) {
    throw new SallyportError('request-invalid', 'the request body is not JSON', { cause });
  }
}

async function send(response: ServerResponse, answer: HttpAnswer): Promise<void> {
  if ('json' in answer) {
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' }).end(JSON.stringify(answer.json));
    return;
  }
  if ('text' in answer) {
    response.writeHead(answer.status ?? 200, { 'content-type': answer.contentType }).end(answer.text);
    return;
  }
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.flushHeaders();
  for await (const line of answer.lines) {
    if (response.destroyed) return;
    // A reader that has stopped reading is waited for, so that a long tail costs one socket buffer.
    if (!response.write(`${line}\n`)) await new Promise<void>((resolve) => response.once('drain', resolve).once('close', resolve));
  }
  response.end();
}
