import { SallyportError } from '../core/errors.ts';
import { parseAddress } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';

/** `127.0.0.1:15012`, `[::1]:15012` or `name:15012`. */
export function parseEndpoint(text: string, place: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535) throw new SallyportError('usage', `${JSON.stringify(text)} is not an address and port`, { place, value: text, hint: 'write it like 127.0.0.1:15012' });
  return { host: match[1] ?? match[2]!, port };
}

/** The same, where only an address will do. */
export function parseAddressAndPort(text: string, place: string): Endpoint {
  const { host, port } = parseEndpoint(text, place);
  const address = parseAddress(host);
  if (address === undefined) throw new SallyportError('usage', `${JSON.stringify(host)} is not an address`, { place, value: host });
  return { address, port };
}
