/**
 * DER, the distinguished encoding rules of ASN.1 (ITU-T X.690), as far as certificates need them.
 *
 * The reader is a cursor that the caller steers element by element: it never descends by itself, so nesting costs nothing,
 * it looks only inside its bounds, and it refuses what DER forbids (indefinite or padded lengths, padded integers) because
 * two readings of the same bytes are how certificate checks are bypassed.
 */

/** The bytes are not what the reader was told to expect. Parsers catch it at their door and answer with a value. */
export class DerFault extends Error {
  override readonly name = 'DerFault';
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The tag of `[number] IMPLICIT` over a primitive type. */
export const contextTag = (number: number): number => 0x80 | number;
/** The tag of `[number] EXPLICIT`, or of `[number] IMPLICIT` over a sequence or set. */
export const constructedTag = (number: number): number => 0xa0 | number;

export interface DerElement {
  readonly tag: number;
  /** Views of the input, not copies. */
  readonly content: Buffer;
  readonly whole: Buffer;
}

/** A cursor over consecutive elements. Every method moves past what it returns, or throws DerFault. */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #end: number;
  #offset: number;

  constructor(bytes: Buffer, offset = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#offset = offset;
    this.#end = end;
  }

  get atEnd(): boolean {
    return this.#offset === this.#end;
  }

  /** Refuses anything left over: trailing bytes are unsigned, unread, or another's reading of the same certificate. */
  finish(): void {
    if (!this.atEnd) throw new DerFault(`${this.#end - this.#offset} bytes left over`);
  }

  /** Whether the next element has this tag. */
  sees(tag: number): boolean {
    return this.#offset < this.#end && this.#bytes[this.#offset] === tag;
  }

  any(): DerElement {
    const start = this.#offset;
    const [contentStart, contentEnd] = this.#bounds();
    this.#offset = contentEnd;
    return { tag: this.#bytes[start]!, content: this.#bytes.subarray(contentStart, contentEnd), whole: this.#bytes.subarray(start, contentEnd) };
  }

  /** The content of the next element, which must have this tag. */
  read(tag: number): Buffer {
    this.#expect(tag);
    const [start, end] = this.#bounds();
    this.#offset = end;
    return this.#bytes.subarray(start, end);
  }

  /** The next element with its tag and length, which must have this tag. */
  readWhole(tag: number): Buffer {
    const start = this.#offset;
    this.read(tag);
    return this.#bytes.subarray(start, this.#offset);
  }

  /** A reader over the content of the next element, which must have this tag. */
  enter(tag: number): DerReader {
    this.#expect(tag);
    const [start, end] = this.#bounds();
    this.#offset = end;
    return new DerReader(this.#bytes, start, end);
  }

  boolean(): boolean {
    const content = this.read(tags.boolean);
    if (content.length !== 1 || (content[0] !== 0x00 && content[0] !== 0xff)) throw new DerFault('boolean is neither 00 nor FF');
    return content[0] === 0xff;
  }

  /** A non-negative integer as its big-endian bytes without a leading zero (zero itself is one zero byte). */
  unsigned(): Buffer {
    const content = this.read(tags.integer);
    if (content.length === 0) throw new DerFault('integer is empty');
    if (content[0]! >= 0x80) throw new DerFault('integer is negative');
    if (content.length === 1 || content[0] !== 0x00) return content;
    if (content[1]! < 0x80) throw new DerFault('integer is padded');
    return content.subarray(1);
  }

  /** A non-negative integer of at most six bytes. */
  small(): number {
    const content = this.unsigned();
    if (content.length > 6) throw new DerFault('integer is too large');
    return content.readUIntBE(0, content.length);
  }

  /** Dotted decimal. */
  objectIdentifier(): string {
    const content = this.read(tags.objectIdentifier);
    if (content.length === 0 || content.length > 64 || content[content.length - 1]! >= 0x80) throw new DerFault('object identifier is malformed');
    let text = '';
    let arc = 0;
    for (const byte of content) {
      if (arc === 0 && byte === 0x80) throw new DerFault('object identifier is padded');
      arc = arc * 128 + (byte & 0x7f);
      if (arc > Number.MAX_SAFE_INTEGER) throw new DerFault('object identifier has an arc too large');
      if (byte >= 0x80) continue;
      if (text === '') text = arc < 80 ? `${Math.floor(arc / 40)}.${arc % 40}` : `2.${arc - 80}`;
      else text += `.${arc}`;
      arc = 0;
    }
    return text;
  }

  /** The bytes of a bit string; the unused bits of the last one must be zero. */
  bits(): Buffer {
    const content = this.read(tags.bitString);
    const unused = content[0];
    if (unused === undefined || unused > 7 || (unused > 0 && content.length === 1)) throw new DerFault('bit string is malformed');
    if (unused > 0 && (content[content.length - 1]! & ((1 << unused) - 1)) !== 0) throw new DerFault('bit string has unused bits set');
    return content.subarray(1);
  }

  /** The bytes of a bit string that holds whole bytes, such as a key or a signature. */
  wholeBytes(): Buffer {
    if (this.sees(tags.bitString) && this.#bytes[this.#bounds()[0]] !== 0) throw new DerFault('bit string does not hold whole bytes');
    return this.bits();
  }

  /** UTCTime or GeneralizedTime in the one form that RFC 5280 4.1.2.5 allows. Milliseconds since the epoch. */
  time(): number {
    const { tag, content } = this.any();
    const text = content.toString('latin1');
    const match = tag === tags.utcTime ? /^(\d{2})(\d{10})Z$/.exec(text) : tag === tags.generalizedTime ? /^(\d{4})(\d{10})Z$/.exec(text) : null;
    if (match === null) throw new DerFault('time is not in the form YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ');
    const shortYear = Number(match[1]);
    const year = tag === tags.generalizedTime ? shortYear : shortYear < 50 ? 2000 + shortYear : 1900 + shortYear;
    const [month, day, hour, minute, second] = match[2]!.match(/\d{2}/g)!.map(Number) as [number, number, number, number, number];
    const date = new Date(0);
    date.setUTCFullYear(year, month - 1, day);
    date.setUTCHours(hour, minute, second);
    const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && date.getUTCHours() === hour && date.getUTCMinutes() === minute && date.getUTCSeconds() === second;
    if (!exists) throw new DerFault('time does not exist');
    return date.getTime();
  }

  #expect(tag: number): void {
    if (this.sees(tag)) return;
    const found = this.atEnd ? 'nothing' : `tag 0x${this.#bytes[this.#offset]!.toString(16)}`;
    throw new DerFault(`expected tag 0x${tag.toString(16)}, found ${found}`);
  }

  /** Start and end of the next element's content. Does not move. */
  #bounds(): readonly [number, number] {
    const bytes = this.#bytes;
    if (this.#end - this.#offset < 2) throw new DerFault('element is cut short');
    if ((bytes[this.#offset]! & 0x1f) === 0x1f) throw new DerFault('tag number above 30');
    let start = this.#offset + 2;
    let length = bytes[this.#offset + 1]!;
    if (length >= 0x80) {
      const octets = length - 0x80;
      if (octets === 0) throw new DerFault('length is indefinite, which DER forbids');
      if (octets > 4) throw new DerFault('length is too large');
      if (this.#end - start < octets) throw new DerFault('element is cut short');
      length = bytes.readUIntBE(start, octets);
      if (length < 0x80 || bytes[start] === 0) throw new DerFault('length is padded');
      start += octets;
    }
    if (length > this.#end - start) throw new DerFault('element is longer than what holds it');
    return [start, start + length];
  }
}

/** Runs a parser over bytes, turning its DerFault into a value. Anything else thrown is a bug and passes through. */
export function parseDer<T>(parse: () => T): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly detail: string } {
  try {
    return { ok: true, value: parse() };
  } catch (error) {
    if (error instanceof DerFault) return { ok: false, detail: error.message };
    throw error;
  }
}

/** One element: tag, length, and the parts as its content. */
export function encode(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const lengthOctets = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : length < 0x1000000 ? 3 : 4;
  const element = Buffer.allocUnsafe(2 + lengthOctets + length);
  element[0] = tag;
  if (lengthOctets === 0) {
    element[1] = length;
  } else {
    element[1] = 0x80 | lengthOctets;
    element.writeUIntBE(length, 2, lengthOctets);
  }
  let offset = 2 + lengthOctets;
  for (const part of parts) {
    element.set(part, offset);
    offset += part.length;
  }
  return element;
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => encode(tags.sequence, ...parts);
/** SET OF: its elements in ascending order of their encodings (X.690 11.6). */
export const setOf = (...parts: readonly Buffer[]): Buffer => encode(tags.set, ...parts.toSorted((a, b) => Buffer.compare(a, b)));
/** `[number]` around whole elements: EXPLICIT, or IMPLICIT over a sequence or set whose content they are. */
export const constructed = (number: number, ...parts: readonly Uint8Array[]): Buffer => encode(constructedTag(number), ...parts);
/** `[number] IMPLICIT` over a primitive type. */
export const primitive = (number: number, content: Uint8Array): Buffer => encode(contextTag(number), content);
export const octetString = (content: Uint8Array): Buffer => encode(tags.octetString, content);
export const boolean = (value: boolean): Buffer => encode(tags.boolean, Buffer.of(value ? 0xff : 0));
export const nullElement: Buffer = encode(tags.null);
export const utf8String = (text: string): Buffer => encode(tags.utf8String, Buffer.from(text, 'utf8'));
/** A bit string of whole bytes. */
export const bitString = (bytes: Uint8Array): Buffer => encode(tags.bitString, Buffer.of(0), bytes);

/** A bit string of named bits, bit 0 first, trailing zeros dropped (X.690 11.2.2). `mask` has bit n for name n, n below 16. */
export function namedBits(mask: number): Buffer {
  const bytes = [0, 0];
  let highest = -1;
  for (let bit = 0; bit < 16; bit++) {
    if ((mask & (1 << bit)) === 0) continue;
    bytes[bit >> 3]! |= 0x80 >> (bit & 7);
    highest = bit;
  }
  const length = (highest >> 3) + 1;
  return encode(tags.bitString, Buffer.of(length === 0 ? 0 : length * 8 - 1 - highest, ...bytes.slice(0, length)));
}

/** A non-negative integer, from a number or from big-endian bytes. */
export function integer(value: number | Uint8Array): Buffer {
  let bytes = typeof value === 'number' ? Buffer.from(value.toString(16).padStart(12, '0'), 'hex') : value;
  let zeros = 0;
  while (zeros < bytes.length - 1 && bytes[zeros] === 0) zeros++;
  bytes = bytes.subarray(zeros);
  if (bytes.length === 0) return encode(tags.integer, Buffer.of(0));
  return bytes[0]! >= 0x80 ? encode(tags.integer, Buffer.of(0), bytes) : encode(tags.integer, bytes);
}

/** From dotted decimal. */
export function objectIdentifier(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  const bytes: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const septets = [arc % 128];
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128)) septets.unshift(0x80 | (high % 128));
    bytes.push(...septets);
  }
  return encode(tags.objectIdentifier, Buffer.from(bytes));
}

/** UTCTime through 2049 and GeneralizedTime from 2050 (RFC 5280 4.1.2.5). Fractions of a second are dropped. */
export function time(milliseconds: number): Buffer {
  const iso = new Date(milliseconds).toISOString();
  const text = `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 10)}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`;
  const year = Number(text.slice(0, 4));
  return year >= 1950 && year < 2050 ? encode(tags.utcTime, Buffer.from(text.slice(2), 'latin1')) : encode(tags.generalizedTime, Buffer.from(text, 'latin1'));
}
