/** Who was behind a SNAT address and port at an instant. */
import type { ConnectionClosed, ConnectionOpened } from '../core/ledger-record.ts';
import type { ConnectionEvent } from './connection-index.ts';
import type { LedgerEntry } from './ledger-line.ts';

export interface WhoisQuery {
  /** In its canonical form. */
  readonly address: string;
  readonly port: number;
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  /** How far off the asker's clock may be, or how coarse: a firewall's log that counts in seconds needs 1,000. By default 0. */
  readonly toleranceMs?: number;
}

export interface WhoisConnection {
  /** Of the opening, in the ledger. */
  readonly sequence: number;
  readonly opened: ConnectionOpened;
  /** Null while the ledger knows of no end. */
  readonly closed: ConnectionClosed | null;
}

export interface WhoisAnswer {
  /**
   * The connections that were open then, the latest opened first. One at most for each target: several at once can leave
   * from one address and port towards different targets.
   */
  readonly connections: readonly WhoisConnection[];
  /** Where there was none: the last one opened before, which had been closed by then; or null. */
  readonly nearest: WhoisConnection | null;
}

/** Where connection events are found: one segment of the ledger. */
export interface EventSource {
  readonly find: (address: string, port: number) => Promise<readonly ConnectionEvent[]>;
  readonly read: (event: ConnectionEvent) => Promise<LedgerEntry>;
}

const connectionsMax = 256;

type Located = ConnectionEvent & { readonly source: EventSource };

/** Looks through all sources, oldest first: gateways may deliver records late, so their times say nothing about the segment. Some three reads a segment. */
export async function findConnections(query: WhoisQuery, sources: Iterable<EventSource>): Promise<WhoisAnswer> {
  const { address, port, timeMs, toleranceMs = 0 } = query;
  const openings: Located[] = [];
  const closings = new Map<bigint, Located>();
  for (const source of sources) {
    for (const event of await source.find(address, port)) {
      if (event.kind === 'closed') closings.set(event.connection, { ...event, source });
      else if (event.timeMs <= timeMs + toleranceMs) openings.push({ ...event, source });
    }
  }
  openings.reverse().sort((a, b) => b.timeMs - a.timeMs);

  const covering: Located[] = [];
  const laterTargets = new Set<number>();
  for (const opening of openings) {
    // Without a closing (a gateway that crashed writes none) it ended at the latest when the same four-tuple was opened again.
    const closing = closings.get(opening.connection);
    const open = closing === undefined ? !laterTargets.has(opening.target) : closing.timeMs >= timeMs - toleranceMs;
    if (open && covering.length < connectionsMax) covering.push(opening);
    laterTargets.add(opening.target);
  }

  const connectionOf = async (opening: Located): Promise<WhoisConnection> => {
    const closing = closings.get(opening.connection);
    const [opened, closed] = [await opening.source.read(opening), closing && (await closing.source.read(closing))];
    return { sequence: opened.sequence, opened: opened.record as ConnectionOpened, closed: (closed?.record as ConnectionClosed | undefined) ?? null };
  };
  const connections: WhoisConnection[] = [];
  for (const opening of covering) connections.push(await connectionOf(opening));
  const [latest] = openings;
  return { connections, nearest: covering.length > 0 || latest === undefined ? null : await connectionOf(latest) };
}
