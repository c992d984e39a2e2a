/** Faults that only show when objects stand side by side: those of allocation and compilation. */
import type { Fault, ObjectRef } from './errors.ts';
import type { IpAddress } from './ip-address.ts';

/**
 * Objects by what is said here of them, there or not: one by name, those of a namespace, or every one of a kind. An
 * `ObjectRef` is the ground that only this object is.
 */
export interface Ground {
  readonly kind: string;
  readonly namespace?: string;
  readonly name?: string;
  /** Of a SnatPool: an address that it has. */
  readonly address?: IpAddress;
  /** Of a SnatBinding: the namespace that it speaks of. */
  readonly subject?: string;
}

/** A fault of an object beside others. */
export interface PlanFault extends Fault {
  readonly object: ObjectRef;
  /**
   * What the fault rests on beside its own object: were such an object another, or there where it is missing, the fault
   * might not be. It decides what is told while parts of the input cannot be read, and is not told itself.
   */
  readonly restsOn: readonly Ground[];
}
