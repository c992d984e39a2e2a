/**
 * The embedded store: what must survive the process. One mechanism, an append-only file made durable in groups, serves
 * four: the control plane's state, the ledger, a gateway's spool of records on their way to the ledger, and which connections of a Linux router are open.
 *
 * Invariants: what was acknowledged survives SIGKILL at any moment, and the loss of power; a torn end, which only holds
 * what was not acknowledged, is dropped and reported; any other damage is refused with its place; one process at a time
 * uses a directory. See docs/decisions/0201-embedded-store.md.
 */
export type { TornEnd } from './line-file.ts';
export { openStateStore, type Committed, type StateStore, type StateStoreOptions } from './state-store.ts';
export type { Transaction } from './transaction.ts';
export { openLedger, type Ledger, type LedgerOptions } from './ledger.ts';
export type { ChainHead, ChainProblem } from './ledger-chain.ts';
export type { ChainHash, LedgerEntry, SpoolPlace } from './ledger-line.ts';
export type { LedgerLine, LedgerReader } from './ledger-reader.ts';
export type { TailOptions } from './ledger-tail.ts';
export { verifyLedger, type LedgerVerification } from './ledger-verification.ts';
export type { WhoisAnswer, WhoisConnection, WhoisQuery } from './whois.ts';
export { openSpool, type PendingRecords, type Spool, type SpoolOptions } from './spool.ts';
