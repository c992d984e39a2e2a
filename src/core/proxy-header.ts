/**
 * The PROXY protocol's header, version 1 (HAProxy, proxy-protocol.txt section 2.1): one line in front of a connection that says whose it is.
 * A gateway sends it to an agent when a connection from outside is joined with one that the agent keeps waiting.
 */
import { familyOf, parseAddress } from './ip-address.ts';
import type { Endpoint } from './plan/plan.ts';

export interface ProxyHeader {
  /** Who has connected. */
  readonly source: Endpoint;
  /** Where to. */
  readonly destination: Endpoint;
}

/** With its CRLF. */
export const proxyHeaderBytesMax = 107;

/** Both ends are of one family. */
export function formatProxyHeader({ source, destination }: ProxyHeader): string {
  const family = familyOf(source.address) === 'ipv4' ? 'TCP4' : 'TCP6';
  return `PROXY ${family} ${source.address} ${destination.address} ${source.port} ${destination.port}\r\n`;
}

/** Reads a header without its CRLF; undefined for anything else. */
export function parseProxyHeader(line: string): ProxyHeader | undefined {
  const match = /^PROXY TCP[46] (\S+) (\S+) ([0-9]{1,5}) ([0-9]{1,5})$/.exec(line);
  const source = endpoint(match?.[1], match?.[3]);
  const destination = endpoint(match?.[2], match?.[4]);
  if (source === undefined || destination === undefined || familyOf(source.address) !== familyOf(destination.address)) return undefined;
  return (familyOf(source.address) === 'ipv4') === line.startsWith('PROXY TCP4') ? { source, destination } : undefined;
}

function endpoint(addressText = '', portText = ''): Endpoint | undefined {
  const address = parseAddress(addressText);
  const port = Number(portText);
  return address === undefined || port < 1 || port > 65_535 ? undefined : { address, port };
}
