/**
 * Length-prefixed messages, as gRPC puts them into the data of an HTTP/2 stream (gRPC over HTTP2, "Length-Prefixed-Message"):
 * a byte that says whether the message is compressed, its length in four bytes, and the message.
 */

/** Bytes of what stands before a message. */
export const prefixBytes = 5;

/** What stands before a message of this length. */
export function messagePrefix(bytes: number): Buffer {
  const prefix = Buffer.allocUnsafe(prefixBytes);
  prefix[0] = 0;
  prefix.writeUInt32BE(bytes, 1);
  return prefix;
}

/** Below this a copy costs less than another piece does on its way. */
export const sharedBytesMin = 4_096;

/**
 * What goes out for a message that is given as pieces which follow one another: all before the first large one in one piece,
 * and from there the very pieces, since many calls may share them.
 */
export function frameMessage(parts: readonly Uint8Array[]): readonly Uint8Array[] {
  const firstLarge = parts.findIndex(({ length }) => length >= sharedBytesMin);
  const joined = firstLarge === -1 ? parts.length : firstLarge;
  const prefix = messagePrefix(parts.reduce((bytes, { length }) => bytes + length, 0));
  return [Buffer.concat([prefix, ...parts.slice(0, joined)]), ...parts.slice(joined)];
}

/** Why a stream of messages cannot be read on. */
export type FramingFault = 'compressed' | 'too-large';

export interface Deframer {
  /**
   * Takes what came, and gives the messages that are whole with it; they may share its memory. After a fault nothing more can
   * be read.
   */
  push(chunk: Buffer): readonly Buffer[] | FramingFault;
  /** Whether a message has begun and is not whole. */
  isWithinMessage(): boolean;
}

const nothing = Buffer.alloc(0);

/** Cuts a stream of bytes, whatever its pieces, into its messages. Holds at most one message of `messageBytesMax`, also where it comes byte by byte. */
export function createDeframer(messageBytesMax: number): Deframer {
  /** The beginning of a message, in the first `pendingBytes` of it. */
  let pending: Buffer = nothing;
  let pendingBytes = 0;
  /** With fewer bytes than this there is nothing to do: a prefix, or a whole message with its prefix. */
  let neededBytes = prefixBytes;

  function append(chunk: Buffer): void {
    const bytes = pendingBytes + chunk.length;
    if (bytes > pending.length) {
      const larger = Buffer.allocUnsafe(Math.max(bytes, Math.min(neededBytes, 2 * pending.length)));
      pending.copy(larger, 0, 0, pendingBytes);
      pending = larger;
    }
    chunk.copy(pending, pendingBytes);
    pendingBytes = bytes;
  }

  return {
    isWithinMessage: () => pendingBytes > 0, // not a getter, for which V8 would keep the whole object as a hash table
    push(chunk) {
      const isFirst = pendingBytes === 0;
      if (!isFirst) append(chunk);
      let rest = isFirst ? chunk : pending.subarray(0, pendingBytes);
      if (rest.length < neededBytes && !isFirst) return [];
      const messages: Buffer[] = [];
      for (;;) {
        neededBytes = prefixBytes;
        if (rest.length < prefixBytes) break;
        if (rest[0] !== 0) return 'compressed';
        const length = rest.readUInt32BE(1);
        if (length > messageBytesMax) return 'too-large';
        neededBytes = prefixBytes + length;
        if (rest.length < neededBytes) break;
        messages.push(rest.subarray(prefixBytes, neededBytes));
        rest = rest.subarray(neededBytes);
      }
      pending = rest.length === 0 ? nothing : Buffer.from(rest); // not of the memory that messages share, nor of the connection's
      pendingBytes = rest.length;
      return messages;
    },
  };
}
