/** The words of a denial. One sentence a reason, the same at the gateway, on the command line and in the ledger; each ends in the next step. */
import type { DenyReason } from './plan.ts';
import { parseSpiffeId, workloadOf } from '../spiffe-id.ts';

export interface DenialDetails {
  /** The SPIFFE ID. */
  readonly identity: string;
  /** The service port's id, or what was asked for where there is none. */
  readonly target: string;
  /** What a CONNECT named. */
  readonly authority?: string | null | undefined;
}

const textLengthMax = 256;

/** Text from a peer, quoted for a log: cut, and without anything that is not printable ASCII (a terminal obeys more than C0). */
export function quotePeerText(text: string): string {
  return JSON.stringify(text.slice(0, textLengthMax)).replace(/[^\x20-\x7e]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Why it was refused, and what to do about it: one line, lower case, without a period, safe to print. */
export function describeDenial(reason: DenyReason, { identity, target, authority }: DenialDetails): string {
  const parsed = parseSpiffeId(identity);
  const workload = parsed.ok ? workloadOf(parsed.id) : undefined;
  const who = workload === undefined ? quotePeerText(identity) : `service account "${workload.namespace}/${workload.serviceAccount}"`;
  const what = quotePeerText(target);
  const explain = workload === undefined ? '"sallyport explain"' : `"sallyport explain ${workload.namespace}/${workload.serviceAccount} --to ${/^[\x21-\x7e]+$/.test(target) ? target : 'SERVICE'}"`;
  switch (reason) {
    case 'authority-not-allowed':
      return `no EgressPolicy lets ${who} CONNECT to ${quotePeerText(authority ?? '')} through ${what}; add it to the "connectAuthorities" of a policy`;
    case 'no-gateway':
      return `no gateway serves ${what}; apply an EgressGateway`;
    case 'no-policy':
      return `no EgressPolicy lets ${who} use ${what}; ${explain} prints one that would`;
    case 'no-snat-binding':
      return `${who} may use ${what}, but no SnatBinding gives it an address to leave from; ${explain} prints one that would`;
    case 'no-such-service':
      return `no ExternalService answers to ${what}; "sallyport get externalservices -A" lists those that are there, "sallyport register" adds one`;
    case 'not-a-workload':
      return `${who} is not the identity of a workload; policies speak of spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`;
    case 'snat-family-mismatch':
      return `${who} may use ${what}, but has no source address of the family (IPv4, IPv6) of any of its addresses; give its SnatBinding one`;
    case 'trust-domain-mismatch':
      return `${who} is of another trust domain; enrol it here`;
  }
}
