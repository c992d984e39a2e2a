/** What the ledger must have of an attempt, to the letter. Only what chance decides is left out. */
import type { ConnectionRecord } from './data-plane.ts';
import { formatEndpoint } from '../../src/core/ip-address.ts';
import type { GatewayClass } from '../../src/core/objects/index.ts';
import { describeDenial } from '../../src/core/plan/denial.ts';
import { denyReasons, type DenyReason, type Revision } from '../../src/core/plan/plan.ts';
import type { Played } from './play.ts';
import { parseSpiffeId } from '../../src/core/spiffe-id.ts';
import type { Greeting } from './witness.ts';
import { outcomeFor, type Attempt, type Credential, type Departure, type Refusal } from './world.ts';

/** A record, or what is compared of it. */
type Comparable = Readonly<Record<string, unknown>>;

/** Without what no two connections share whatever happens: when it was, and what it is called. */
function comparable({ time, connectionId, ...record }: ConnectionRecord): Comparable {
  if (record.type !== 'connection-closed') return record;
  const { durationMs, ...rest } = record;
  return rest;
}

/** What of a played attempt's records the table foretells: all but the words of refusals that only the gateway knows, which are compared between classes. */
export function foretold({ attempt, records }: Played, gatewayClass: GatewayClass): readonly Comparable[] {
  return records.map((record) => {
    const { detail, ...rest } = comparable(record);
    return record.type === 'connection-denied' && areWordsForetold(record.reason, attempt, gatewayClass) ? { ...rest, detail } : rest;
  });
}

const areWordsForetold = (reason: string, { but }: Attempt, gatewayClass: GatewayClass): reason is DenyReason => (denyReasons as readonly string[]).includes(reason) && but?.[gatewayClass]?.words === undefined;

/** What runs and classes have in common: without whatever the run has chosen. */
export function shared(record: ConnectionRecord): Comparable {
  const { client, revision, snatPort, ...rest } = comparable(record);
  return record.type === 'connection-denied' ? { ...rest, detail: record.detail.replace(/\b[0-9a-f]{16,}\b/, 'SERIAL NUMBER') } : rest;
}

export function expectedRecords({ attempt, client, greeting, said, heard }: Played, gatewayClass: GatewayClass, revision: Revision): readonly Comparable[] {
  const outcome = outcomeFor(attempt, gatewayClass);
  const { service, policies } = outcome;
  const identity = recordedIdentity(attempt.as, outcome);
  const common = { origin: attempt.but?.[gatewayClass]?.servedBy ?? 'egress-1', revision, client, spiffeId: identity, service, policies };
  if (outcome.kind === 'refused') {
    const { authority, serverName = '' } = attempt.to;
    const { reason } = outcome;
    const detail = areWordsForetold(reason, attempt, gatewayClass) ? { detail: describeDenial(reason, { identity: identity ?? '', target: service ?? serverName, authority }) } : {};
    return [{ type: 'connection-denied', ...common, reason, ...detail }];
  }
  const ends = endsOf(outcome, greeting);
  const { channel } = outcome;
  return [
    { type: 'connection-opened', ...common, ...ends, channel, ...(channel === 'connect' ? { authority: attempt.to.authority } : {}) },
    { type: 'connection-closed', ...common, ...ends, reason: 'finished', bytesSent: said.length, bytesReceived: heard.length },
  ];
}

/** The witness is believed as to the ports; the addresses are the table's. */
function endsOf({ from, to }: Departure, greeting: Greeting | undefined): Comparable {
  return { snatAddress: from, snatPort: greeting?.fromPort, target: formatEndpoint({ address: to, port: greeting?.reachedPort ?? 0 }) };
}

/** Whom the ledger names: who was let out, and whom the certificate of an SVID's form claims that was not. */
function recordedIdentity(credential: Credential, { kind }: Departure | Refusal): string | null {
  if (!('spiffeId' in credential)) return null;
  const isClaim = credential.kind !== 'malformed' && credential.kind !== 'proxy' && parseSpiffeId(credential.spiffeId).ok;
  return isClaim || kind === 'leaves' ? credential.spiffeId : null;
}

/** What the workload and the witness saw of it, in the table's words. */
export function seen({ greeting }: Played): string {
  return greeting === undefined ? 'was refused' : `left from ${greeting.from} and reached ${greeting.reached}`;
}

export function expectedToBeSeen(outcome: Departure | Refusal): string {
  return outcome.kind === 'refused' ? 'was refused' : `left from ${outcome.from} and reached ${outcome.to}`;
}
