import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Revision, ServicePortId } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import type { ConnectionLedger } from './protocol.ts';

/** Where records go. */
export interface RecordSink {
  /** False while records cannot be kept: then nothing new may be let out. */
  readonly accepting: boolean;
  append(record: LedgerRecord): void;
}

/** What every record of a connection says alike. */
export interface ConnectionFacts {
  readonly connectionId: string;
  readonly parentId?: string;
  readonly revision: Revision | null;
  readonly client: string;
  readonly spiffeId: SpiffeId | null;
  readonly service: ServicePortId | null;
  readonly policies: readonly string[];
}

export interface LedgerWriter {
  readonly sink: RecordSink;
  /** The gateway's name. */
  readonly origin: string;
  readonly now: () => number;
  readonly newId: () => string;
}

export function createConnectionLedger(writer: LedgerWriter, facts: ConnectionFacts): ConnectionLedger {
  const { sink, origin, now, newId } = writer;
  const stamp = () => ({ time: timestamp(now()), origin });

  return {
    connectionId: facts.connectionId,
    opened({ local, remote }, about) {
      const openedAtMs = now();
      const ends = { snatAddress: local.address, target: formatEndpoint(remote), snatPort: local.port };
      let closed = false;
      sink.append({ ...stamp(), type: 'connection-opened', ...facts, ...ends, ...about });
      return {
        transferring(transfer) {
          sink.append({ ...stamp(), type: 'ftp-transfer-progress', ...facts, ...ends, ...transfer });
        },
        transferred(transfer, outcome) {
          sink.append({ ...stamp(), type: 'ftp-transfer', ...facts, ...ends, ...transfer, ...outcome });
        },
        closed(end) {
          if (closed) return;
          closed = true;
          sink.append({ ...stamp(), type: 'connection-closed', ...facts, ...ends, ...end, durationMs: Math.max(0, now() - openedAtMs) });
        },
      };
    },
    denied(reason, detail) {
      sink.append({ ...stamp(), type: 'connection-denied', ...facts, reason, detail: printable(detail) });
    },
    child: (client, spiffeId = facts.spiffeId) => createConnectionLedger(writer, { ...facts, connectionId: newId(), parentId: facts.connectionId, client, spiffeId }),
  };
}

let second = { startsAtMs: NaN, prefix: '' };

/** RFC 3339 with milliseconds. Twice for each connection, and formatting a date anew costs microseconds: only the milliseconds differ mostly. */
function timestamp(ms: number): string {
  const startsAtMs = ms - (ms % 1_000);
  if (second.startsAtMs !== startsAtMs) second = { startsAtMs, prefix: new Date(startsAtMs).toISOString().slice(0, -4) };
  return `${second.prefix}${String(ms - startsAtMs).padStart(3, '0')}Z`;
}

const detailCharactersMax = 1_024;

/** What a client sent may stand in a detail; it must not move the cursor of whoever reads the ledger. */
const printable = (text: string): string => text.slice(0, detailCharactersMax).replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?');
