/** Rows of the table in words for people. */
import type { ConnectionReason } from '../../src/core/ledger-record.ts';
import type { PlayedClass } from './classes.ts';
import { endFor, outcomeFor } from './divergence.ts';
import { malformedForms, manners, type Attempt, type Credential, type Door, type Life, type Outcome } from './world.ts';

export function describeCredential(credential: Credential): string {
  const short = (id: string) => id.replace(/^spiffe:\/\/cluster\.local\/ns\/([^/]+)\/sa\/([^/]+)$/, '$1/$2');
  switch (credential.kind) {
    case 'svid':
    case 'enrolled':
      return short(credential.spiffeId);
    case 'several':
      return `${credential.spiffeIds.map(short).join(' and ')} in one certificate`;
    case 'malformed':
      return `${short(credential.spiffeId)}, ${malformedForms[credential.form]}`;
    case 'proxy':
      return `${short(credential.spiffeId)}, a proxy certificate`;
    case 'none':
      return 'TLS without a certificate';
    case 'old-tls':
      return 'TLS 1.1';
    case 'plain':
      return 'no TLS';
    case 'untrusted':
      return `${short(credential.spiffeId)}, by another authority`;
    default:
      return `${short(credential.spiffeId)}, ${credential.kind.replaceAll('-', ' ')}`;
  }
}

export function describeDoor({ listener, manner = 'stream', serverName, authority }: Door): string {
  const asked = serverName === undefined ? 'no SNI' : serverName;
  return [listener === 'own' ? `the service's own listener (${asked})` : asked, authority === undefined ? '' : `CONNECT ${authority}`, manners[manner]].filter((part) => part !== '').join(', ');
}

export function describeOutcome(outcome: Outcome): string {
  if (outcome.kind === 'refused') return `refused: ${outcome.reason}`;
  const { atMost, beyond = 'limit-exceeded', channel, from, ports } = outcome;
  return `${channel === 'reverse' ? 'is reached at' : 'leaves from'} ${from}${ports === undefined ? '' : `, ports ${ports.first}-${ports.last}`}${atMost === undefined ? '' : `, ${atMost} at a time, and more are refused: ${beyond}`}`;
}

export function describeAttempt(attempt: Attempt, gatewayClass: PlayedClass): string {
  return `${describeCredential(attempt.as)} for ${describeDoor(attempt.to)}: ${describeOutcome(outcomeFor(attempt, gatewayClass))}`;
}

export const describeEnd = (reason: ConnectionReason): string => (reason === 'finished' ? 'goes on' : `ends: ${reason}`);

export function describeLife(life: Life, gatewayClass: PlayedClass): string {
  return `${describeCredential(life.as)} to ${describeDoor(life.to)} ${describeEnd(endFor(life, gatewayClass))}`;
}
