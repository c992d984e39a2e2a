/** Datagrams onto a mesh connection: what agent and gateway both do. */
import type { Writable } from 'node:stream';
import { encodeDatagram, type Datagram } from '../core/udp/capsule.ts';

/** What may wait for a slow connection. Above it datagrams are dropped, as a router with a full queue does. */
export const backlogBytesMax = 262_144;

export interface DatagramWriter {
  /** Whether it is on its way; false where it was dropped. */
  readonly write: (datagram: Datagram) => boolean;
}

/** What comes in one turn of the event loop goes out together. */
export function createDatagramWriter(stream: Writable): DatagramWriter {
  return {
    write(datagram) {
      if (!stream.writable || stream.writableLength > backlogBytesMax) return false;
      if (stream.writableCorked === 0) {
        stream.cork();
        setImmediate(() => stream.uncork());
      }
      stream.write(encodeDatagram(datagram));
      return true;
    },
  };
}
