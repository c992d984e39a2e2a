/** A table of routes over node:http: JSON in, JSON out, problems for errors. Knows nothing of what the routes do. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import type { Logger } from 'pino';
import { problemContentType, problemOf } from '../api/problem.ts';
import { SallyportError } from '../core/errors.ts';
import { mapInSteps, type Steps } from '../core/steps.ts';
import { runInSlices } from './slices.ts';

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
  | { readonly json: object; readonly status?: number }
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
  const decoder = new StringDecoder('utf8'); // as it comes, for megabytes in one go take milliseconds
  let text = '';
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new SallyportError('request-too-large', `the request is larger than ${bytesMax} bytes`, { hint: 'apply the manifests in several calls' });
    text += decoder.write(chunk);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(text + decoder.end()) as unknown;
  } catch (cause) {
    throw new SallyportError('request-invalid', 'the request body is not JSON', { cause });
  }
}

async function send(response: ServerResponse, answer: HttpAnswer): Promise<void> {
  if ('json' in answer) {
    const text = await runInSlices(stringifyInSteps(answer.json));
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json' }).end(text);
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

/** As JSON.stringify, for an object whose fields may be long lists. */
function* stringifyInSteps(value: object): Steps<string> {
  const fields: string[] = [];
  for (const [name, field] of Object.entries(value) as [string, unknown][]) {
    if (field === undefined) continue;
    const text = Array.isArray(field) ? `[${(yield* mapInSteps(field, 64, (item: unknown) => JSON.stringify(item))).join()}]` : JSON.stringify(field);
    fields.push(`${JSON.stringify(name)}:${text}`);
  }
  return `{${fields.join()}}`;
}
