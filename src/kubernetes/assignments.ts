/** Assignments as objects at the API server, and back. */
import { hash } from 'node:crypto';
import type { z } from 'zod';
import { addressToNumber, familyOf } from '../core/ip-address.ts';
import { apiVersion } from '../core/objects/index.ts';
import type { Assignment, Holder } from '../core/snat/assignments.ts';
import type { snatAssignment, SnatAssignmentObject } from './crd/snat-assignment.ts';

/** Keeps an assignment from going before its quarantine has ended, whoever deletes it. */
export const assignmentFinalizer = 'sallyport.dev/promise';

/**
 * Its name: address and first port, as in `192.0.2.7.1024` or `2001.db8.0.0.0.0.0.1.1024`, so that the API server itself refuses to give a
 * source to two.
 */
export function nameOfAssignment({ address, ports }: Pick<Assignment, 'address' | 'ports'>): string {
  const groups = familyOf(address) === 'ipv4' ? [address] : Array.from({ length: 8 }, (_, index) => ((addressToNumber(address) >> BigInt(16 * (7 - index))) & 0xffffn).toString(16));
  return [...groups, ports.first].join('.');
}

export function encodeAssignment({ pool, holder, address, ports, releasedAt, fixed }: Assignment): z.input<typeof snatAssignment> {
  return {
    apiVersion,
    kind: 'SnatAssignment',
    metadata: { name: nameOfAssignment({ address, ports }), labels: { 'sallyport.dev/holder': labelOf(holder) }, finalizers: [assignmentFinalizer] },
    spec: { pool, holder, address, ports: { ...ports }, ...(releasedAt === null ? {} : { releasedAt: new Date(releasedAt).toISOString() }), ...(fixed === true ? { fixed } : {}) },
  };
}

export function decodeAssignment({ spec: { pool, holder, address, ports, releasedAt, fixed } }: SnatAssignmentObject): Assignment {
  return { pool, holder: holder as Holder, family: familyOf(address), address, ports, releasedAt: releasedAt === undefined ? null : Date.parse(releasedAt), ...(fixed === true ? { fixed } : {}) };
}

/** For `kubectl get snatassignments -l`; a label has 63 characters, which a long name does not fit into. */
function labelOf(holder: Holder): string {
  const text = holder.replaceAll('/', '.');
  return text.length <= 63 ? text : `${text.slice(0, 50).replace(/[^a-z0-9]+$/, '')}-${hash('sha256', holder).slice(0, 12)}`;
}
