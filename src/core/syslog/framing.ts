/**
 * Syslog messages in a stream of bytes. A frame that begins with a digit is counted, `LENGTH SP MESSAGE` (RFC 6587, section 3.4.1;
 * RFC 5425, section 4.3, knows this one only); one that begins with `<` ends with a line feed (RFC 6587, section 3.4.2). Which of
 * the two is seen at each frame anew, since senders do change (section 3.4.3).
 */

/** What begins otherwise ends the stream: nobody knows where the next frame does. */
export type SyslogFrame = { readonly kind: 'message'; readonly bytes: Buffer } | { readonly kind: 'too-long' } | { readonly kind: 'out-of-step' };

export interface SyslogDeframer {
  /** Takes what came, and gives the frames that are whole with it; they may share its memory. After `out-of-step` there are no more. */
  push(chunk: Buffer): readonly SyslogFrame[];
  /** Whether a frame has begun and is not whole. */
  isWithinFrame(): boolean;
}

const lineFeed = 0x0a;
const space = 0x20;
const lessThan = 0x3c;
const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

/** Of what is passed over because it is too long. A larger count is noise, and to wait for its end would be in vain. */
const countDigitsMax = 7;

type Phase = 'between' | 'count' | 'counted' | 'line' | 'lost';

/** Cuts a stream, whatever its pieces, into frames. Holds at most one message of `messageBytesMax`; what is longer is passed over. */
export function createSyslogDeframer(messageBytesMax: number): SyslogDeframer {
  let phase: Phase = 'between';
  let countText = '';
  /** Of the counted frame, still to come. */
  let bytesLeft = 0;
  /** The beginning of the message, in the first `heldBytes` of `held`. */
  let held = Buffer.alloc(0);
  let heldBytes = 0;
  let isTooLong = false;

  function hold(part: Buffer): void {
    isTooLong ||= heldBytes + part.length > messageBytesMax;
    if (isTooLong) return;
    if (heldBytes + part.length > held.length) {
      const larger = Buffer.allocUnsafe(Math.min(messageBytesMax, Math.max(heldBytes + part.length, 2 * held.length)));
      held.copy(larger, 0, 0, heldBytes);
      held = larger;
    }
    part.copy(held, heldBytes);
    heldBytes += part.length;
  }

  /** Ends the frame with its last part. */
  function complete(part: Buffer): SyslogFrame {
    const isWhole = heldBytes === 0 && !isTooLong && part.length <= messageBytesMax;
    if (!isWhole) hold(part);
    const frame: SyslogFrame = isTooLong ? { kind: 'too-long' } : { kind: 'message', bytes: isWhole ? part : held.subarray(0, heldBytes) };
    phase = 'between';
    held = Buffer.alloc(0);
    heldBytes = 0;
    isTooLong = false;
    return frame;
  }

  /** Reads on at `offset`, where there is a byte: how far it came, and the frame that ended there. */
  function step(chunk: Buffer, offset: number): { readonly offset: number; readonly frame?: SyslogFrame } {
    const byte = chunk[offset]!;
    switch (phase) {
      case 'between':
        if (byte === lineFeed) return { offset: offset + 1 }; // of a sender that ends counted frames with one too
        countText = '';
        phase = byte === lessThan ? 'line' : 'count';
        return { offset };
      case 'count':
        if (isDigit(byte) && !(byte === 0x30 && countText === '') && countText.length < countDigitsMax) countText += String.fromCharCode(byte);
        else if (byte === space && countText !== '') {
          bytesLeft = Number(countText);
          phase = 'counted';
        } else {
          phase = 'lost';
          return { offset, frame: { kind: 'out-of-step' } };
        }
        return { offset: offset + 1 };
      case 'counted': {
        const part = chunk.subarray(offset, offset + bytesLeft);
        bytesLeft -= part.length;
        if (bytesLeft === 0) return { offset: offset + part.length, frame: complete(part) };
        hold(part);
        return { offset: chunk.length };
      }
      case 'line': {
        const end = chunk.indexOf(lineFeed, offset);
        if (end !== -1) return { offset: end + 1, frame: complete(chunk.subarray(offset, end)) };
        hold(chunk.subarray(offset));
        return { offset: chunk.length };
      }
      case 'lost':
        return { offset: chunk.length };
    }
  }

  return {
    isWithinFrame: () => phase === 'count' || phase === 'counted' || phase === 'line',
    push(chunk) {
      const frames: SyslogFrame[] = [];
      for (let offset = 0; offset < chunk.length; ) {
        const { offset: next, frame } = step(chunk, offset);
        offset = next;
        if (frame !== undefined) frames.push(frame);
      }
      return frames;
    },
  };
}
