/** The shell around core's FTP reducer, the same at the gateway and at the agent: streams and timers in, effects out. */
import type { Duplex } from 'node:stream';
import { beginFtpSession, readsClient, readsServer, stepFtpSession } from '../core/ftp/index.ts';
import type { FtpEffect, FtpEvent, FtpNotice, FtpParties } from '../core/ftp/index.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';

/** One data connection that is awaited, at most one a session. */
export interface DataOffer {
  /** At the session's `clientFacingAddress`. */
  readonly port: number;
  /** Resolves when nothing is left of it: it was never used, or its transfer is over. Never rejects. */
  readonly done: Promise<void>;
  /** Awaits no connection any more. A transfer that has begun goes on. */
  close(): void;
}

export interface FtpSessionOptions extends FtpParties {
  readonly client: Duplex;
  readonly server: Duplex;
  /** Awaits a data connection for this port of `serverAddress`. Settles soon: it only opens a listener. A rejection becomes a 425. */
  readonly offerData: (serverPort: number) => Promise<DataOffer>;
  readonly onNotice: (notice: FtpNotice) => void;
  /** Of the control connection. It does not run while a transfer does, which may take hours. */
  readonly idleTimeoutMs: number;
}

export interface FtpSessionEnd {
  readonly reason: ConnectionReason;
  /** From client to server. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
}

export interface FtpSession {
  /** Resolves when both connections are closed; transfers may still run. Never rejects. */
  readonly ended: Promise<FtpSessionEnd>;
  /** Ends the session, with 421 to the client, within `closingTimeoutMs`. */
  stop(reason: ConnectionReason): void;
}

/** How long the last reply may take to reach a peer that does not read. */
const closingTimeoutMs = 500;

/** Relays one control connection, both streams of which are open, until either ends. Owns both: they are destroyed in the end. */
export function runFtpSession(options: FtpSessionOptions): FtpSession {
  const { client, server } = options;
  let state = beginFtpSession(options);
  let offer: DataOffer | undefined;
  let transfers = 0; // offers that are not done: being awaited or in use
  let bytesSent = 0;
  let bytesReceived = 0;
  const { promise: ended, resolve } = Promise.withResolvers<FtpSessionEnd>();
  const idleTimer = setTimeout(() => {
    if (transfers > 0) idleTimer.refresh();
    else handle({ type: 'stop', reason: 'idle-timeout' });
  }, options.idleTimeoutMs);

  function handle(event: FtpEvent): void {
    const step = stepFtpSession(state, event);
    state = step.state;
    for (const effect of step.effects) perform(effect);
    if (!state.ended) setReading();
  }

  /** Back pressure: neither side is read while the other takes no more, nor the client while it does not read our own answers. */
  function setReading(): void {
    setFlowing(client, readsClient(state) && !server.writableNeedDrain && !client.writableNeedDrain);
    setFlowing(server, readsServer(state) && !client.writableNeedDrain);
  }

  function restartIdleTimer(): void {
    if (!state.ended) idleTimer.refresh(); // a cleared timer would start again
  }

  function perform(effect: FtpEffect): void {
    switch (effect.type) {
      case 'send-client':
        if (client.writable) client.write(effect.text, 'latin1');
        break;
      case 'send-server':
        if (server.writable) server.write(effect.text, 'latin1');
        break;
      case 'open-offer':
        void openOffer(effect.serverPort);
        break;
      case 'notice':
        options.onNotice(effect.notice);
        break;
      case 'end-server':
        server.end();
        break;
      case 'end':
        finish(effect.reason);
    }
  }

  async function openOffer(serverPort: number): Promise<void> {
    offer?.close();
    offer = undefined;
    let opened: DataOffer;
    try {
      opened = await options.offerData(serverPort);
    } catch {
      handle({ type: 'offer-failed' }); // the client learns it by 425; the reason is the business of who opens offers
      return;
    }
    if (state.ended) {
      opened.close();
      return;
    }
    offer = opened;
    transfers += 1;
    void opened.done.then(() => {
      transfers -= 1;
      restartIdleTimer();
    });
    handle({ type: 'offer-ready', port: opened.port });
  }

  function finish(reason: ConnectionReason): void {
    clearTimeout(idleTimer);
    offer?.close();
    void Promise.all([client, server].map(closeStream)).then(() => resolve({ reason, bytesSent, bytesReceived }));
  }

  client.on('data', (chunk: Buffer) => {
    bytesSent += chunk.length;
    restartIdleTimer();
    handle({ type: 'client-bytes', text: chunk.toString('latin1') });
  });
  server.on('data', (chunk: Buffer) => {
    bytesReceived += chunk.length;
    restartIdleTimer();
    handle({ type: 'server-bytes', text: chunk.toString('latin1') });
  });
  client.on('end', () => handle({ type: 'client-ended' }));
  server.on('end', () => handle({ type: 'server-ended' }));
  for (const [stream, reason] of [[client, 'client-closed'], [server, 'target-reset']] as const) {
    stream.on('drain', () => {
      if (!state.ended) setReading();
    });
    stream.on('error', () => handle({ type: 'stop', reason }));
    stream.on('close', () => handle({ type: 'stop', reason }));
  }
  setReading();
  // Either may be gone, or have ended its side, before this session began, and says so no more.
  if (client.destroyed || server.destroyed) handle({ type: 'stop', reason: client.destroyed ? 'client-closed' : 'target-reset' });
  if (client.readableEnded) handle({ type: 'client-ended' });
  if (server.readableEnded) handle({ type: 'server-ended' });

  return { ended, stop: (reason) => handle({ type: 'stop', reason }) };
}

function setFlowing(stream: Duplex, flowing: boolean): void {
  if (flowing && stream.isPaused()) stream.resume();
  else if (!flowing && !stream.isPaused()) stream.pause();
}

/** Flushes and ends a stream, reads away what still comes, and resolves when it is closed: by its peer, or after `closingTimeoutMs`. */
export async function closeStream(stream: Duplex): Promise<void> {
  if (stream.closed) return;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => stream.destroy(), closingTimeoutMs);
  stream.once('close', () => resolve(undefined));
  stream.end();
  stream.resume();
  await promise;
  clearTimeout(timer);
}
