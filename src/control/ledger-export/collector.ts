/** The shell: requests to a collector by OTLP/HTTP. */
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent, request as httpsRequest } from 'node:https';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { SallyportError } from '../../core/errors.ts';
import { readBody } from '../answer-body.ts';
import { parseHeaders } from './headers.ts';
import type { HttpAnswer } from './otlp-answer.ts';

export interface CollectorOptions {
  readonly url: URL;
  /** PEM of the CAs that its certificate may come from; absent: those that Node trusts. */
  readonly caFile?: string;
  /** Lines of headers, such as `Authorization: Bearer ...`. */
  readonly headersFile?: string;
}

export interface Collector {
  /** Reads the files, which are read anew for each request too: both are rotated. Throws `file-unreadable`, `request-invalid`. */
  check(): Promise<void>;
  /** Throws where there is no answer in time, or none over a connection that can be trusted. */
  post(body: Uint8Array, signal: AbortSignal): Promise<HttpAnswer>;
  close(): void;
}

const answerWithinMs = 30_000;
const answerBytesMax = 64 * 1024;
const compress = promisify(gzip);

export function createCollector({ url, caFile, headersFile }: CollectorOptions): Collector {
  const isPlain = url.protocol === 'http:';
  // One connection, since there is one request at a time. A changed CA is another connection.
  const agent = isPlain ? new HttpAgent({ keepAlive: true, maxSockets: 1 }) : new Agent({ keepAlive: true, maxSockets: 1 });

  async function readFiles(): Promise<{ readonly ca: string | undefined; readonly headers: Readonly<Record<string, string>> }> {
    const [ca, headers] = await Promise.all([caFile, headersFile].map(readIfNamed));
    return { ca, headers: headers === undefined ? {} : parseHeaders(headers, headersFile!) };
  }

  return {
    async check() {
      await readFiles();
    },
    async post(body, outer) {
      const { ca, headers } = await readFiles();
      const packed = await compress(body);
      const signal = AbortSignal.any([outer, AbortSignal.timeout(answerWithinMs)]);
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        const options = { agent, method: 'POST', signal, headers: { ...headers, 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip', 'content-length': packed.length } };
        const sent = isPlain ? httpRequest(url, options, resolve) : httpsRequest(url, { ...options, ...(ca === undefined ? {} : { ca }), minVersion: 'TLSv1.2', rejectUnauthorized: true }, resolve);
        sent.once('error', reject);
        sent.end(packed);
      });
      const { statusCode = 0, headers: said } = answer;
      return { status: statusCode, contentType: said['content-type'] ?? '', retryAfter: said['retry-after'], body: await readBody(answer, answerBytesMax) };
    },
    close: () => agent.destroy(),
  };
}

async function readIfNamed(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SallyportError('file-unreadable', `file "${path}" cannot be read`, { place: path, cause });
  });
}
