/** What the ledger must have of an attempt, to the letter. Only what chance decides is left out. */
import { formatEndpoint } from '../../src/core/ip-address.ts';
import type { ConnectionOpened } from '../../src/core/ledger-record.ts';
import { promptClasses, type PlayedClass } from './classes.ts';
import { describeDenial } from '../../src/core/plan/denial.ts';
import { denyReasons, type DenyReason, type Revision } from '../../src/core/plan/plan.ts';
import { parseSpiffeId } from '../../src/core/spiffe-id.ts';
import type { ConnectionRecord } from './data-plane.ts';
import { divergenceOf, outcomeFor } from './divergence.ts';
import { visitorOf } from './kernel-rules.ts';
import type { Played } from './play.ts';
import type { Visited } from './visit.ts';
import type { Greeting } from './witness.ts';
import type { Attempt, Credential, Departure, Outcome } from './world.ts';

/** A record, or what is compared of it. */
type Comparable = Readonly<Record<string, unknown>>;

/** Without what no two connections share whatever happens: when it was, how long it took, and what it is called. */
function comparable(record: ConnectionRecord): Comparable {
  const { time, connectionId, parentId, durationMs, ...rest } = { durationMs: 0, ...record };
  return rest;
}

/** What of a played attempt's records the table foretells: all but the words of refusals that only the gateway knows, which are compared between classes. */
export function foretold({ attempt, records }: Played, gatewayClass: PlayedClass): readonly Comparable[] {
  return records.map((record) => {
    const { detail, ...rest } = comparable(record);
    return record.type === 'connection-denied' && areWordsForetold(record.reason, attempt, gatewayClass) ? { ...rest, detail } : rest;
  });
}

const areWordsForetold = (reason: string, attempt: Attempt, gatewayClass: PlayedClass): reason is DenyReason => (denyReasons as readonly string[]).includes(reason) && divergenceOf(attempt, gatewayClass)?.words === undefined;

/** What runs and classes have in common: without whatever the run has chosen. */
export function shared(record: ConnectionRecord): Comparable {
  const { client, revision, snatPort, ...others } = comparable(record);
  const withoutPort = (text: string): string => text.replaceAll(/:main-[0-9]+\b/g, ':main-PORT'); // in the name of a data connection's service port
  const rest = { ...others, service: record.service === null ? null : withoutPort(record.service) };
  if (record.type === 'connection-denied') return { ...rest, detail: withoutPort(record.detail).replace(/\b[0-9a-f]{16,}\b/, 'SERIAL NUMBER') };
  return { ...rest, target: record.target.replace(/:[0-9]+$/, '') };
}

/** What must come of it: where only so many may leave, of those beyond they are refused. */
export function expectedOutcome({ attempt, greeting }: Pick<Played, 'attempt' | 'greeting'>, gatewayClass: PlayedClass): Outcome {
  const outcome = outcomeFor(attempt, gatewayClass);
  if (outcome.kind === 'refused' || outcome.atMost === undefined || greeting !== undefined) return outcome;
  const { service, policies, beyond = 'limit-exceeded' } = outcome;
  return { kind: 'refused', service, policies, reason: beyond };
}

export function expectedRecords(played: Played, gatewayClass: PlayedClass, revision: Revision): readonly Comparable[] {
  if (divergenceOf(played.attempt, gatewayClass)?.unrecorded !== undefined) return [];
  return recordsOf(played, gatewayClass, revision).filter(({ type }) => isTold(type as ConnectionRecord['type'], gatewayClass));
}

/** Whether a record of this type comes while the table is played. */
export const isTold = (type: ConnectionRecord['type'], gatewayClass: PlayedClass): boolean => promptClasses.includes(gatewayClass) || type === 'connection-opened' || type === 'connection-denied';

function recordsOf(played: Played, gatewayClass: PlayedClass, revision: Revision): readonly Comparable[] {
  const { attempt, client, data } = played;
  const outcome = expectedOutcome(played, gatewayClass);
  const { service, policies } = outcome;
  const identity = recordedIdentity(attempt.as, outcome, gatewayClass);
  const common = { origin: divergenceOf(attempt, gatewayClass)?.servedBy ?? 'egress-1', revision, client, spiffeId: identity, service, policies };
  if (outcome.kind === 'refused') {
    const { authority, serverName = '' } = attempt.to;
    const { reason } = outcome;
    const detail = areWordsForetold(reason, attempt, gatewayClass) ? { detail: describeDenial(reason, { identity: identity ?? '', target: service ?? serverName, authority }) } : {};
    return [{ type: 'connection-denied', ...common, reason, ...detail }];
  }
  const { channel } = outcome;
  const own = connectionRecords(common, outcome, played, { channel, ...(channel === 'connect' ? { authority: attempt.to.authority } : {}) });
  if (data === undefined) return own;
  const within = { ...common, client: data.client };
  const transfer = { type: 'ftp-transfer', ...within, ...endsOf(outcome, data.greeting), user: null, verb: 'RETR', path: 'file', bytes: data.heard.length, outcome: 'completed', reason: 'finished', replyCode: 226 };
  return [...own, ...connectionRecords(within, outcome, data, { channel: 'ftp-data' }), transfer];
}

function connectionRecords(common: Comparable, outcome: Departure, { greeting, said, heard }: Visited, more: Pick<ConnectionOpened, 'channel' | 'authority'>): readonly Comparable[] {
  const ends = endsOf(outcome, greeting);
  const datagrams = more.channel === 'udp' ? { datagramsSent: 1, datagramsReceived: 1, datagramsDropped: 0 } : {};
  return [
    { type: 'connection-opened', ...common, ...ends, ...more },
    { type: 'connection-closed', ...common, ...ends, reason: 'finished', bytesSent: said.length, bytesReceived: heard.length, ...datagrams },
  ];
}

/** The witness is believed as to the ports; the addresses are the table's. */
function endsOf({ from, to }: Departure, greeting: Greeting | undefined): Comparable {
  return { snatAddress: from, snatPort: greeting?.fromPort, target: formatEndpoint({ address: to, port: greeting?.reachedPort ?? 0 }) };
}

/** Whom the ledger names: who was let out, and whom the certificate of an SVID's form claims that was not. */
function recordedIdentity(credential: Credential, { kind }: Outcome, gatewayClass: PlayedClass): string | null {
  if (!('spiffeId' in credential)) return null;
  if (gatewayClass === 'kernel' && visitorOf(credential)?.kind !== 'known') return null;
  const isClaim = credential.kind !== 'malformed' && credential.kind !== 'proxy' && parseSpiffeId(credential.spiffeId).ok;
  return isClaim || kind === 'leaves' ? credential.spiffeId : null;
}

/** What the workload and the witness saw of it, in the table's words. */
export function seen({ attempt, greeting, data }: Played): string {
  const told = (what: Greeting | undefined): string => (what === undefined ? 'was refused' : `left from ${what.from} and reached ${what.reached}`);
  return attempt.to.manner === 'ftp' && greeting !== undefined ? `${told(greeting)}, and the file ${told(data?.greeting)}` : told(greeting);
}

export function expectedToBeSeen({ to: { manner } }: Attempt, outcome: Outcome): string {
  if (outcome.kind === 'refused') return 'was refused';
  const way = `left from ${outcome.from} and reached ${outcome.to}`;
  return manner === 'ftp' ? `${way}, and the file ${way}` : way;
}
