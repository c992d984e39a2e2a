/**
 * Datagrams of many flows on one stream of bytes: capsules (RFC 9297 section 3.2) of type DATAGRAM, whose value is a Context ID
 * and the payload of a UDP packet (RFC 9298 sections 4 and 5). Here each Context ID is a flow: see docs/decisions/0409-datagrams.md.
 */
import { readVarint, varintBytes, varintBytesMax, writeVarint } from './varint.ts';

export interface Datagram {
  /** Even ones are the client's to choose (RFC 9298 section 4). */
  readonly contextId: number;
  readonly payload: Buffer;
}

/** What a UDP packet can hold (RFC 9298 section 5). */
export const payloadBytesMax = 65_527;

const datagramCapsule = 0x00;
const valueBytesMax = varintBytesMax + payloadBytesMax;
const headBytesMax = 2 * varintBytesMax;

/** The capsule of one datagram. */
export function encodeDatagram({ contextId, payload }: Datagram): Buffer {
  const valueBytes = varintBytes(contextId) + payload.length;
  const capsule = Buffer.allocUnsafe(varintBytes(datagramCapsule) + varintBytes(valueBytes) + valueBytes);
  let offset = writeVarint(capsule, datagramCapsule, 0);
  offset = writeVarint(capsule, valueBytes, offset);
  offset = writeVarint(capsule, contextId, offset);
  payload.copy(capsule, offset);
  return capsule;
}

export interface Decoded {
  /** In the order of the stream. Payloads may share memory with the chunk. */
  readonly datagrams: readonly Datagram[];
  /** Why the stream must be given up (RFC 9297 section 3.3, RFC 9298 section 5). What is taken after it is ignored. */
  readonly fault?: string;
}

/** Reads a stream of capsules, however it is split. */
export interface CapsuleDecoder {
  take(chunk: Buffer): Decoded;
}

/** Holds one capsule at most. Capsules of other types are passed over, without holding them (RFC 9297 section 3.2). */
export function createCapsuleDecoder(): CapsuleDecoder {
  const head = Buffer.alloc(headBytesMax);
  let headBytes = 0;
  /** Of a DATAGRAM that goes on in the next chunk. */
  let value: { readonly buffer: Buffer; bytes: number } | undefined;
  /** Of another capsule, still to come. */
  let passOverBytes = 0;
  let failed = false;

  function take(chunk: Buffer): Decoded {
    const datagrams: Datagram[] = [];
    const fail = (fault: string): Decoded => {
      failed = true;
      return { datagrams, fault };
    };
    let offset = 0;
    while (!failed && offset < chunk.length) {
      if (passOverBytes > 0) {
        const bytes = Math.min(passOverBytes, chunk.length - offset);
        passOverBytes -= bytes;
        offset += bytes;
      } else if (value !== undefined) {
        const bytes = chunk.copy(value.buffer, value.bytes, offset);
        value.bytes += bytes;
        offset += bytes;
        if (value.bytes < value.buffer.length) continue;
        const fault = read(value.buffer, datagrams);
        value = undefined;
        if (fault !== undefined) return fail(fault);
      } else {
        const bytes = chunk.copy(head, headBytes, offset);
        const known = headBytes;
        headBytes += bytes;
        const type = readVarint(head, 0, headBytes);
        const length = type && readVarint(head, type.bytes, headBytes);
        if (length === undefined) {
          offset += bytes;
          continue;
        }
        offset += type!.bytes + length.bytes - known;
        headBytes = 0;
        if (type!.value !== datagramCapsule) {
          passOverBytes = length.value;
          continue;
        }
        if (length.value > valueBytesMax) return fail(`a datagram of ${length.value} bytes is announced, and ${payloadBytesMax} is the most that UDP can carry`);
        if (offset + length.value > chunk.length) {
          value = { buffer: Buffer.allocUnsafe(length.value), bytes: 0 };
          continue;
        }
        const fault = read(chunk.subarray(offset, offset + length.value), datagrams);
        if (fault !== undefined) return fail(fault);
        offset += length.value;
      }
    }
    return { datagrams };
  }

  return { take };
}

/** Reads the value of a DATAGRAM capsule; what is wrong with it, if anything. */
function read(value: Buffer, datagrams: Datagram[]): string | undefined {
  const contextId = readVarint(value, 0, value.length);
  if (contextId === undefined) return 'a datagram is too short for its Context ID';
  if (!Number.isSafeInteger(contextId.value)) return 'a Context ID is above 2^53 - 1';
  const payload = value.subarray(contextId.bytes);
  if (payload.length > payloadBytesMax) return `a datagram has ${payload.length} bytes, and ${payloadBytesMax} is the most that UDP can carry`;
  datagrams.push({ contextId: contextId.value, payload });
  return undefined;
}
