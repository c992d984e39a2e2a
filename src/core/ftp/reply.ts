/** Replies of the control connection: their lines (RFC 959 section 4.2) and what 227 and 229 say. */
import { parseAddress } from '../ip-address.ts';
import type { IpAddress } from '../ip-address.ts';

/** Code and place of one line. `last`: it ends its reply, when it also begins it or carries the code of the line that did. */
export interface ReplyLine {
  readonly code: number;
  readonly last: boolean;
}

/** Reads how a line begins; undefined for text without a code, which only the inside of a reply of many lines may hold. */
export function parseReplyLine(line: string): ReplyLine | undefined {
  const match = /^([1-5][0-9]{2})([ -]|$)/.exec(line);
  return match === null ? undefined : { code: Number(match[1]), last: match[2] !== '-' };
}

/** Where a server says it awaits the data connection. The address is only ever reported: it is not to be trusted. */
export interface PassivePlace {
  readonly port: number;
  readonly address: IpAddress | null;
}

/**
 * The place in a 227 reply's text (one line or many): the one group of exactly six numbers from 0 to 255, whatever stands around it
 * (RFC 1123 section 4.1.2.6). Undefined where there is no such group, or two that differ, or one with other than six numbers.
 */
export function parsePassive(text: string): PassivePlace | undefined {
  const groups = new Set<string>();
  for (const [group] of text.matchAll(/(?<![-.0-9])[0-9]+(?: *, *[0-9]+){3,}/g)) groups.add(group.replaceAll(' ', ''));
  if (groups.size !== 1) return undefined;
  const numbers = [...groups][0]!.split(',').map(Number);
  const port = numbers[4]! * 256 + numbers[5]!;
  if (numbers.length !== 6 || numbers.some((number) => number > 255) || port === 0) return undefined;
  return { port, address: parseAddress(numbers.slice(0, 4).join('.')) ?? null };
}

/**
 * The place in a 229 reply's text, `(<d><d><d>PORT<d>)` (RFC 2428 section 3). The delimiter is any printable character that is no digit; parentheses
 * may be missing; a protocol and an address, which must be empty by the standard, may be there. Undefined as for 227.
 */
export function parseExtendedPassive(text: string): PassivePlace | undefined {
  const places = new Map<string, PassivePlace>();
  for (const [group, , address, port] of text.matchAll(/([!-/:-~])[12]?\1([0-9A-Fa-f.:]{0,45})\1([0-9]{1,5})\1/g)) {
    if (Number(port) === 0 || Number(port) > 65535) return undefined;
    places.set(group, { port: Number(port), address: parseAddress(address!) ?? null });
  }
  return places.size === 1 ? [...places.values()][0] : undefined;
}

/** The 227 reply that sends a client to an IPv4 address and port. */
export function passiveReply(address: IpAddress, port: number): string {
  return `227 Entering Passive Mode (${address.replaceAll('.', ',')},${Math.floor(port / 256)},${port % 256}).`;
}

/** The 229 reply that sends a client to a port of the address it is connected to. */
export function extendedPassiveReply(port: number): string {
  return `229 Entering Extended Passive Mode (|||${port}|)`;
}
