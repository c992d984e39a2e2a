/** IP addresses as values: canonical text for names and comparison, bigint for arithmetic on ranges. */
import ipaddr from 'ipaddr.js';

/** A canonical address: dotted decimal, or RFC 5952 for IPv6. Compare with `===`. */
export type IpAddress = string & { readonly __brand: 'IpAddress' };
export type IpFamily = 'ipv4' | 'ipv6';

/** An inclusive range within one family. */
export interface AddressRange {
  readonly family: IpFamily;
  readonly first: bigint;
  readonly last: bigint;
  /** As the user wrote it. */
  readonly text: string;
}

/** The canonical form, or undefined. Octal, hexadecimal and shortened IPv4 spellings and zone indices are refused; IPv4-mapped IPv6 becomes IPv4. */
export function parseAddress(text: string): IpAddress | undefined {
  // Whatever else than numbers and dots it finds by an exception, which costs fifty times as much.
  if (/^[0-9.]+$/.test(text) && ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text).toString() as IpAddress;
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  const dotted = text.slice(text.lastIndexOf(':') + 1); // the tail of ::ffff:10.0.0.1, in which 010 could be read as 8
  if (dotted.includes('.') && !ipaddr.IPv4.isValidFourPartDecimal(dotted)) return undefined;
  const address = ipaddr.IPv6.parse(text);
  return (address.isIPv4MappedAddress() ? address.toIPv4Address().toString() : address.toRFC5952String()) as IpAddress;
}

export function familyOf(address: IpAddress): IpFamily {
  return address.includes(':') ? 'ipv6' : 'ipv4';
}

/** What an address is of beside an address: such as `loopback` or `linkLocal`, in the words of ipaddr.js; `unicast` or `private` for most. */
export function scopeOf(address: IpAddress): string {
  return ipaddr.parse(address).range();
}

/** The address as an unsigned number: 32 bits for IPv4, 128 for IPv6. */
export function addressToNumber(address: IpAddress): bigint {
  let value = 0n;
  for (const byte of ipaddr.parse(address).toByteArray()) value = (value << 8n) | BigInt(byte);
  return value;
}

/** The inverse of `addressToNumber`. */
export function numberToAddress(family: IpFamily, value: bigint): IpAddress {
  const bytes = Array.from({ length: family === 'ipv4' ? 4 : 16 }, (_, index, length = family === 'ipv4' ? 4 : 16) => Number((value >> BigInt(8 * (length - 1 - index))) & 0xffn));
  const address = ipaddr.fromByteArray(bytes);
  return (address.kind() === 'ipv6' ? (address as ipaddr.IPv6).toRFC5952String() : address.toString()) as IpAddress;
}

/** Parses one address, `first-last`, or CIDR notation whose host bits are zero. */
export function parseAddressRange(text: string): { readonly ok: true; readonly range: AddressRange } | { readonly ok: false; readonly reason: string } {
  const refuse = (reason: string) => ({ ok: false as const, reason: `${JSON.stringify(text.slice(0, 128))} ${reason}` });
  const slash = text.indexOf('/');
  if (slash !== -1) {
    const address = parseAddress(text.slice(0, slash));
    const bits = text.slice(slash + 1);
    if (address === undefined) return refuse('is not an address range');
    const family = familyOf(address);
    const width = family === 'ipv4' ? 32 : 128;
    if (!/^(0|[1-9][0-9]{0,2})$/.test(bits) || Number(bits) > width) return refuse(`has a prefix length that is not from 0 to ${width}`);
    const size = 1n << BigInt(width - Number(bits));
    const first = addressToNumber(address);
    if (first % size !== 0n) return refuse(`has host bits set; the block is ${numberToAddress(family, first - (first % size))}/${bits}`);
    return { ok: true, range: { family, first, last: first + size - 1n, text } };
  }
  const [firstText = '', lastText = firstText, ...more] = text.split('-');
  const first = parseAddress(firstText);
  const last = parseAddress(lastText);
  if (first === undefined || last === undefined || more.length > 0) return refuse('is not an address, a range "first-last" or a CIDR block');
  if (familyOf(first) !== familyOf(last)) return refuse('mixes IPv4 and IPv6');
  if (addressToNumber(first) > addressToNumber(last)) return refuse('ends before it begins');
  return { ok: true, range: { family: familyOf(first), first: addressToNumber(first), last: addressToNumber(last), text } };
}

export function rangeContains(range: AddressRange, address: IpAddress): boolean {
  if (familyOf(address) !== range.family) return false;
  const value = addressToNumber(address);
  return range.first <= value && value <= range.last;
}

export function rangesOverlap(a: AddressRange, b: AddressRange): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Whether only this host can connect there: 127.0.0.0/8 (RFC 1122, section 3.2.1.3) or ::1 (RFC 4291, section 2.5.3). */
export function isLoopback(address: IpAddress): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** Whether it stands for every address of a host: 0.0.0.0 (RFC 1122, section 3.2.1.3) or :: (RFC 4291, section 2.5.2). */
export function isUnspecified(address: IpAddress): boolean {
  return address === '0.0.0.0' || address === '::';
}

/** An address as it stands before a port: IPv6 in brackets. */
export function formatAddress(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** `127.0.0.1:21`, `[::1]:21`, as logs, errors and the ledger have it. */
export function formatEndpoint({ address, port }: { readonly address: string; readonly port: number }): string {
  return `${formatAddress(address)}:${port}`;
}
