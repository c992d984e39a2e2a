/**
 * Requests to an API server, as plain JSON. The clients of @kubernetes/client-node are not used, since they open a TLS connection for every
 * request, and drop what they do not know of an object (docs/decisions/0700).
 */
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { createInterface } from 'node:readline';

/** How an API server is reached, and as whom it is asked: a `KubeConfig` of @kubernetes/client-node is one. */
export interface ApiAccess {
  getCurrentCluster(): { readonly server: string; readonly proxyUrl?: string } | null;
  /** Adds credentials, and whom to trust, as they are now. */
  applyToHTTPSOptions(options: RequestOptions): Promise<void>;
}

export interface ClusterAccess extends ApiAccess {
  /** As the kubeconfig calls it. */
  readonly context: string;
  /** Where a namespace is wanted and none is named. */
  readonly defaultNamespace: string;
}

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface ApiRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** As in `/api/v1/namespaces/a/services/b`. */
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  /** Of the body; default `application/json`. */
  readonly contentType?: string;
  /** Of the answer; default `application/json`. */
  readonly accept?: string;
  /** Default: half a minute. */
  readonly withinMs?: number;
}

export interface ApiClient {
  /** The answer's body. Throws `ApiRefusal` where the API server says no, and another error where there is no answer in time. */
  request<Answer>(request: ApiRequest): Promise<Answer>;
  /**
   * The lines of an answer that goes on until either side ends it: it throws where none has come for `silentMs`.
   * @param options.onAccepted called when the answer has begun, which may be long before its first line
   */
  lines(path: string, query: Query, options: { readonly signal: AbortSignal; readonly silentMs: number; readonly onAccepted?: () => void }): AsyncIterable<string>;
  /**
   * When it is by the API server's clock, in milliseconds since the epoch: as the latest answer was dated, to the second, and as much later as
   * that has come ago. Undefined before the first one.
   */
  readonly serverTime: () => number | undefined;
}

/** An answer other than 2xx. */
export class ApiRefusal extends Error {
  override readonly name = 'ApiRefusal';
  /** Of HTTP. */
  readonly status: number;
  /** In one word, as in `AlreadyExists`; empty where the server gives none. */
  readonly reason: string;
  /** How long it wants to be left alone; 0 where it does not say. */
  readonly retryAfterMs: number;

  constructor(status: number, reason: string, message: string, retryAfterMs = 0) {
    super(message);
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }
}

/** How long whoever has answered so wants to be left alone. */
export const retryAfterMsOf = (error: unknown): number => (error instanceof ApiRefusal ? error.retryAfterMs : 0);

/** Creates or changes only the fields that the body names, which are then ours. https://kubernetes.io/docs/reference/using-api/server-side-apply/ */
export const applyContentType = 'application/apply-patch+yaml'; // JSON is YAML
/** https://www.rfc-editor.org/rfc/rfc7396 */
export const mergeContentType = 'application/merge-patch+json';
/** By which the API server knows our fields, https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers */
export const fieldManager = 'sallyport';

const answerWithinMs = 30_000;

/** @param onWarning called with what the API server has to say about a request that it does, as admission webhooks have it do */
export function createApiClient(access: ApiAccess, onWarning?: (text: string) => void): ApiClient {
  const { server: base = '', proxyUrl } = access.getCurrentCluster() ?? {};
  const isPlain = base.startsWith('http:');
  /** By how much the API server's clock is ahead of one that only goes forward. */
  let serverAheadMs: number | undefined;
  const keptOpen = isPlain ? new HttpAgent({ keepAlive: true }) : new Agent({ keepAlive: true });

  /** Resolves with the head of the answer. */
  async function ask({ method, path, query = {}, body, contentType = 'application/json', accept = 'application/json' }: ApiRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(base.replace(/\/$/, '') + path);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const own: RequestOptions = {};
    await access.applyToHTTPSOptions(own);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      ...own,
      // A proxy has an agent of its own; the usual one would be without keep-alive.
      agent: proxyUrl === undefined ? keptOpen : own.agent,
      method,
      signal,
      headers: { ...(own.headers as OutgoingHttpHeaders | undefined), accept, ...(text === undefined ? {} : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }) },
    };
    const head = await new Promise<IncomingMessage>((resolve, reject) => {
      const sent = isPlain ? httpRequest(url, options, resolve) : httpsRequest(url, options, resolve);
      sent.once('error', reject);
      sent.end(text);
    });
    const date = Date.parse(head.headers.date ?? '');
    if (!Number.isNaN(date)) serverAheadMs = date - performance.now();
    return head;
  }

  return {
    serverTime: () => (serverAheadMs === undefined ? undefined : performance.now() + serverAheadMs),
    async request<Answer>(request: ApiRequest): Promise<Answer> {
      const answer = await ask(request, AbortSignal.timeout(request.withinMs ?? answerWithinMs));
      const text = await textOf(answer);
      if (onWarning !== undefined) warningsOf(answer).forEach(onWarning);
      if (!isSuccess(answer)) throw refusalOf(answer, text);
      return JSON.parse(text) as Answer;
    },
    async *lines(path, query, { signal, silentMs, onAccepted }) {
      const silence = new AbortController();
      const hear = (): NodeJS.Timeout => setTimeout(() => silence.abort(new Error(`the API server has been silent for ${silentMs / 1000} s`)), silentMs);
      let timer = hear();
      try {
        const answer = await ask({ method: 'GET', path, query }, AbortSignal.any([signal, silence.signal]));
        if (!isSuccess(answer)) throw refusalOf(answer, await textOf(answer));
        onAccepted?.();
        for await (const line of createInterface({ input: answer })) {
          clearTimeout(timer);
          timer = hear();
          yield line;
        }
        // readline takes an answer that was broken off for one that has ended
        if (answer.errored !== null) throw answer.errored;
      } catch (error) {
        throw silence.signal.aborted ? (silence.signal.reason as Error) : error;
      } finally {
        clearTimeout(timer);
        silence.abort(); // whoever stops reading lets go of the connection
      }
    },
  };
}

/** What there is at a path; undefined for nothing. */
export async function readIfThere<Answer>(client: Pick<ApiClient, 'request'>, path: string, bound: Pick<ApiRequest, 'withinMs'> = {}): Promise<Answer | undefined> {
  return await client.request<Answer>({ method: 'GET', path, ...bound }).catch((error: unknown) => {
    if (error instanceof ApiRefusal && error.status === 404) return undefined;
    throw error;
  });
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300;
}

/** A header each, as in `299 - "unknown field \"spec.a\""`, https://www.rfc-editor.org/rfc/rfc7234#section-5.5 */
function warningsOf({ headersDistinct: { warning = [] } }: IncomingMessage): readonly string[] {
  return warning.flatMap((header) => {
    const quoted = /^299 \S+ "((?:[^"\\]|\\.)*)"/.exec(header)?.[1];
    return quoted === undefined ? [] : [quoted.replaceAll(/\\(.)/g, '$1')];
  });
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of answer) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('utf8');
}

/** Whoever says more, such as a proxy on the way, is not waited for longer. */
const retryAfterSecondsMax = 60;

/** As an API server says it that has too much to do, in seconds, https://kubernetes.io/docs/concepts/cluster-administration/flow-control/ */
function retryAfterOf({ headers }: IncomingMessage): number {
  const text = headers['retry-after'] ?? '';
  return /^[0-9]+$/.test(text) ? Math.min(Number(text), retryAfterSecondsMax) * 1000 : 0;
}

function refusalOf(answer: IncomingMessage, text: string): ApiRefusal {
  const { statusCode = 0 } = answer;
  let status: { readonly reason?: unknown; readonly message?: unknown } = {};
  try {
    status = JSON.parse(text) as typeof status;
  } catch {
    // not of the API server: a proxy on the way, which says it in a page
  }
  const { reason, message } = status;
  return new ApiRefusal(statusCode, typeof reason === 'string' ? reason : '', typeof message === 'string' ? message : `the API server answers ${statusCode}`, retryAfterOf(answer));
}
