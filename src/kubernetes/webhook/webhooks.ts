/** The webhooks over HTTPS: what the API server asks before it stores a pod or a custom resource of ours. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { V1Pod } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { readAdmissionReview, writeAdmissionReview, type AdmissionAnswer, type AdmissionRequest } from './admission-review.ts';
import type { AgentSettings } from './agent-sidecar.ts';
import { injectAgent } from './injection.ts';
import { reviewChange, type ValidateChange } from './validation.ts';

/** The paths of the webhook configurations. */
export const webhookPaths = { inject: '/inject', validate: '/validate' } as const;

/** A server certificate for `SERVICE.NAMESPACE.svc`, by which the API server asks. */
export interface ServerIdentity {
  /** Leaf first. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
}

export interface WebhookOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: ServerIdentity;
  readonly inject: AgentSettings;
  readonly validate: ValidateChange;
  readonly log: Logger;
}

export interface Webhooks {
  readonly port: number;
  /** From the next connection on; those that there are stay. Throws for what is no certificate with its key, and goes on with the one before. */
  setIdentity(identity: ServerIdentity): void;
  /** Answers what has been asked. */
  close(): Promise<void>;
}

/** An API server takes 3 MiB of its clients, and sends as much again for an object as it was. */
const bodyBytesMax = 6 * 1024 * 1024 + 64 * 1024;
/** Of all at once: whoever reaches the port may ask, and a body is held until it is whole. */
const heldBytesMax = 64 * 1024 * 1024;
const connectionsMax = 512;
/** More would be answered when nobody waits for it any more. */
const reviewsMax = 64;
const bodyWithinMs = 10_000;
/** Go's clients keep a connection for 90 s, and a request that meets its end on the way has failed: the pod with it. */
const keepAliveMs = 120_000;
/** Of the time that the API server gives (`timeoutSeconds`): the rest is for the way. */
const shareOfTimeout = 0.8;
const defaultTimeoutMs = 10_000;
const endingWithinMs = 5_000;

/** Resolves when it listens. Throws SallyportError `unavailable` where it cannot. */
export async function startWebhooks({ host, port, identity, inject, validate, log }: WebhookOptions): Promise<Webhooks> {
  let heldBytes = 0;
  let reviews = 0;
  let isEnding = false;
  const reviewers: Readonly<Record<string, (request: AdmissionRequest) => AdmissionAnswer | Promise<AdmissionAnswer>>> = {
    [webhookPaths.inject]: (request) => reviewPod(request, inject, log),
    [webhookPaths.validate]: (request) => reviewChange(request, inject.systemNamespace, validate),
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://webhook');
    const review = reviewers[url.pathname];
    if (review === undefined) throw new SallyportError('not-found', 'there is no such webhook');
    const asked = readAdmissionReview(await readBody(request));
    const answered = await within(timeoutMsOf(url) * shareOfTimeout, bounded(() => review(asked)));
    if (!answered.allowed) log.info({ ...subjectOf(asked), reason: answered.status.message }, 'change refused');
    send(response, 200, 'application/json', writeAdmissionReview(asked.uid, answered));
  }

  async function readBody(request: IncomingMessage): Promise<string> {
    const bytes = Number(request.headers['content-length']);
    if (request.method !== 'POST' || request.headers['content-type']?.split(';')[0] !== 'application/json' || !Number.isSafeInteger(bytes)) throw new SallyportError('request-invalid', 'an AdmissionReview comes as JSON, by POST, with its length');
    if (bytes > bodyBytesMax) throw new SallyportError('request-too-large', `the request is larger than ${bodyBytesMax} bytes`);
    if (heldBytes + bytes > heldBytesMax) throw new SallyportError('unavailable', 'too many requests are held already');
    heldBytes += bytes;
    try {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      return Buffer.concat(pieces).toString('utf8');
    } finally {
      heldBytes -= bytes;
    }
  }

  async function bounded(review: () => AdmissionAnswer | Promise<AdmissionAnswer>): Promise<AdmissionAnswer> {
    if (reviews >= reviewsMax) throw new SallyportError('unavailable', 'too many changes are looked at already');
    reviews += 1;
    try {
      return await review();
    } finally {
      reviews -= 1;
    }
  }

  const server = createServer({ ...credentialsOf(identity), minVersion: 'TLSv1.3', requestTimeout: bodyWithinMs, headersTimeout: bodyWithinMs, keepAliveTimeout: keepAliveMs, handshakeTimeout: bodyWithinMs }, (request, response) => {
    answer(request, response).catch((error: unknown) => refuse(request, response, error));
  });

  /** Left to the failure policy of the webhook. The message of an error that is not ours is for the log only. */
  function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const [status, message] = error instanceof SallyportError ? [error.meaning.http, error.message] : [500, 'internal error'];
    log[status >= 500 ? 'error' : 'debug']({ err: error, path: request.url?.slice(0, 200) }, 'admission request not answered');
    if (response.headersSent) response.destroy();
    else send(response, status, 'text/plain', message);
  }

  /** A connection is let go of at the end, and where a body may have been left unread. */
  function send(response: ServerResponse, status: number, contentType: string, text: string): void {
    response.writeHead(status, { 'content-type': contentType, ...(isEnding || status !== 200 ? { connection: 'close' } : {}) }).end(text);
  }

  server.maxConnections = connectionsMax;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new SallyportError('unavailable', `webhooks cannot be served on ${host}:${port}`, { cause })));
    server.listen({ host, port }, resolve);
  });

  return {
    port: (server.address() as AddressInfo).port,
    setIdentity: (next) => server.setSecureContext(credentialsOf(next)),
    close: () =>
      new Promise((resolve) => {
        isEnding = true;
        const impatience = setTimeout(() => server.closeAllConnections(), endingWithinMs);
        server.close(() => {
          clearTimeout(impatience);
          resolve();
        });
      }),
  };
}

function reviewPod(request: AdmissionRequest, settings: AgentSettings, log: Logger): AdmissionAnswer {
  const { kind, operation, object, namespace } = request;
  if (kind.kind !== 'Pod' || kind.group !== '' || operation !== 'CREATE') return { allowed: true, warnings: [] };
  const { outcome, patch, warnings } = injectAgent(object as V1Pod, namespace, settings);
  log.info({ ...subjectOf(request), outcome }, 'pod looked at for injection');
  return { allowed: true, ...(patch === null ? {} : { patch }), warnings };
}

function subjectOf({ kind, namespace, name, operation, object }: AdmissionRequest) {
  const { generateName } = (object?.['metadata'] ?? {}) as { readonly generateName?: string };
  return { kind: kind.kind, namespace, name: name === '' && generateName !== undefined ? `${generateName}*` : name, operation };
}

function credentialsOf({ certificateChainPem, privateKeyPem }: ServerIdentity) {
  return { cert: certificateChainPem, key: privateKeyPem };
}

/** What the API server gives with each request, as in `?timeout=10s`. */
function timeoutMsOf(url: URL): number {
  return parseDuration(url.searchParams.get('timeout') ?? '') ?? defaultTimeoutMs;
}

async function within<Answer>(ms: number, answer: Promise<Answer>): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new SallyportError('timeout', `there is no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
