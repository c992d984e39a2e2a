/**
 * What the conformance table is made of. A world is a value: manifests, who tries what under them, and what must come of it,
 * whatever class the gateway is of. Where a class honestly does otherwise, the row says so, and why, or a rule of the class (divergence.ts).
 */
import type { ConnectionOpened, ConnectionReason } from '../../src/core/ledger-record.ts';
import type { PlayedClass } from './classes.ts';
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
  /** Played at the same moment, and all of them held until the last has been. */
  readonly attempts: readonly Attempt[];
  /** Nobody stands beside the gateway to serve what its class cannot. */
  readonly alone?: true;
  /** Each comes when the one before is there, where a class counts them a moment late. */
  readonly inTurn?: true;
  /** What its EgressGateway says beside class and listeners. */
  readonly gateway?: Readonly<Record<string, unknown>>;
  /** How the sentences begin in which the control plane says what a gateway of the class cannot do. None by default. */
  readonly conditions?: Partial<Record<PlayedClass, readonly string[]>>;
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
  readonly but?: Partial<Record<PlayedClass, End>>;
}

/** How a class ends it otherwise, and why that is right. */
export interface End {
  readonly because: string;
  readonly ends: ConnectionReason;
}

/** What of a run manifests must know. */
export interface Places {
  /** Where the witness listens, at each of `witnessAddresses`. */
  readonly witnessPort: number;
  /** Where it does so behind a forward proxy. */
  readonly proxyPort: number;
  /** Free at the gateway's address. */
  readonly ownPort: number;
  /** Free at every other. */
  readonly reversePort: number;
  /** Whom to trust with the witness's certificate, in PEM. */
  readonly caCertificates: string;
}

/** Where the witness is. The last two are those of the examples. */
export const witnessAddresses = ['127.0.9.1', '127.0.9.2', '127.0.0.1', '::1', '127.4.0.201', '127.168.122.139'] as const;
/** Where nobody is. */
export const deadAddress = '127.0.9.99';

/** Whom a workload shows itself as. */
export type Credential =
  | { readonly kind: 'svid' | 'expired' | 'not-yet-valid' | 'untrusted'; readonly spiffeId: string }
  /** By the control plane: good, revoked, or what a stock Envoy of this identity shows the control plane. */
  | { readonly kind: 'enrolled' | 'revoked' | 'proxy'; readonly spiffeId: string }
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
  'for-clients-only': 'for clients only',
  'for-servers-only': 'for servers only',
  'in-dns-name': 'in a DNS name',
  'in-dns-name-too': 'in a DNS name too',
  'without-uri': 'without a URI',
} as const;
export type MalformedForm = keyof typeof malformedForms;

/** What a workload does once it is let in. */
export const manners = {
  stream: '',
  datagram: 'a datagram',
  ftp: 'a file by FTP, over a data connection',
  ftps: 'TLS with the server itself, by AUTH TLS',
  reverse: 'to be connected to',
} as const;
export type Manner = keyof typeof manners;

/** What a workload asks for, and where. */
export interface Door {
  /** A number: the port that has been named for a data connection. */
  readonly listener: 'shared' | 'own' | number;
  /** By what the session was begun that has named it. */
  readonly session?: Door;
  /** Default: a stream of bytes. */
  readonly manner?: Manner;
  /** Undefined: no SNI. */
  readonly serverName?: string;
  /** What its CONNECT names, where it sends one. */
  readonly authority?: string;
}

export interface Attempt {
  readonly as: Credential;
  readonly to: Door;
  readonly expect: Outcome;
  readonly but?: Partial<Record<PlayedClass, Divergence>>;
}

export type Outcome = Departure | Refusal;

/** The row as it is in a run: where it says `{witnessPort}`, in the name of something, the port of that place. */
export function placedIn(attempt: Attempt, places: Places): Attempt {
  return JSON.parse(JSON.stringify(attempt).replaceAll(/\{(witnessPort|reversePort)\}/g, (_, place: 'witnessPort' | 'reversePort') => String(places[place]))) as Attempt;
}

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
  /** So many of those who come at the same moment; the others are refused. Default: all. */
  readonly atMost?: number;
  /** Why those beyond are. Default: `limit-exceeded`. */
  readonly beyond?: ConnectionReason;
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
  /** The ledger has it as something else. */
  readonly unrecorded?: true;
  /** There is no such thing for the class. */
  readonly absent?: true;
}
