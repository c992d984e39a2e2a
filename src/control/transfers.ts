/** The transfers over FTP that the ledger knows of: those that are over, and how far those are that run. */
import { SallyportError } from '../core/errors.ts';
import type { FtpTransfer, FtpTransferProgress, LedgerRecord } from '../core/ledger-record.ts';
import { parseSpiffeId, workloadOf } from '../core/spiffe-id.ts';
import type { Ledger } from '../store/index.ts';

export interface TransferQuery {
  /** Of the workload. */
  readonly namespace: string | null;
  /** A SPIFFE ID, or `NAMESPACE/SERVICEACCOUNT`. */
  readonly identity: string | null;
  /** `NAMESPACE/NAME` with or without `:PORTNAME`, or a name alone. */
  readonly service: string | null;
  /** Milliseconds since the epoch: what was recorded before is left out. */
  readonly sinceMs: number;
  readonly follow: boolean;
}

type TransferRecord = FtpTransfer | FtpTransferProgress;

/** Reads a query; throws `request-invalid` for a time that is none. */
export function parseTransferQuery(query: URLSearchParams): TransferQuery {
  const since = query.get('since');
  const sinceMs = since === null ? 0 : Date.parse(since);
  if (Number.isNaN(sinceMs)) throw new SallyportError('request-invalid', `${JSON.stringify(since?.slice(0, 64))} is not a time`, { hint: '?since=2026-11-21T07:30:00Z' });
  return { namespace: query.get('namespace'), identity: query.get('identity'), service: query.get('service'), sinceMs, follow: query.get('follow') === 'true' };
}

/**
 * The records of transfers that are over, in the order of the ledger, then the latest of each that still runs; and where it is asked for,
 * every one that comes after. JSON, one object each, with its place in the ledger. A record that came late is where it came.
 */
export async function* transferLines(ledger: Ledger, query: TransferQuery, signal: AbortSignal): AsyncGenerator<string> {
  const end = ledger.head.sequence;
  const running = new Map<string, string>();
  const filter = ({ record }: { readonly record: LedgerRecord }): boolean => isTransfer(record) && matches(record, query);
  for await (const { sequence, record } of ledger.tail({ filter, signal })) {
    if (sequence > end) break;
    const { connectionId } = record as TransferRecord;
    const line = JSON.stringify({ sequence, ...record });
    if (record.type === 'ftp-transfer-progress') {
      running.set(connectionId, line);
    } else {
      running.delete(connectionId);
      yield line;
    }
  }
  yield* running.values();
  if (!query.follow) return;
  for await (const { sequence, record } of ledger.tail({ filter, from: end + 1, follow: true, signal })) yield JSON.stringify({ sequence, ...record });
}

function isTransfer(record: LedgerRecord): record is TransferRecord {
  return record.type === 'ftp-transfer' || record.type === 'ftp-transfer-progress';
}

function matches({ spiffeId, service, time }: TransferRecord, query: TransferQuery): boolean {
  const parsed = parseSpiffeId(spiffeId ?? '');
  const workload = parsed.ok ? workloadOf(parsed.id) : undefined;
  return (
    Date.parse(time) >= query.sinceMs &&
    (query.namespace === null || workload?.namespace === query.namespace) &&
    (query.identity === null || spiffeId === query.identity || (workload !== undefined && `${workload.namespace}/${workload.serviceAccount}` === query.identity)) &&
    (query.service === null || (service !== null && namesOf(service).includes(query.service)))
  );
}

/** What `NAMESPACE/NAME:PORTNAME` may be called. */
function namesOf(service: string): string[] {
  const [key = '', portName = ''] = service.split(':');
  const name = key.slice(key.indexOf('/') + 1);
  return [service, key, name, `${name}:${portName}`];
}
