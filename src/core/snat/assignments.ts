/**
 * SNAT assignments: the durable promise "this identity leaves from this address". Kept beside desired state, changed
 * only by `allocate`, written down before the plan that uses them is published.
 */
import type { IpAddress, IpFamily } from '../ip-address.ts';
import type { PortRange } from '../plan/plan.ts';

/**
 * Who holds an address: `ns/NAMESPACE`, `sa/NAMESPACE/ACCOUNT` or `svc/NAMESPACE/SERVICE`. A holder keeps one address
 * per pool and family, however its bindings are named or ordered, beside those that they fix by name.
 */
export type Holder = string & { readonly __brand: 'Holder' };

export interface Assignment {
  readonly pool: string;
  readonly holder: Holder;
  readonly family: IpFamily;
  readonly address: IpAddress;
  /** 1024-65535 where the address is exclusive, a block of it where the pool is shared. */
  readonly ports: PortRange;
  /** Milliseconds since the epoch at which the last binding went; null while bound. Quarantine counts from here. */
  readonly releasedAt: number | null;
  /** Present where only bindings that name the address use it. At most one assignment of a pool, holder and family is without: that of `pool` bindings. */
  readonly fixed?: true;
}

/** Sorted by pool, holder, family, address; an assignment is unique by pool, holder, family and address. */
export type Assignments = readonly Assignment[];
