/** A data connection between agent and gateway that is kept for the next transfer of its FTP session, so that not each file costs a handshake. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { beginFrame, createTransferFrameReader, dataHead, endFrame, type TransferFrame } from '../core/ftp/index.ts';
import { reset } from './reset.ts';

export interface KeptConnection {
  /** Whether no transfer runs. */
  readonly isIdle: boolean;
  /**
   * Begins a transfer, on an idle connection: a stream with half-closes, which stays open for both to end it. It never fails with an error;
   * destroyed before both have ended it, it takes the connection with it, and both ends see a reset.
   */
  begin(): Duplex;
  /** Of an idle connection: the transfer that the other end begins next; undefined where the connection closes before. Whoever begins one unawaited is reset. */
  next(): Promise<Duplex | undefined>;
  /** In order where it is idle, with a reset where a transfer runs. */
  close(): void;
  /** Resolves when it is closed. */
  readonly closed: Promise<void>;
}

interface Transfer {
  readonly stream: Duplex;
  /** No more goes that way, or comes from there. */
  hasSentEnd: boolean;
  hasEnded: boolean;
}

/** Up to here a head and what follows are copied into one write, which is one TLS record and one system call. */
const copiedBytesMax = 16 << 10;

/** Takes over a connection on which nothing was read or written yet, and that has an error listener. `onIdle` is called after each transfer. */
export function keepConnection(carrier: Socket, onIdle: () => void = () => undefined): KeptConnection {
  const reader = createTransferFrameReader();
  let transfer: Transfer | undefined;
  let awaiting: ((stream: Duplex | undefined) => void) | undefined;
  const { promise: closed, resolve } = Promise.withResolvers<undefined>();

  const isIdle = (): boolean => transfer === undefined;

  function open(): Duplex {
    const opened: Transfer = {
      stream: new Duplex({
        read() {
          if (transfer === opened) carrier.resume();
        },
        write(chunk: Buffer, _encoding, done) {
          send(chunk, () => done());
        },
        final(done) {
          opened.hasSentEnd = true;
          carrier.write(endFrame, () => done());
          settle(opened);
        },
        destroy(error, done) {
          if (transfer === opened) reset(carrier);
          done(error);
        },
      }),
      hasSentEnd: false,
      hasEnded: false,
    };
    transfer = opened;
    return opened.stream;
  }

  function send(chunk: Buffer, done: () => void): void {
    const head = dataHead(chunk.length);
    if (chunk.length > copiedBytesMax) {
      carrier.write(head);
      carrier.write(chunk, done);
    } else {
      carrier.write(Buffer.concat([head, chunk]), done);
    }
  }

  function settle(of: Transfer): void {
    if (!of.hasSentEnd || !of.hasEnded) return;
    transfer = undefined;
    carrier.resume(); // which the reader of this transfer may have stopped
    onIdle();
  }

  /** Whether the frame may come now. */
  function handle(frame: TransferFrame): boolean {
    if (frame.kind === 'begin') {
      const begin = awaiting;
      if (begin === undefined) return false;
      awaiting = undefined;
      begin(open());
      return true;
    }
    if (transfer === undefined || transfer.hasEnded) return false;
    if (frame.kind === 'data') {
      if (!transfer.stream.push(frame.payload)) carrier.pause();
    } else {
      transfer.hasEnded = true;
      transfer.stream.push(null);
      settle(transfer);
    }
    return true;
  }

  carrier.on('data', (chunk: Buffer) => {
    if (reader.take(chunk)?.every(handle) !== true) reset(carrier);
  });
  carrier.once('end', close);
  carrier.once('close', () => {
    transfer?.stream.destroy();
    awaiting?.(undefined);
    resolve(undefined);
  });

  function close(): void {
    if (isIdle()) carrier.destroySoon();
    else reset(carrier);
  }

  return {
    get isIdle() {
      return isIdle();
    },
    begin() {
      carrier.write(beginFrame);
      return open();
    },
    next: () =>
      new Promise((begin) => {
        if (carrier.destroyed) begin(undefined);
        else awaiting = begin;
      }),
    close,
    closed,
  };
}
