/**
 * The shell: requests to the management of one BIG-IP, over HTTPS whose certificate is always verified.
 *
 * Authentication is by token: the password goes over the wire once for a token, and users of a remote directory have tokens only ("Authentication and
 * Authorization" of AS3's user guide; "iControl REST Authentication Token Management", DevCentral 287462). A token lives 20 minutes, so a 401
 * means another login, once.
 */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { SallyportError } from '../../core/errors.ts';
import { formatEndpoint } from '../../core/ip-address.ts';
import { readBody } from '../answer-body.ts';
import { wordsOf, type BoxAnswer } from './answer.ts';
import type { BoxCredentials } from './credentials.ts';
import { isObject } from './tenant.ts';

export interface BoxCall {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** With its query, encoded. */
  readonly path: string;
  readonly body?: unknown;
}

export interface ManagementClient {
  /** Throws `unavailable` or `timeout` where there is no answer of the API, and `file-unreadable` for the credentials. */
  request(call: BoxCall, signal: AbortSignal): Promise<BoxAnswer>;
  /** Since when there are answers; null where there are none, or nothing is asked. */
  readonly answeringSinceMs: number | null;
  /** Gives the token back, and its connection up. */
  rest(): Promise<void>;
}

export interface ManagementClientOptions {
  readonly host: string;
  readonly port: number;
  readonly credentials: () => Promise<BoxCredentials>;
  /** For one answer. */
  readonly answerWithinMs: number;
  readonly now: () => number;
}

/** Declarations of thousands of services come back whole. */
const answerBytesMax = 64 * 1024 * 1024;
const goodbyeWithinMs = 2_000;
const loginPath = '/mgmt/shared/authn/login';

export function createManagementClient({ host, port, credentials, answerWithinMs, now }: ManagementClientOptions): ManagementClient {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const place = formatEndpoint({ address: host, port });
  let answeringSinceMs: number | null = null;
  let session: { readonly token: string; readonly ca: string | undefined } | undefined;

  async function send({ method, path, body }: BoxCall, { token, ca }: { readonly token?: string; readonly ca: string | undefined }, outer: AbortSignal, withinMs = answerWithinMs): Promise<BoxAnswer> {
    const limit = AbortSignal.timeout(withinMs);
    const signal = AbortSignal.any([outer, limit]);
    const text = body === undefined ? '' : JSON.stringify(body);
    let isAnswering = false;
    try {
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const headers = { accept: 'application/json', ...(token === undefined ? {} : { 'x-f5-auth-token': token }), ...(text === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }) };
        const sent = httpsRequest({ agent, host, port, method, path, headers, signal, minVersion: 'TLSv1.2', rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }), ...(isIP(host) === 0 ? { servername: host } : {}) }, resolve);
        sent.once('error', reject);
        sent.end(text);
      });
      isAnswering = true;
      const said = { status: answer.statusCode ?? 0, body: parsed((await readBody(answer, answerBytesMax)).toString(), place) };
      answeringSinceMs ??= now();
      return said;
    } catch (cause) {
      answeringSinceMs = null;
      session = undefined; // the next one begins with the credentials as they are then, the CA among them
      if (cause instanceof SallyportError) throw cause;
      if (limit.aborted) throw new SallyportError('timeout', `${place} does not answer within ${withinMs / 1_000} s`, { place, cause });
      throw new SallyportError('unavailable', `${place} cannot be asked: ${isAnswering && (cause as NodeJS.ErrnoException).code === 'ECONNRESET' ? 'its answer breaks off in the middle' : reasonOf(cause)}`, { place, cause });
    }
  }

  async function login(signal: AbortSignal): Promise<NonNullable<typeof session>> {
    const { username, password, ca } = await credentials();
    const { status, body } = await send({ method: 'POST', path: loginPath, body: { username, password, loginProviderName: 'tmos' } }, { ca }, signal);
    const token = isObject(body) && isObject(body['token']) ? body['token']['token'] : undefined;
    if (status === 200 && typeof token === 'string') return { token, ca };
    throw new SallyportError('unavailable', `${place} does not log in ${JSON.stringify(username)}: ${wordsOf(status, body)}`, { place });
  }

  return {
    async request(call, signal) {
      for (const isLast of [session === undefined, true]) {
        session ??= await login(signal);
        const answer = await send(call, session, signal);
        if (answer.status !== 401) return answer;
        session = undefined;
        if (isLast) throw new SallyportError('unavailable', `${place} does not take the token that it has given: ${wordsOf(answer.status, answer.body)}`, { place });
      }
      throw new Error('unreachable');
    },
    get answeringSinceMs() {
      return answeringSinceMs;
    },
    async rest() {
      // A user has a hundred of them at most, for twenty minutes each.
      if (session !== undefined) await send({ method: 'DELETE', path: `/mgmt/shared/authz/tokens/${session.token}` }, session, new AbortController().signal, goodbyeWithinMs).catch(() => undefined);
      session = undefined;
      answeringSinceMs = null;
      agent.destroy();
    },
  };
}

function parsed(text: string, place: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // What it says instead is not quoted: nobody knows what that is.
    throw new SallyportError('unavailable', `${place} answers with something else than JSON${text.trimStart().startsWith('<') ? ', an HTML page' : ''}`, { place });
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));
