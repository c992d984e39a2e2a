/** Variable-length integers of QUIC (RFC 9000 section 16): two bits of the first byte say how many bytes there are. */

export const varintBytesMax = 8;

/** The fewest bytes that hold `value`, a safe integer from 0. */
export function varintBytes(value: number): 1 | 2 | 4 | 8 {
  if (value < 2 ** 6) return 1;
  if (value < 2 ** 14) return 2;
  return value < 2 ** 30 ? 4 : 8;
}

/** Writes `value` in the fewest bytes; gives the offset behind it. */
export function writeVarint(buffer: Buffer, value: number, offset: number): number {
  switch (varintBytes(value)) {
    case 1:
      return buffer.writeUInt8(value, offset);
    case 2:
      return buffer.writeUInt16BE(0x4000 | value, offset);
    case 4:
      return buffer.writeUInt32BE(0x8000_0000 + value, offset);
    case 8:
      buffer.writeUInt32BE(0xc000_0000 + Math.floor(value / 2 ** 32), offset);
      return buffer.writeUInt32BE(value % 2 ** 32, offset + 4);
  }
}

export interface Varint {
  /** Not exact beyond `Number.MAX_SAFE_INTEGER`, but then above it. */
  readonly value: number;
  readonly bytes: number;
}

/** Reads what begins at `offset`, however many bytes its sender has chosen for it; undefined where it does not end before `end`. */
export function readVarint(buffer: Buffer, offset: number, end: number): Varint | undefined {
  if (offset >= end) return undefined;
  const first = buffer[offset]!;
  const bytes = 1 << (first >> 6);
  if (offset + bytes > end) return undefined;
  let value = first & 0x3f;
  for (let index = 1; index < bytes; index += 1) value = value * 256 + buffer[offset + index]!;
  return { value, bytes };
}
