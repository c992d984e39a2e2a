/**
 * The admin API: JSON over HTTP, on a Unix socket for its owner and over mTLS for named administrators. These types are
 * the contract between control plane and CLI. Errors are RFC 9457 problems (`application/problem+json`).
 */
import type { Assignment } from '../core/snat/assignments.ts';
import type { ErrorCode, Fault, ObjectRef } from '../core/errors.ts';
import type { Explanation } from '../core/plan/explain.ts';
import type { ConnectionClosed, ConnectionOpened } from '../core/ledger-record.ts';
import type { Revision } from '../core/plan/plan.ts';

export const adminPaths = {
  apply: '/v1alpha1/apply',
  assignments: '/v1alpha1/assignments',
  bundle: '/v1alpha1/ca/bundle',
  ca: '/v1alpha1/ca',
  caActivate: '/v1alpha1/ca/activate',
  caCsr: '/v1alpha1/ca/csr',
  caDiscard: '/v1alpha1/ca/discard',
  caImport: '/v1alpha1/ca/import',
  caInit: '/v1alpha1/ca/init',
  caRetire: '/v1alpha1/ca/retire',
  certificates: '/v1alpha1/certificates',
  explain: '/v1alpha1/explain',
  ledger: '/v1alpha1/ledger',
  ledgerVerify: '/v1alpha1/ledger/verify',
  livez: '/livez',
  metrics: '/metrics',
  objects: '/v1alpha1/objects',
  plan: '/v1alpha1/plan',
  proxies: '/v1alpha1/proxies',
  proxyConfig: '/v1alpha1/proxies/config',
  readyz: '/readyz',
  remove: '/v1alpha1/delete',
  revocations: '/v1alpha1/revocations',
  status: '/v1alpha1/status',
  tokens: '/v1alpha1/tokens',
  transfers: '/v1alpha1/transfers',
  whois: '/v1alpha1/whois',
} as const;

/** RFC 9457, with our code as `type` and in a member of its own. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail?: string;
  readonly place?: string;
  readonly value?: string;
  readonly hint?: string;
  readonly faults?: readonly Fault[];
}

export interface ManifestSource {
  /** As the user named it; appears in faults. */
  readonly file: string;
  readonly text: string;
}

/** POST apply: all or nothing. */
export interface ApplyRequest {
  readonly sources: readonly ManifestSource[];
  readonly dryRun?: boolean;
}

export type ChangeAction = 'created' | 'configured' | 'unchanged' | 'deleted';

export interface ApplyResult {
  readonly revision: Revision;
  readonly previous: Revision | null;
  readonly dryRun: boolean;
  readonly changes: readonly { readonly ref: ObjectRef; readonly action: ChangeAction }[];
  readonly warnings: readonly Fault[];
  /** What the change does to decisions and addresses, and to what stands on BIG-IPs, a sentence each. */
  readonly effects: readonly string[];
}

/** POST delete: objects by reference; deleting what is not there is `not-found`, and then nothing is deleted. */
export interface DeleteRequest {
  readonly refs: readonly ObjectRef[];
  readonly dryRun?: boolean;
}

/** GET objects?kind=&namespace=&name= : manifests as YAML would hold them. */
export interface ObjectList {
  readonly revision: Revision | null;
  readonly items: readonly Record<string, unknown>[];
}

export interface AssignmentList {
  readonly items: readonly Assignment[];
}

export interface ExplainRequest {
  /** A SPIFFE ID, or `NAMESPACE/SERVICEACCOUNT`. */
  readonly subject: string;
  readonly target: string;
  readonly authority?: string;
}

/** The explanation as data, and in the sentences that the CLI prints. */
export interface ExplainResult extends Explanation {
  readonly text: readonly string[];
}

export interface WhoisConnection {
  readonly opened: ConnectionOpened;
  /** Null while it is open, as far as the ledger knows. */
  readonly closed: ConnectionClosed | null;
}

/** GET whois?address=&port=&time=&toleranceMs= . */
export interface WhoisResult {
  /** Those that were open then; several only where they went to different targets. */
  readonly connections: readonly WhoisConnection[];
  /** Where there was none: the last one before, which had ended. */
  readonly nearest: WhoisConnection | null;
}

export interface LedgerVerification {
  readonly ok: boolean;
  readonly records: number;
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly fault: string | null;
}

/** POST tokens. What the token buys, and for how long, is decided here and not by who brings it. */
export interface TokenRequest {
  readonly spiffeId: string;
  readonly ttlMs?: number;
  /** Default `svid`. */
  readonly purpose?: 'svid' | 'proxy';
  /** Of the certificate; for `proxy` only. */
  readonly lifetimeMs?: number;
}

export interface TokenResult {
  readonly token: string;
  readonly spiffeId: string;
  readonly purpose: 'svid' | 'proxy';
  /** Of the token. */
  readonly expiresAt: string;
}

export interface CaSlot {
  readonly slot: 'prepared' | 'active' | 'old';
  readonly subject: string;
  readonly fingerprint: string;
  readonly notAfter: string;
  readonly rootFingerprint: string;
  /** `encrypted` where a passphrase protects the key on disk. */
  readonly keyStorage: 'encrypted' | 'plain';
}

export interface CaStatus {
  readonly trustDomain: string;
  readonly slots: readonly CaSlot[];
}

/** POST ca/import: a chain with its key as PEM, the answer to `ca csr` (no key), or PKCS#12 (base64). Goes to the prepared slot, or becomes active where there is none. */
export interface CaImportRequest {
  readonly certificatesPem?: string;
  readonly privateKeyPem?: string;
  readonly pkcs12?: string;
  readonly passphrase?: string;
}

export interface CertificateRequest {
  readonly spiffeId: string;
  readonly purpose: 'server' | 'admin';
  readonly csrPem?: string;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly lifetimeMs?: number;
}

export interface CertificateResult {
  readonly spiffeId: string;
  readonly serialNumber: string;
  readonly notAfter: string;
  readonly certificateChainPem: string;
  readonly trustBundlePem: string;
}

export interface RevocationRequest {
  readonly serialNumber?: string;
  /** Revokes every unexpired certificate of the identity. */
  readonly spiffeId?: string;
}

export interface RevocationResult {
  readonly serialNumbers: readonly string[];
}

/** A proxy that is served by xDS, a gateway that is not connected, or a BIG-IP that is driven. */
export interface ProxyStatus {
  /** What it calls itself: its identity, or that with a name of its own. */
  readonly node: string;
  readonly identity: string;
  /** What it is: our own gateway or agent, an Envoy, or a BIG-IP. */
  readonly class: 'sallyport' | 'envoy' | 'bigip';
  /** The EgressGateway that it is; null for an agent or a sidecar. */
  readonly gateway: string | null;
  /** Of the program, as it says itself; null where it is not connected, or does not say. */
  readonly version: string | null;
  readonly connected: boolean;
  readonly connectedSince: string | null;
  readonly types: readonly ProxyTypeStatus[];
  /** How many revisions of the plan it is behind; null where that is not known. */
  readonly revisionsBehind: number | null;
  /** What is wrong with what the latest revision has for it, so that it is not sent it and keeps what it holds; null for nothing. */
  readonly withheld: string | null;
  /** Why a stream of its identity was last refused or ended, or why a BIG-IP is not as it is to be; null for none. */
  readonly trouble: { readonly reason: string; readonly at: string; readonly count: number } | null;
  /** Whether what it was told last is in force there, as it says itself; null for one that says nothing beside what it acknowledges. */
  readonly inForce: boolean | null;
  /** What else it says of itself, a sentence each. */
  readonly conditions: readonly string[];
}

/** GET proxies/config?name= */
export interface ProxyConfigResult {
  readonly node: string;
  readonly class: 'sallyport' | 'envoy';
  readonly revision: string | null;
  /** What it subscribes to, by type and name. */
  readonly resources: readonly ProxyResource[];
}

export interface ProxyResource {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly state: 'SYNCED' | 'STALE' | 'NOT_SENT' | 'ERROR';
  /** The message as JSON, with Envoy's field names; a hash in the place of a private key. */
  readonly content: unknown;
}

export interface ProxyTypeStatus {
  readonly typeUrl: string;
  readonly state: 'SYNCED' | 'STALE' | 'NACKED';
  readonly sent: string | null;
  readonly acknowledged: string | null;
  /** What it rejects, in its own words. */
  readonly error: { readonly message: string; readonly resources: readonly string[] } | null;
}

export interface StatusResult {
  readonly version: string;
  readonly trustDomain: string;
  readonly revision: Revision | null;
  readonly ready: boolean;
  readonly conditions: readonly string[];
  readonly objects: Readonly<Record<string, number>>;
  readonly proxies: readonly ProxyStatus[];
  readonly ca: CaStatus;
  readonly ledger: {
    readonly records: number;
    readonly lastSequence: number;
    /** Where that goes by OTLP, and the last record that is there. */
    readonly sentOn?: { readonly to: string; readonly lastSequence: number };
  };
  readonly startedAt: string;
}
