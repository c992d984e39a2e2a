/** The data plane as the rest of the process sees it: in this thread, or on worker threads, one for each core. */
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import type { TableChange } from './table.ts';
import type { TlsMaterial } from './tls-front.ts';

export interface Plane {
  /** Once, before anything else. Resolves when every thread listens as `change` says. */
  start(material: TlsMaterial, change: TableChange): Promise<void>;
  /** Resolves when every thread does as the change says. */
  update(change: TableChange): Promise<void>;
  setMaterial(material: TlsMaterial): void;
  /** Whether records can be kept; while not, nothing new is let out. */
  setAccepting(accepting: boolean): void;
  /** Ends listeners at once and connections after `drainMs` at the latest; resolves when all their records are out. */
  stop(drainMs: number): Promise<void>;
}

export interface PlaneEvents {
  /** In the order of each thread. */
  records(records: readonly LedgerRecord[]): void;
  /** `code` is null once the fault is over. */
  listenerFault(thread: number, endpoint: Endpoint, code: string | null): void;
  /** Refusals that were not recorded, by now, in the thread of this index. */
  unrecorded(thread: number, count: number): void;
}

/** Main thread to worker. */
export type WorkerCommand =
  | { readonly type: 'start'; readonly id: number; readonly material: TlsMaterial; readonly change: TableChange }
  | { readonly type: 'update'; readonly id: number; readonly change: TableChange }
  | { readonly type: 'material'; readonly material: TlsMaterial }
  | { readonly type: 'accepting'; readonly accepting: boolean }
  /** So many records have been taken over. */
  | { readonly type: 'taken'; readonly count: number }
  | { readonly type: 'stop'; readonly id: number; readonly drainMs: number };

/** Worker to main thread. */
export type WorkerReport =
  | { readonly type: 'done'; readonly id: number }
  | { readonly type: 'records'; readonly records: readonly LedgerRecord[]; readonly unrecorded: number }
  | { readonly type: 'listener-fault'; readonly endpoint: Endpoint; readonly code: string | null };

/** What a worker is born with. */
export interface WorkerBirth {
  readonly index: number;
  readonly count: number;
  /** See identity-limits.ts: of connections, and of flows of datagrams. */
  readonly limits: SharedArrayBuffer;
  readonly flowLimits: SharedArrayBuffer;
}
