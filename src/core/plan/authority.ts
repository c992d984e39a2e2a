/**
 * Authorities: what a CONNECT names (RFC 9110 section 9.3.6, `host ":" port`), and the patterns that limit it. One spelling
 * per destination: what could be read in two ways is refused, not repaired.
 */
import { parseAddress } from '../ip-address.ts';

export interface Authority {
  /** Lower case; an address in its canonical form, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly isAddress: boolean;
}

const hostBytesMax = 253; // RFC 1035 section 2.3.4, without the trailing dot

/** Parses `host:port` or `[IPv6]:port`. Undefined for user information, empty labels, a trailing dot, leading zeros, and addresses in any but the usual notation. */
export function parseAuthority(text: string): Authority | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+)):([1-9][0-9]{0,4})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, name, portText] = match;
  const port = Number(portText);
  if (port > 65535) return undefined;
  if (bracketed !== undefined) {
    const address = bracketed.includes(':') ? parseAddress(bracketed) : undefined;
    return address === undefined ? undefined : { host: address, port, isAddress: true };
  }
  const host = name!.toLowerCase();
  const labels = host.split('.');
  if (host.length > hostBytesMax || labels.some((label) => label === '' || label.length > 63)) return undefined;
  // A last label that is a number makes the whole an IPv4 address (WHATWG URL section 3.5), however oddly written.
  if (/^([0-9]+|0x[0-9a-f]*)$/.test(labels.at(-1)!)) {
    const address = parseAddress(host);
    return address === undefined ? undefined : { host: address, port, isAddress: true };
  }
  return { host, port, isAddress: false };
}

const indexes = new WeakMap<readonly string[], ReadonlySet<string>>();

/** Whether one of the patterns (`host:port`, `*.domain:port` for any name below the domain, `*` for any port) covers the authority. Costs a look-up a label. */
export function coversAuthority(patterns: readonly string[], { host, port, isAddress }: Authority): boolean {
  let index = indexes.get(patterns);
  if (index === undefined) indexes.set(patterns, (index = new Set(patterns.map(canonicalPattern))));
  const covered = (hostPattern: string) => index.has(`${hostPattern} ${port}`) || index.has(`${hostPattern} *`);
  if (covered(host)) return true;
  if (isAddress) return false;
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    if (covered(`*${host.slice(dot)}`)) return true;
  }
  return false;
}

function canonicalPattern(pattern: string): string {
  const colon = pattern.lastIndexOf(':');
  const host = pattern.slice(0, colon).toLowerCase();
  const address = parseAddress(host.replace(/^\[(.*)\]$/, '$1'));
  const port = pattern.slice(colon + 1);
  return `${address ?? host} ${port === '*' ? port : Number(port)}`;
}
