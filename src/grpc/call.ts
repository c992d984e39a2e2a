/** One call over one HTTP/2 stream: what unary and streaming calls have in common, below what their handlers see. */
import { Metadata, status, type StatusObject } from '@grpc/grpc-js';
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { createDeframer, frameMessage, type FramingFault } from './framing.ts';
import { parseTimeoutMs, statusHeaders } from './status.ts';
import type { Peer } from './connection.ts';

export interface CallOptions {
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly peer: Peer;
  readonly messageBytesMax: number;
}

export interface CallEvents {
  /** A message came whole. Returns whether more may come at once; else `resume` asks for it. */
  message(bytes: Buffer): boolean;
  /** The client has said all that it had to. */
  requestEnd(): void;
  /** The client, its connection or its time limit ended the call before it had a status. */
  cancelled(): void;
}

export interface Call {
  readonly peer: Peer;
  readonly metadata: Metadata;
  /** Milliseconds since the epoch, or `Infinity`. */
  readonly deadline: number;
  readonly path: string;
  readonly host: string;
  /** Begins to read the request. */
  readonly start: (events: CallEvents) => void;
  readonly resume: () => void;
  /** Sends headers now; otherwise they go with the first message or the status. */
  readonly sendMetadata: (metadata: Metadata) => void;
  /** A message in pieces that follow one another. `written` is called once the bytes have gone to the connection, which is as soon as the client's flow control lets them; never after the call is over. */
  readonly sendMessage: (parts: readonly Uint8Array[], written?: () => void) => void;
  /** Ends the call once everything before is on its way; of several the first counts. */
  readonly sendStatus: (outcome: StatusObject) => void;
  /** Ends a call that has no status yet at once, and drops what is not sent. */
  readonly reset: () => void;
}

const responseHeaders = { ':status': constants.HTTP_STATUS_OK, 'content-type': 'application/grpc+proto' } as const;
const lingerMs = 5_000;

const faultStatus: Readonly<Record<FramingFault, Pick<StatusObject, 'code' | 'details'>>> = {
  compressed: { code: status.UNIMPLEMENTED, details: 'compressed messages are not taken' },
  'too-large': { code: status.RESOURCE_EXHAUSTED, details: 'a message is larger than this server takes' },
};

export function openCall({ stream, headers, peer, messageBytesMax }: CallOptions): Call {
  const timeoutMs = parseTimeoutMs(String(headers['grpc-timeout'] ?? ''));
  let events: CallEvents | undefined;
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;

  function over(): boolean {
    if (isOver) return false;
    isOver = true;
    clearTimeout(timer);
    return true;
  }

  function sendStatus(outcome: StatusObject): void {
    if (!over()) return;
    if (stream.destroyed || stream.closed) return;
    if (!stream.headersSent) {
      stream.respond({ ...responseHeaders, ...statusHeaders(outcome) }, { endStream: true });
    } else {
      stream.once('wantTrailers', () => stream.sendTrailers(statusHeaders(outcome)));
      stream.end();
    }
    if (!stream.readableEnded) linger();
  }

  /** Drops what the client still has to say. A reset would overtake the status, so it comes only to one that does not stop. */
  function linger(): void {
    stream.resume();
    const forced = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), lingerMs);
    stream.once('close', () => clearTimeout(forced));
  }

  function cancel(): void {
    if (over()) events?.cancelled();
  }

  const deframer = createDeframer(messageBytesMax);
  function receive(chunk: Buffer): void {
    if (isOver) return;
    const messages = deframer.push(chunk);
    if (typeof messages === 'string') {
      fail(faultStatus[messages]);
      return;
    }
    let wantsMore = true;
    for (const message of messages) wantsMore = events!.message(message);
    if (!wantsMore) stream.pause();
  }

  function fail({ code, details }: Pick<StatusObject, 'code' | 'details'>): void {
    sendStatus({ code, details, metadata: new Metadata() });
    events?.cancelled();
  }

  stream.on('error', cancel); // 'close' follows
  stream.on('aborted', cancel); // before Node lets the request end as if nothing were
  stream.on('close', cancel);

  return {
    peer,
    metadata: Metadata.fromHttp2Headers(headers),
    deadline: timeoutMs === undefined ? Infinity : Date.now() + timeoutMs,
    path: String(headers[':path']),
    host: headers[':authority'] ?? headers.host ?? '',
    start(handlers) {
      events = handlers;
      if (timeoutMs !== undefined) timer = setTimeout(() => fail({ code: status.DEADLINE_EXCEEDED, details: 'the time that the caller gave is over' }), Math.min(timeoutMs, timerMsMax));
      stream.on('data', receive);
      stream.on('end', () => {
        if (isOver) return;
        if (deframer.isWithinMessage()) fail({ code: status.INTERNAL, details: 'the request ends within a message' });
        else handlers.requestEnd();
      });
    },
    resume: () => stream.resume(),
    sendMetadata(metadata) {
      if (isOver || stream.headersSent || stream.destroyed) return;
      stream.respond({ ...metadata.toHttp2Headers(), ...responseHeaders }, { waitForTrailers: true });
    },
    sendMessage(parts, written) {
      if (isOver || stream.destroyed || stream.closed) return;
      if (!stream.headersSent) stream.respond(responseHeaders, { waitForTrailers: true });
      const pieces = frameMessage(parts);
      const last = pieces.at(-1);
      // Several writes in one go. A single one has no need of that, and costs less without.
      if (pieces.length > 1) stream.cork();
      for (const piece of pieces.slice(0, -1)) stream.write(piece);
      stream.write(last, (error) => {
        if (!error) written?.();
      });
      if (pieces.length > 1) stream.uncork();
    },
    sendStatus,
    reset() {
      if (over()) stream.close(constants.NGHTTP2_CANCEL);
    },
  };
}

const timerMsMax = 2 ** 31 - 1; // setTimeout's own
