/** The shell around core's FTP reducer, the same at the gateway and at the agent: streams and timers in, effects out. */
import type { Duplex } from 'node:stream';
import { beginFtpSession, readsClient, readsServer, stepFtpSession } from '../core/ftp/index.ts';
import type { DataEnd, FtpEffect, FtpEvent, FtpNotice, FtpParties, FtpRules, FtpTransferStart } from '../core/ftp/index.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';

/** One data connection, from the moment that it is prepared. */
export interface DataChannel {
  /** Our ports at which its ends are awaited: of `clientFacingAddress`, and of `serverFacingAddress`. Null for an end that is dialled. */
  readonly clientPort: number | null;
  readonly serverPort: number | null;
  /** The client's connection is one that is kept, which it has allowed. */
  readonly isKept?: boolean;
  /** Resolves when nothing is left of it: its ends never met, or its transfer is over. Never rejects. */
  readonly done: Promise<void>;
  /** Connects to a client that is not awaited. Resolves when it is connected, or is not to be. */
  dialClient(): Promise<void>;
  /** Gives it up, unless its ends have met: a transfer that has begun goes on. */
  close(): void;
  /** Breaks off its transfer, if that has begun, so that both ends see failure. */
  abort(): void;
}

export interface FtpSessionOptions extends FtpParties {
  readonly client: Duplex;
  readonly server: Duplex;
  /** Prepares a data connection. Settles soon: it waits for no party. A rejection becomes a 425. */
  readonly openChannel: (ends: DataEnds) => Promise<DataChannel>;
  readonly onNotice: (notice: FtpNotice) => void;
  /** What the client may do; by default whatever it wants. */
  readonly rules?: FtpRules | null;
  /** Told of each transfer; by default nobody is, and none is limited. */
  readonly transfers?: TransferFollower;
  /** Of the control connection. It does not run while a data connection is awaited or used, which may take hours. */
  readonly idleTimeoutMs: number;
}

/** Follows the transfers of a session, and holds them to their limits. */
export interface TransferFollower {
  /**
   * The server is asked for a transfer. `channel`: the latest data connection that was prepared, used already or not. `settle` is to be
   * called, once at least, when no more of a transfer with limits can pass.
   */
  begun(transfer: FtpTransferStart, channel: DataChannel | undefined, settle: (isTooLarge: boolean) => void): void;
  /** The server says that a limited transfer is over: `settle` is awaited. */
  concluding(id: number): void;
  /** The server's final reply to it; null where there is none. */
  ended(id: number, code: number | null): void;
}

export interface DataEnds {
  readonly client: DataEnd;
  readonly server: DataEnd;
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
  const { transfers } = options;
  let state = beginFtpSession(options, options.rules);
  let channel: DataChannel | undefined; // the latest; earlier ones may still carry their transfers
  const channels = new Set<DataChannel>();
  let bytesSent = 0;
  let bytesReceived = 0;
  const { promise: ended, resolve } = Promise.withResolvers<FtpSessionEnd>();
  const idleTimer = setTimeout(() => {
    if (channels.size > 0) idleTimer.refresh();
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
      case 'open-channel':
        void openChannel(effect);
        break;
      case 'dial-client':
        void channel?.dialClient().then(() => handle({ type: 'client-dialled' }));
        break;
      case 'close-channel':
        channel?.close();
        break;
      case 'abort-transfer':
        for (const each of channels) each.abort();
        break;
      case 'transfer-begun': {
        const { id } = effect.transfer;
        transfers?.begun(effect.transfer, channel, (isTooLarge) => queueMicrotask(() => handle({ type: 'transfer-settled', id, isTooLarge }))); // once these effects are performed
        break;
      }
      case 'conclude-transfer':
        transfers?.concluding(effect.id);
        break;
      case 'transfer-ended':
        transfers?.ended(effect.id, effect.code);
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

  async function openChannel(ends: DataEnds): Promise<void> {
    channel?.close();
    channel = undefined;
    let opened: DataChannel;
    try {
      opened = await options.openChannel(ends);
    } catch {
      handle({ type: 'channel-failed' }); // the client learns it by 425; the reason is the business of who opens channels
      return;
    }
    if (state.ended) {
      opened.close();
      return;
    }
    channel = opened;
    channels.add(opened);
    void opened.done.then(() => {
      channels.delete(opened);
      restartIdleTimer();
    });
    const { clientPort, serverPort, isKept = false } = opened;
    handle({ type: 'channel-ready', clientPort, serverPort, isKept });
  }

  function finish(reason: ConnectionReason): void {
    clearTimeout(idleTimer);
    channel?.close();
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
