/**
 * Lines of conntrack(8) about connections: `-E` as they begin and end, `-L` of those that are there, both with
 * `-o id,timestamp,extended,ktimestamp`. Source: conntrack-tools 1.4.7; times of the kernel's own are there with nf_conntrack_timestamp, bytes with
 * nf_conntrack_acct.
 */
import { parseAddress } from '../../core/ip-address.ts';
import type { Endpoint } from '../../core/plan/plan.ts';

/** One direction, as it is on its side of the router. */
export interface Tuple {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  /** With the packets' headers. */
  readonly bytes: number;
}

export interface TrackedConnection {
  /** The same from its beginning to its end, and in no other that is there at the same time. */
  readonly key: string;
  readonly mark: number;
  readonly transport: 'tcp' | 'udp';
  /** Of TCP: `TIME_WAIT` and the like; empty where nothing is said of it. */
  readonly state: string;
  readonly original: Tuple;
  readonly reply: Tuple;
  /** Milliseconds since the epoch; null where the kernel does not say. */
  readonly startedAtMs: number | null;
}

export type ConnectionEvent =
  | { readonly kind: 'opened'; readonly connection: TrackedConnection; readonly atMs: number }
  /** At its end: the kernel removes a connection only some time after it, which `atMs` has been corrected for where the kernel says so. */
  | { readonly kind: 'closed'; readonly connection: TrackedConnection; readonly atMs: number };

const eventLine = /^\s*\[(\d+\.\d+)\]\s+\[(NEW|DESTROY)\]\s+(.*)$/;

/** What a line of `conntrack -E` tells; undefined where it is of another protocol, or no such line. */
export function readEvent(line: string): ConnectionEvent | undefined {
  const [, time, kind, rest] = eventLine.exec(line) ?? [];
  const connection = rest === undefined ? undefined : readConnection(rest);
  if (time === undefined || connection === undefined) return undefined;
  const atMs = Math.floor(Number(time) * 1_000);
  if (kind === 'NEW') return { kind: 'opened', connection, atMs };
  const stopped = kernelTime(line, 'stop');
  return { kind: 'closed', connection, atMs: stopped === null ? atMs : Math.min(atMs, stopped + 999) }; // it counts in seconds: in that one it was still there
}

const head = /^ipv[46]\s+\d+\s+(tcp|udp)\s+\d+\s+(?:\d+\s+)?(?:([A-Z_0-9]+)\s+)?src=/;
const fields = / (src|dst|sport|dport|bytes|mark|id)=(\S+)/g;

/** What a line of `conntrack -L` tells; undefined as for `readEvent`. */
export function readConnection(line: string): TrackedConnection | undefined {
  const [, transport, state] = head.exec(line) ?? [];
  if (transport === undefined) return undefined;
  // Those of a direction come twice, that of the original first.
  const values: Record<string, string[]> = {};
  for (const [, field, value] of line.matchAll(fields)) (values[field!] ??= []).push(value!);
  const { src = [], dst = [], sport = [], dport = [], bytes = [], mark = [], id: [id] = [] } = values;
  const tuple = (index: 0 | 1): Tuple | undefined => {
    const [source, destination] = [endpoint(src[index], sport[index]), endpoint(dst[index], dport[index])];
    return source === undefined || destination === undefined ? undefined : { source, destination, bytes: Number(bytes[index] ?? 0) };
  };
  const [original, reply] = [tuple(0), tuple(1)];
  if (id === undefined || original === undefined || reply === undefined) return undefined;
  return {
    key: [id, transport, src[0], sport[0], dst[0], dport[0]].join(' '),
    mark: Number(mark[0] ?? 0),
    transport: transport as 'tcp' | 'udp',
    state: state ?? '',
    original,
    reply,
    startedAtMs: kernelTime(line, 'start'),
  };
}

function endpoint(address = '', port = ''): Endpoint | undefined {
  const parsed = parseAddress(address);
  return parsed === undefined || port === '' ? undefined : { address: parsed, port: Number(port) };
}

const times = { start: /\[start=([^\]]+)\]/, stop: /\[stop=([^\]]+)\]/ } as const;

/** As ctime(3) has it, in the time zone of conntrack, which is run with UTC. */
function kernelTime(line: string, which: keyof typeof times): number | null {
  const text = times[which].exec(line)?.[1];
  const ms = text === undefined ? NaN : Date.parse(`${text} UTC`);
  return Number.isNaN(ms) ? null : ms;
}
