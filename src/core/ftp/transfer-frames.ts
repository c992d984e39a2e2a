/**
 * Transfers on a data connection that is kept: frames of one byte for the kind and four for the length of what follows, so that one
 * transfer can end and the next begin. See docs/decisions/0412-kept-data-connections.md.
 */
export type TransferFrame =
  /** The workload's end of a data connection is there. */
  | { readonly kind: 'begin' }
  /** A part of what is transferred, as much as has come of it. Shares memory with the chunk. */
  | { readonly kind: 'data'; readonly payload: Buffer }
  /** No more comes this way of this transfer. */
  | { readonly kind: 'end' };

const kinds = { begin: 0, data: 1, end: 2 } as const;
const headBytes = 5;

export const beginFrame = head(kinds.begin, 0);
export const endFrame = head(kinds.end, 0);

/** What stands before so many bytes of a transfer. */
export function dataHead(bytes: number): Buffer {
  return head(kinds.data, bytes);
}

function head(kind: number, bytes: number): Buffer {
  const text = Buffer.allocUnsafe(headBytes);
  text.writeUInt8(kind, 0);
  text.writeUInt32BE(bytes, 1);
  return text;
}

/** Reads a stream of frames, however it is split. */
export interface TransferFrameReader {
  /** In the order of the stream; undefined where it is no such stream, and must be given up. */
  take(chunk: Buffer): readonly TransferFrame[] | undefined;
}

/** Holds the head of one frame at most. */
export function createTransferFrameReader(): TransferFrameReader {
  const held = Buffer.alloc(headBytes);
  let heldBytes = 0;
  /** Of a data frame, still to come. */
  let dataBytes = 0;

  function take(chunk: Buffer): readonly TransferFrame[] | undefined {
    const frames: TransferFrame[] = [];
    let offset = 0;
    while (offset < chunk.length) {
      if (dataBytes > 0) {
        const payload = chunk.subarray(offset, offset + dataBytes);
        frames.push({ kind: 'data', payload });
        dataBytes -= payload.length;
        offset += payload.length;
        continue;
      }
      const copied = chunk.copy(held, heldBytes, offset);
      heldBytes += copied;
      offset += copied;
      if (heldBytes < headBytes) break;
      heldBytes = 0;
      const bytes = held.readUInt32BE(1);
      if (held[0] === kinds.data) dataBytes = bytes;
      else if (bytes > 0) return undefined;
      else if (held[0] === kinds.begin) frames.push({ kind: 'begin' });
      else if (held[0] === kinds.end) frames.push({ kind: 'end' });
      else return undefined;
    }
    return frames;
  }

  return { take };
}
