/** What a plan's revision is made of: a hash of each service port, so that a change hashes what changed. */
import { hash } from 'node:crypto';
import { mapInSteps, type Steps } from '../steps.ts';
import type { Plan, Revision, ServicePort } from './plan.ts';

const hashes = new WeakMap<ServicePort, string>();

/** SHA-256 of a service port's content, hexadecimal. Canonical because `compile` makes every field in one order; computed once an object. */
export function hashOfServicePort(servicePort: ServicePort): string {
  let known = hashes.get(servicePort);
  if (known === undefined) hashes.set(servicePort, (known = hash('sha256', JSON.stringify(servicePort), 'hex')));
  return known;
}

/** The revision of a plan with this content. */
export function* revisionOf({ trustDomain, gateways, servicePorts }: Omit<Plan, 'revision'>): Steps<Revision> {
  const parts = yield* mapInSteps(servicePorts, 1, hashOfServicePort);
  return hash('sha256', JSON.stringify([trustDomain, gateways, parts]), 'hex') as Revision;
}
