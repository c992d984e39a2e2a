/**
 * The control plane: one process that wires store, CA, compilation and xDS together, and answers administrators.
 *
 * Invariants: nothing is published or answered before what it stands on is durable; a change with a fault changes
 * nothing; a proxy is sent what its certificate entitles it to, and nothing else.
 */
export { startControl, type Control, type ControlOptions } from './control.ts';
export type { BigIpOptions } from './control.ts';
export type { LedgerOtlpOptions } from './ledger-export/index.ts';
export type { KubernetesOptions } from './kubernetes.ts';
export type { AllowedSender, SyslogOptions } from './syslog/index.ts';
