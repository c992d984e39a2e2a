/** Calls the admin API: over its Unix socket, or over mTLS. Throws the SallyportError that the control plane answered with. */
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Duplex } from 'node:stream';
import { SallyportError } from '../core/errors.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { serverIdentityCheck } from './mesh-credentials.ts';
import { errorOfProblem } from './problem.ts';

export type AdminAddress =
  | { readonly kind: 'unix'; readonly socketPath: string }
  | {
      readonly kind: 'mtls';
      readonly host: string;
      readonly port: number;
      readonly certificateChainPem: string;
      readonly privateKeyPem: string;
      readonly trustBundlePem: string;
      /** The SPIFFE ID that the control plane must prove. */
      readonly serverIdentity: SpiffeId;
    }
  /** Whatever leads to the admin API's socket: a stream of its own for each request. `open` destroys it with a SallyportError where it leads nowhere. */
  | { readonly kind: 'stream'; readonly name: string; readonly open: () => Duplex };

export interface AdminClient {
  get<Answer>(path: string, query?: Readonly<Record<string, string | undefined>>): Promise<Answer>;
  post<Answer>(path: string, body: unknown): Promise<Answer>;
  text(path: string): Promise<string>;
  /** The lines of an endless answer, until `signal` or the server ends it. */
  lines(path: string, query: Readonly<Record<string, string | undefined>>, signal: AbortSignal): AsyncGenerator<string>;
}

const timeoutMs = 30_000;

export function createAdminClient(address: AdminAddress): AdminClient {
  async function call(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return await new Promise((resolve, reject) => {
      const request = open(address, method, path, signal);
      // Of our own, since not every stream has a time-out.
      const timer = setTimeout(() => request.destroy(new SallyportError('timeout', `the control plane did not answer within ${timeoutMs / 1000} s`)), timeoutMs);
      request.once('close', () => clearTimeout(timer));
      request.once('response', (response) => {
        if (signal !== undefined) clearTimeout(timer); // a followed answer may be silent for long
        resolve(response);
      });
      request.once('error', (cause) => reject(cause instanceof SallyportError ? cause : unreachable(address, cause)));
      request.end(text);
    });
  }

  async function json<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await call(method, path, body);
    const text = await readAll(response);
    const status = response.statusCode ?? 500;
    let value: unknown;
    try {
      value = JSON.parse(text) as unknown;
    } catch (cause) {
      throw new SallyportError('unavailable', `the server's answer with status ${status} is not JSON`, { cause });
    }
    if (status >= 300) throw errorOfProblem(status, value);
    return value as Answer;
  }

  return {
    get: (path, query = {}) => json('GET', withQuery(path, query)),
    post: (path, body) => json('POST', path, body),
    async text(path) {
      const response = await call('GET', path, undefined);
      const text = await readAll(response);
      if ((response.statusCode ?? 500) >= 300) throw errorOfProblem(response.statusCode ?? 500, parseOrNothing(text));
      return text;
    },
    async *lines(path, query, signal) {
      const response = await call('GET', withQuery(path, query), undefined, signal);
      if ((response.statusCode ?? 500) >= 300) throw errorOfProblem(response.statusCode ?? 500, parseOrNothing(await readAll(response)));
      let rest = '';
      try {
        for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
          const parts = (rest + chunk).split('\n');
          rest = parts.pop() ?? '';
          yield* parts;
        }
      } catch (error) {
        if (!signal.aborted) throw unreachable(address, error);
      }
    },
  };
}

function open(address: AdminAddress, method: string, path: string, signal: AbortSignal | undefined): ClientRequest {
  const options = { method, path, headers: { accept: 'application/json', 'content-type': 'application/json' }, ...(signal === undefined ? {} : { signal }) };
  if (address.kind === 'unix') return httpRequest({ ...options, socketPath: address.socketPath });
  if (address.kind === 'stream') return httpRequest({ ...options, host: 'localhost', createConnection: address.open });
  const { host, port, certificateChainPem: cert, privateKeyPem: key, trustBundlePem: ca, serverIdentity } = address;
  return httpsRequest({
    ...options,
    host,
    port,
    cert,
    key,
    ca,
    minVersion: 'TLSv1.3',
    allowPartialTrustChain: true,
    agent: false,
    checkServerIdentity: serverIdentityCheck([serverIdentity]),
  });
}

function withQuery(path: string, query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given).toString()}`;
}

async function readAll(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause; // the timeout
    throw new SallyportError('unavailable', 'the answer of the control plane broke off', { cause, hint: 'it may have been stopped: see "sallyport status"' });
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseOrNothing(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function unreachable(address: AdminAddress, cause: unknown): SallyportError {
  const place = placeOf(address);
  return new SallyportError('unavailable', `the control plane cannot be reached at ${JSON.stringify(place)}`, { place, cause, hint: 'start it with "sallyport serve", or name it with --server' });
}

function placeOf(address: AdminAddress): string {
  switch (address.kind) {
    case 'unix':
      return address.socketPath;
    case 'mtls':
      return `${address.host}:${address.port}`;
    case 'stream':
      return address.name;
  }
}
