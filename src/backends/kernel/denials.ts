/** What the kernel has noted of refusals, as nft lists it: libnftables-json(5). */
import { parseAddress, type IpFamily } from '../../core/ip-address.ts';
import type { Endpoint } from '../../core/plan/plan.ts';
import { deniedSets, keptSeconds, readNote, unrecordedSet, type Noted } from './denial-sets.ts';
import { tableName } from './table.ts';

/** A first packet that was refused. Another of the same connection is the same, until this one is forgotten. */
export interface Denial extends Noted {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** Milliseconds since the epoch, to the second. */
  readonly atMs: number;
  /** As nft names it. */
  readonly element: string;
}

interface Listed {
  readonly nftables: readonly { readonly set?: { readonly elem?: readonly { readonly elem: NotedElement | CountedElement }[] } }[];
}
interface NotedElement {
  readonly val: { readonly concat: readonly [mark: number, source: string, sourcePort: number, destination: string, destinationPort: number] };
  readonly expires: number;
}
interface CountedElement {
  readonly counter: { readonly packets: number };
}

/** Arguments of nft: what is noted of a family, as `readDenials` reads it. A set is listed without the rest of the table; two at once are not. */
export const listDenials = (family: IpFamily): readonly string[] => ['--json', 'list', 'set', ...tableName.split(' '), deniedSets[family]];

/** The same of how many found no room (`readUnrecorded`). */
export const listUnrecorded: readonly string[] = ['--json', 'list', 'set', ...tableName.split(' '), unrecordedSet];

/** @param nowMs when it was listed, in milliseconds since the epoch */
export function readDenials(text: string, nowMs: number): readonly Denial[] {
  return (elementsIn(text) as readonly NotedElement[]).flatMap(({ val: { concat }, expires }) => {
    const [mark, source, sourcePort, destination, destinationPort] = concat;
    const [noted, from, to] = [readNote(mark), parseAddress(source), parseAddress(destination)];
    if (noted === undefined || from === undefined || to === undefined) return [];
    return [{ ...noted, source: { address: from, port: sourcePort }, destination: { address: to, port: destinationPort }, atMs: nowMs - (keptSeconds - expires) * 1_000, element: concat.join(' . ') }];
  });
}

export function readUnrecorded(text: string): number {
  return (elementsIn(text) as readonly CountedElement[]).reduce((sum, { counter }) => sum + counter.packets, 0);
}

/** For `nft -f`: forgets what has been read, so that there is room. */
export function forgetDenials(family: IpFamily, denials: readonly Denial[]): string {
  return `delete element ${tableName} ${deniedSets[family]} { ${denials.map(({ element }) => element).join(', ')} }\n`;
}

const elementsIn = (text: string) => (JSON.parse(text) as Listed).nftables.flatMap(({ set }) => (set?.elem ?? []).map(({ elem }) => elem));
