/** What of a plan a class of gateways turns out unable to do only as it is rendered: grant by grant, where `inabilityOf` speaks of whole service ports. */
import type { ServicePortId } from './plan.ts';

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
  /** Two would be one object on a BIG-IP. */
  | 'name-taken'
  /** Envoy's kernel would leave the block of source ports, and so would data connections of FTP at a kernel; a BIG-IP knows no blocks. */
  | 'port-block-unusable'
  /** Nobody could be believed as the gateway. */
  | 'server-identity-missing'
  /** No source address is of the family of any target. */
  | 'snat-family-mismatch';
