/**
 * What the conformance table is made of. A world is a value: manifests, who tries what under them, and what must come of it,
 * whatever class the gateway is of. Where a class honestly does otherwise, the row says so, and why.
 */
import type { ConnectionOpened, ConnectionReason } from '../../src/core/ledger-record.ts';
import type { GatewayClass } from '../../src/core/objects/index.ts';
import type { DenyReason, PortRange } from '../../src/core/plan/plan.ts';

export interface World {
  /** A noun: "a namespace, and what only looks like it". */
  readonly name: string;
  /** What the reader is to see, in a sentence or two. */
  readonly shows: string;
  /** The file of `manifests/examples` that it is. */
  readonly example?: string;
  /** All but the gateway, which is the class's. */
  readonly manifests: (places: Places) => string;
  /** Played at the same moment. */
  readonly attempts: readonly Attempt[];
  /** Nobody stands beside the gateway to serve what its class cannot. */
  readonly alone?: true;
  /** How the sentences begin in which the control plane says what a gateway of the class cannot do. None by default. */
  readonly conditions?: Partial<Record<GatewayClass, readonly string[]>>;
}

/** Something that happens while connections live: what becomes of each of them. */
export interface Change {
  /** A sentence. */
  readonly name: string;
  /** All manifests, before and after, but for the gateway. */
  readonly from: World['manifests'];
  readonly to: World['manifests'];
  /** Whose certificate is revoked with it. */
  readonly revokes?: string;
  readonly lives: readonly Life[];
}

export interface Life {
  readonly as: Credential;
  readonly to: Door;
  /** Why it ends; `finished` where it goes on until the workload takes leave. */
  readonly ends: ConnectionReason;
  readonly but?: Partial<Record<GatewayClass, { readonly because: string; readonly ends: ConnectionReason }>>;
}

export const endFor = ({ ends, but }: Life, gatewayClass: GatewayClass): ConnectionReason => but?.[gatewayClass]?.ends ?? ends;

/** What of a run manifests must know. */
export interface Places {
  /** Where the witness listens, at each of `witnessAddresses`. */
  readonly witnessPort: number;
  /** Where it does so behind a forward proxy. */
  readonly proxyPort: number;
  /** Free at the gateway's address. */
  readonly ownPort: number;
}

/** Where the witness is. The last two are those of the examples. */
export const witnessAddresses = ['127.0.9.1', '127.0.9.2', '127.0.0.1', '::1', '127.4.0.201', '127.168.122.139'] as const;
/** Where nobody is. */
export const deadAddress = '127.0.9.99';

/** Whom a workload shows itself as. */
export type Credential =
  | { readonly kind: 'svid' | 'expired' | 'not-yet-valid' | 'revoked' | 'untrusted'; readonly spiffeId: string }
  /** Good, and known to the control plane, which may revoke it. */
  | { readonly kind: 'enrolled'; readonly spiffeId: string }
  /** One certificate for several. */
  | { readonly kind: 'several'; readonly spiffeIds: readonly string[] }
  /** Signed and in time, and yet no X509-SVID. */
  | { readonly kind: 'malformed'; readonly form: MalformedForm; readonly spiffeId: string }
  /** TLS without a certificate. */
  | { readonly kind: 'none' }
  /** TLS 1.1. */
  | { readonly kind: 'old-tls' }
  /** No TLS. */
  | { readonly kind: 'plain' };

export const malformedForms = {
  'ca': 'a CA certificate',
  'for-clients-only': 'for clients only, as a proxy certificate is',
  'for-servers-only': 'for servers only',
  'in-dns-name': 'in a DNS name',
  'in-dns-name-too': 'in a DNS name too',
  'without-uri': 'without a URI',
} as const;
export type MalformedForm = keyof typeof malformedForms;

/** What a workload asks for, and where. */
export interface Door {
  readonly listener: 'shared' | 'own';
  /** Undefined: no SNI. */
  readonly serverName?: string;
  /** What its CONNECT names, where it sends one. */
  readonly authority?: string;
}

export interface Attempt {
  readonly as: Credential;
  readonly to: Door;
  readonly expect: Outcome;
  readonly but?: Partial<Record<GatewayClass, Divergence>>;
}

export type Outcome = Departure | Refusal;

interface Told {
  /** As the ledger names them. */
  readonly service: string | null;
  readonly policies: readonly string[];
}

export interface Departure extends Told {
  readonly kind: 'leaves';
  readonly from: string;
  /** Where only these source ports are the identity's. */
  readonly ports?: PortRange;
  /** The address that is reached. */
  readonly to: string;
  readonly channel: ConnectionOpened['channel'];
}

export interface Refusal extends Told {
  readonly kind: 'refused';
  readonly reason: DenyReason | ConnectionReason;
}

/** In what a class does otherwise, and why that is right. Whatever is not named here must be the same. */
export interface Divergence {
  readonly because: string;
  /** Another outcome. */
  readonly expect?: Outcome;
  /** It is handed over to this gateway, whose records name the gateway before as the client. */
  readonly servedBy?: 'beside';
  /** The detail of its refusal has other words. */
  readonly words?: true;
}

export const outcomeFor = ({ expect, but }: Attempt, gatewayClass: GatewayClass): Outcome => but?.[gatewayClass]?.expect ?? expect;

// Rows in few words

/** `NAMESPACE/SERVICEACCOUNT` of this trust domain, or a SPIFFE ID. */
const idOf = (who: string): string => {
  const [namespace, serviceAccount] = who.split('/');
  return who.startsWith('spiffe:') ? who : `spiffe://cluster.local/ns/${namespace!}/sa/${serviceAccount!}`;
};
const shown = (kind: Exclude<Extract<Credential, { spiffeId: string }>['kind'], 'malformed'>) => (who: string): Credential => ({ kind, spiffeId: idOf(who) });

export const svid = shown('svid');
export const expired = shown('expired');
export const notYetValid = shown('not-yet-valid');
export const revoked = shown('revoked');
export const untrusted = shown('untrusted');
export const enrolled = shown('enrolled');
export const several = (...who: readonly string[]): Credential => ({ kind: 'several', spiffeIds: who.map(idOf) });
export const malformed = (form: MalformedForm, who: string): Credential => ({ kind: 'malformed', form, spiffeId: idOf(who) });
export const withoutCertificate: Credential = { kind: 'none' };
export const oldTls: Credential = { kind: 'old-tls' };
export const withoutTls: Credential = { kind: 'plain' };

export const sni = (serverName: string): Door => ({ listener: 'shared', serverName });
export const withoutSni: Door = { listener: 'shared' };
export const ownListener = (serverName?: string): Door => ({ listener: 'own', ...(serverName === undefined ? {} : { serverName }) });
export const connectTo = (door: Door, authority: string): Door => ({ ...door, authority });

interface Passage extends Partial<Pick<Departure, 'ports' | 'to' | 'channel'>> {
  readonly from: string;
  readonly by: readonly string[];
  readonly but?: Attempt['but'];
}

/** The rows of those who come to one door, behind which is `service`. */
export interface Way {
  lets(as: Credential, passage: Passage): Attempt;
  refuses(as: Credential, reason: Refusal['reason'], more?: { readonly by?: readonly string[]; readonly but?: Attempt['but'] }): Attempt;
}

const diverging = (but: Attempt['but']): Pick<Attempt, 'but'> => (but === undefined ? {} : { but });

export const way = (to: Door, service: string | null): Way => ({
  lets: (as, { by, but, ...passage }) => ({ as, to, expect: { kind: 'leaves', service, policies: by, to: witnessAddresses[0], channel: 'stream', ...passage }, ...diverging(but) }),
  refuses: (as, reason, { by = [], but } = {}) => ({ as, to, expect: { kind: 'refused', service, policies: by, reason }, ...diverging(but) }),
});

// Rows in words for people

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

export function describeDoor({ listener, serverName, authority }: Door): string {
  const asked = serverName === undefined ? 'no SNI' : serverName;
  return [...(listener === 'own' ? [`the service's own listener (${asked})`] : [asked]), ...(authority === undefined ? [] : [`CONNECT ${authority}`])].join(', ');
}

export function describeOutcome(outcome: Outcome): string {
  if (outcome.kind === 'refused') return `refused: ${outcome.reason}`;
  const { from, ports } = outcome;
  return `leaves from ${from}${ports === undefined ? '' : `, ports ${ports.first}-${ports.last}`}`;
}

export function describeAttempt(attempt: Attempt, gatewayClass: GatewayClass): string {
  return `${describeCredential(attempt.as)} for ${describeDoor(attempt.to)}: ${describeOutcome(outcomeFor(attempt, gatewayClass))}`;
}

export const describeEnd = (reason: ConnectionReason): string => (reason === 'finished' ? 'goes on' : `ends: ${reason}`);

export function describeLife(life: Life, gatewayClass: GatewayClass): string {
  return `${describeCredential(life.as)} to ${describeDoor(life.to)} ${describeEnd(endFor(life, gatewayClass))}`;
}
