/** Which connections are open by what the ledger has been told, held against what the kernel says: a record for each that begins and ends, also where that went unseen. */
import { carriedBy, closedRecordOf, endReasonOf, openedRecordOf, type ConnectionEvent, type RecordContext, type TrackedConnection } from '../backends/kernel/index.ts';
import type { ConnectionClosed, ConnectionOpened } from '../core/ledger-record.ts';

export interface ConnectionBookOptions {
  /** Of a process before this one, by key. */
  readonly known: Iterable<readonly [key: string, opened: ConnectionOpened]>;
  /** Newest first: a connection may be told of after its grant has been changed. */
  readonly contexts: () => readonly RecordContext[];
  /** Whether connections go through this router. The kernel of the other one of a pair knows them too, told by conntrackd. */
  readonly isInCharge: () => boolean;
  readonly newId: () => string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly onRecord: (record: ConnectionOpened | ConnectionClosed) => void;
  /** What the next process has to know; null for what is over. */
  readonly onChange: (key: string, opened: ConnectionOpened | null) => void;
}

export interface ConnectionBook {
  /** How many are open. */
  readonly size: number;
  take(event: ConnectionEvent): void;
  /** Begins to compare with all connections that there are; what it returns takes each, and null at their end. */
  compare(): (connection: TrackedConnection | null) => void;
}

interface Held {
  readonly opened: ConnectionOpened;
  /** When it was last looked at. */
  carried: Pick<ConnectionClosed, 'bytesSent' | 'bytesReceived'>;
  /** In the last comparison. */
  missing: boolean;
}

/** Between the kernel's own time of a connection, which is in seconds, and when we were told of it. */
const sameWithinMs = 5_000;

export function createConnectionBook({ known, contexts, isInCharge, newId, now, onRecord, onChange }: ConnectionBookOptions): ConnectionBook {
  const held = new Map<string, Held>();
  const controls = new Map<string, Set<string>>();
  /** During a comparison: what it may still name. */
  let over: Set<string> | undefined;
  for (const [key, opened] of known) hold(key, opened);

  function hold(key: string, opened: ConnectionOpened): void {
    held.set(key, { opened, carried: { bytesSent: 0, bytesReceived: 0 }, missing: false });
    if (opened.channel === 'ftp-control') controls.set(sessionOf(opened), new Set(controls.get(sessionOf(opened))).add(opened.connectionId));
  }

  function open(connection: TrackedConnection, atMs: number): Held | undefined {
    const before = held.get(connection.key);
    if (before !== undefined && Math.abs(Date.parse(before.opened.time) - atMs) < sameWithinMs) return before;
    if (before !== undefined) close(connection.key, before, { reason: 'end-unseen', ...before.carried, atMs });
    if (!isInCharge()) return undefined;
    const context = contexts().find(({ grants }) => grants.has(connection.mark));
    const opened = context && withParent(openedRecordOf(connection, context, { connectionId: newId(), atMs }));
    if (opened === undefined) return undefined;
    hold(connection.key, opened);
    onChange(connection.key, opened);
    onRecord(opened);
    return held.get(connection.key);
  }

  /** Where a client has several sessions with a server, nothing tells whose data a connection carries. */
  function withParent(opened: ConnectionOpened | undefined): ConnectionOpened | undefined {
    if (opened?.channel !== 'ftp-data') return opened;
    const [parentId, ...others] = controls.get(sessionOf(opened)) ?? [];
    return parentId === undefined || others.length > 0 ? opened : { ...opened, parentId };
  }

  function close(key: string, { opened }: Held, end: Parameters<typeof closedRecordOf>[1]): void {
    held.delete(key);
    over?.add(key);
    if (opened.channel === 'ftp-control') {
      const session = controls.get(sessionOf(opened));
      session?.delete(opened.connectionId);
      if (session?.size === 0) controls.delete(sessionOf(opened));
    }
    onChange(key, null);
    onRecord(closedRecordOf(opened, end));
  }

  return {
    get size() {
      return held.size;
    },
    take({ kind, connection, atMs }) {
      const { key, startedAtMs } = connection;
      if (kind === 'opened') {
        open(connection, atMs);
        return;
      }
      const [context] = contexts();
      const ended = held.get(key) ?? (startedAtMs === null ? undefined : open(connection, startedAtMs)); // its beginning went unseen
      if (ended !== undefined && context !== undefined) close(key, ended, { reason: endReasonOf(connection, context), ...carriedBy(connection, ended.opened), atMs });
      else over?.add(key);
    },
    compare() {
      const ended = (over = new Set<string>());
      const found = new Set<string>();
      return (connection) => {
        if (connection === null) {
          for (const [key, each] of held) {
            if (!found.has(key) && each.missing) close(key, each, { reason: 'end-unseen', ...each.carried, atMs: now() });
            else each.missing = !found.has(key);
          }
          if (over === ended) over = undefined;
        } else if (!ended.has(connection.key)) {
          found.add(connection.key);
          const each = connection.startedAtMs === null ? (held.get(connection.key) ?? open(connection, now())) : open(connection, connection.startedAtMs);
          if (each !== undefined) each.carried = carriedBy(connection, each.opened);
        }
      };
    },
  };
}

/** Whose FTP with whom. */
const sessionOf = ({ spiffeId, client, target }: ConnectionOpened): string => [spiffeId, hostOf(client), hostOf(target)].join(' ');

const hostOf = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(':'));
