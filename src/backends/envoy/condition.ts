import type { ServicePortId } from '../../core/plan/plan.ts';

/** What of a service port cannot be rendered, and so is refused: never served as something weaker. */
export interface Condition {
  /** Stable, kebab-case. */
  readonly code: ConditionCode;
  readonly object: ServicePortId;
  /** One sentence, lower case, without a period. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
}

export type ConditionCode =
  /** A sidecar knows no capsules. */
  | 'datagrams-unable'
  /** A sidecar cannot carry FTP's data connections. */
  | 'ftp-data-unreachable'
  /** A sidecar's listener could be reached by others than its workload. */
  | 'listener-exposed'
  /** The kernel would leave the block of source ports. */
  | 'port-block-unusable'
  /** Nobody could be believed as the gateway. */
  | 'server-identity-missing'
  /** No source address is of the family of any target. */
  | 'snat-family-mismatch';
