/** Where the parties of an FTP session say that they await a data connection: PORT and EPRT of one side, 227 and 229 of the other. */
import { familyOf, parseAddress } from '../ip-address.ts';
import type { IpAddress, IpFamily } from '../ip-address.ts';
import type { Command } from './command.ts';

/** The address is only ever compared and reported: it is not to be trusted. */
export interface DataPlace {
  readonly port: number;
  /** Null where none is named, or none that can be read. */
  readonly address: IpAddress | null;
}

/**
 * The place in a 227 reply's text (one line or many): the one group of exactly six numbers from 0 to 255, whatever stands around it
 * (RFC 1123 section 4.1.2.6). Undefined where there is no such group, or two that differ, or one with other than six numbers.
 */
export function parsePassive(text: string): DataPlace | undefined {
  const groups = new Set<string>();
  for (const [group] of text.matchAll(/(?<![-.0-9])[0-9]+(?: *, *[0-9]+){3,}/g)) groups.add(group.replaceAll(' ', ''));
  return groups.size === 1 ? parseSixNumbers([...groups][0]!) : undefined;
}

/**
 * The place in a 229 reply's text, `(<d><d><d>PORT<d>)` (RFC 2428 section 3). The delimiter is any printable character that is no digit; parentheses
 * may be missing; a protocol and an address, which must be empty by the standard, may be there. Undefined as for 227.
 */
export function parseExtendedPassive(text: string): DataPlace | undefined {
  const places = new Map<string, DataPlace>();
  for (const [group, , address, port] of text.matchAll(/([!-/:-~])[12]?\1([0-9A-Fa-f.:]{0,45})\1([0-9]{1,5})\1/g)) {
    if (Number(port) === 0 || Number(port) > 65535) return undefined;
    places.set(group, { port: Number(port), address: parseAddress(address!) ?? null });
  }
  return places.size === 1 ? [...places.values()][0] : undefined;
}

/** The argument of PORT, six numbers from 0 to 255 (RFC 959 section 4.1.2). */
export function parsePort(argument: string): DataPlace | undefined {
  return /^[0-9]{1,3}(,[0-9]{1,3}){5}$/.test(argument) ? parseSixNumbers(argument) : undefined;
}

/** The argument of EPRT, `<d>PROTOCOL<d>ADDRESS<d>PORT<d>` (RFC 2428 section 2), with the protocol's number. */
export function parseExtendedPort(argument: string): (DataPlace & { readonly protocol: number }) | undefined {
  const [, , protocol, address, port] = /^([!-/:-~])([0-9]{1,5})\1([0-9A-Fa-f.:]{2,45})\1([0-9]{1,5})\1$/.exec(argument) ?? [];
  if (port === undefined || Number(port) === 0 || Number(port) > 65535) return undefined;
  return { protocol: Number(protocol), port: Number(port), address: parseAddress(address!) ?? null };
}

function parseSixNumbers(text: string): DataPlace | undefined {
  const numbers = text.split(',').map(Number);
  const port = numbers[4]! * 256 + numbers[5]!;
  if (numbers.length !== 6 || numbers.some((number) => number > 255) || port === 0) return undefined;
  return { port, address: parseAddress(numbers.slice(0, 4).join('.')) ?? null };
}

/** The argument by which an agent says, with PASV and EPSV, that it can keep the data connection. */
export const keepArgument = 'KEEP';
const kept = 'Kept data connection';

/** The 227 reply that sends a client to an IPv4 address and port. `isKept`: by a connection that it keeps, and has made to there if it knows one. */
export function passiveReply(address: IpAddress, port: number, isKept = false): string {
  return `227 ${isKept ? kept : 'Entering Passive Mode'} (${sixNumbers(address, port)}).`;
}

/** The 229 reply that sends a client to a port of the address it is connected to. `isKept`: as above. */
export function extendedPassiveReply(port: number, isKept = false): string {
  return `229 ${isKept ? kept : 'Entering Extended Passive Mode'} (|||${port}|)`;
}

/** Whether a 227 or 229 reply is about a connection that is kept. */
export function isKeptReply(text: string): boolean {
  return text.startsWith(kept, 'NNN '.length);
}

/** The command that sends a server to an address and port: PORT, which every server knows, for IPv4. */
export function portCommand(address: IpAddress, port: number): Command {
  return familyOf(address) === 'ipv4' ? { verb: 'PORT', argument: sixNumbers(address, port) } : { verb: 'EPRT', argument: `|${protocolNumber('ipv6')}|${address}|${port}|` };
}

/** As EPSV and EPRT number the network protocols (RFC 2428 section 2). */
export function protocolNumber(family: IpFamily): 1 | 2 {
  return family === 'ipv4' ? 1 : 2;
}

function sixNumbers(address: IpAddress, port: number): string {
  return [...address.split('.'), Math.floor(port / 256), port % 256].join(',');
}
