/** HTTP heads out of a socket that is otherwise not read: what follows a head stays in the socket, and so slows its sender. */
import type { Socket } from 'node:net';
import { createHeadReader, type HeadRead } from '../core/connect-request.ts';

export type SocketEnd = { readonly kind: 'timeout' } | { readonly kind: 'closed' };

/** Reads one head. Holds no more than that, and what one read gave. */
export function readHead(socket: Socket, timeoutMs: number): Promise<Exclude<HeadRead, { kind: 'incomplete' }> | SocketEnd> {
  const reader = createHeadReader();
  return pull(socket, timeoutMs, (chunk) => {
    const read = reader(chunk);
    if (read.kind === 'head' && read.rest.length > 0) socket.unshift(read.rest);
    return read.kind === 'incomplete' ? undefined : read;
  });
}

/** Passes on exactly so many bytes, as fast as `to` takes them. */
export async function passBytes(from: Socket, to: Socket, bytes: number, timeoutMs: number): Promise<{ readonly kind: 'passed' } | SocketEnd> {
  let left = bytes;
  while (left > 0) {
    const passed = await pull(from, timeoutMs, (chunk) => {
      if (chunk.length > left) from.unshift(chunk.subarray(left));
      const part = chunk.subarray(0, left);
      left -= part.length;
      return { kind: 'passed' as const, roomLeft: to.write(part) };
    });
    if (passed.kind !== 'passed') return passed;
    if (!passed.roomLeft && !(await happens(to, 'drain', timeoutMs))) return { kind: 'timeout' };
  }
  return { kind: 'passed' };
}

/** Waits for the event or for the socket's end. False where neither came in time. */
export function happens(socket: Socket, event: 'close' | 'drain' | 'readable', timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const settle = (answer: boolean): void => {
      clearTimeout(timer);
      socket.off(event, onEvent).off('close', onEvent);
      resolve(answer);
    };
    const onEvent = (): void => settle(true);
    const timer = setTimeout(() => settle(false), timeoutMs);
    socket.on(event, onEvent).on('close', onEvent);
    if (socket.destroyed) onEvent();
  });
}

/** Reads chunk by chunk until `take` has an answer. */
function pull<Answer>(socket: Socket, timeoutMs: number, take: (chunk: Buffer) => Answer | undefined): Promise<Answer | SocketEnd> {
  return new Promise((resolve) => {
    const settle = (answer: Answer | SocketEnd): void => {
      clearTimeout(timer);
      socket.off('readable', onReadable).off('end', onClosed).off('close', onClosed);
      resolve(answer);
    };
    const onClosed = (): void => settle({ kind: 'closed' });
    const onReadable = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        const answer = take(chunk);
        if (answer !== undefined) {
          settle(answer);
          return;
        }
      }
    };
    const timer = setTimeout(() => settle({ kind: 'timeout' }), timeoutMs);
    socket.on('readable', onReadable).on('end', onClosed).on('close', onClosed);
    if (socket.destroyed || socket.readableEnded) onClosed();
    else onReadable();
  });
}
