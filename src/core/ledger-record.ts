/** What the ledger records. Fields keep their names for ever: records outlive the program that wrote them. */
import type { DenyReason, Revision } from './plan/plan.ts';

interface RecordBase {
  /** RFC 3339 with milliseconds, UTC. */
  readonly time: string;
  /** Who wrote it: `control`, or the gateway's name. */
  readonly origin: string;
}

/** Reasons that only a running gateway knows, beside the plan's own. */
export const connectionReasons = [
  'certificate-expired',
  'certificate-invalid',
  'certificate-missing',
  'certificate-not-yet-valid',
  'certificate-revoked',
  'certificate-untrusted',
  'client-closed',
  'connect-failed',
  'connect-request-invalid',
  'connect-timeout',
  'end-unseen',
  'finished',
  'ftp-active-refused',
  'ftp-command-refused',
  'ftp-data-address-mismatch',
  'ftp-data-identity-mismatch',
  'ftp-data-timeout',
  'ftp-line-too-long',
  'ftp-passive-address-ignored',
  'ftp-passive-port-refused',
  'ftp-policy-refused',
  'ftp-reply-unparsable',
  'ftp-transfer-aborted',
  'ftp-transfer-failed',
  'ftp-transfer-too-large',
  'gateway-stopping',
  'handshake-failed',
  'handshake-timeout',
  'idle-timeout',
  'ledger-unavailable',
  'limit-exceeded',
  'policy-revoked',
  'reverse-port-unavailable',
  'reverse-source-refused',
  'snat-ports-exhausted',
  'target-removed',
  'target-reset',
  'target-tls-failed',
  'udp-capsule-invalid',
  'udp-flow-displaced',
  'udp-target-unreachable',
] as const;
export type ConnectionReason = (typeof connectionReasons)[number];

interface ConnectionFields extends RecordBase {
  /** Joins log, ledger and metrics; unique. The data connections of an FTP session name their control connection in `parentId`, UDP flows the mesh connection that carries them. */
  readonly connectionId: string;
  readonly parentId?: string;
  readonly revision: Revision | null;
  /** The workload's end as the gateway saw it, `address:port`. */
  readonly client: string;
  readonly spiffeId: string | null;
  /** `NAMESPACE/NAME:PORTNAME` or null where none was found. */
  readonly service: string | null;
  readonly policies: readonly string[];
}

/** A connection was let out: written when the source address and port are known. */
export interface ConnectionOpened extends ConnectionFields {
  readonly type: 'connection-opened';
  readonly snatAddress: string;
  readonly snatPort: number;
  /** `address:port` at the external service. */
  readonly target: string;
  readonly channel: 'stream' | 'ftp-control' | 'ftp-data' | 'connect' | 'reverse' | 'udp';
  /** HTTPConnect with constraints: what CONNECT named. */
  readonly authority?: string;
}

export interface ConnectionClosed extends ConnectionFields {
  readonly type: 'connection-closed';
  readonly snatAddress: string;
  readonly snatPort: number;
  readonly target: string;
  readonly reason: ConnectionReason;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** UDP. Dropped: in either direction, for want of room or sent in vain. */
  readonly datagramsSent?: number;
  readonly datagramsReceived?: number;
  readonly datagramsDropped?: number;
  readonly durationMs: number;
}

/**
 * A transfer over FTP: a file or a listing. `connectionId` and addresses are those of its data connection, whose `parentId` is the control
 * connection; where there was none, those of the control connection itself.
 */
interface FtpTransferFields extends ConnectionFields {
  readonly snatAddress: string;
  readonly snatPort: number;
  readonly target: string;
  /** Who was logged in, safe to print; null where nobody was. Never a password. */
  readonly user: string | null;
  /** RETR, STOR, LIST and the like. */
  readonly verb: string;
  /** Safe to print. Absolute where the session's directory is known, else as the client named it. */
  readonly path: string;
  /** That the data connection has carried in the transfer's direction. */
  readonly bytes: number;
  /** Since its command was passed on. */
  readonly durationMs: number;
}

/** Now and then, while a transfer runs. */
export interface FtpTransferProgress extends FtpTransferFields {
  readonly type: 'ftp-transfer-progress';
}

/** A transfer is over. */
export interface FtpTransfer extends FtpTransferFields {
  readonly type: 'ftp-transfer';
  readonly outcome: 'completed' | 'failed';
  /** `finished` where it is completed. */
  readonly reason: ConnectionReason;
  /** Of the server's final reply; null where there was none. */
  readonly replyCode: number | null;
  /** Of the bytes, hexadecimal, where the service says that it be recorded. */
  readonly sha256?: string;
}

/** A connection, or a request within one, was refused. Nothing left the gateway for it. */
export interface ConnectionDenied extends ConnectionFields {
  readonly type: 'connection-denied';
  readonly reason: DenyReason | ConnectionReason;
  /** One sentence, safe to print: no control characters. */
  readonly detail: string;
}

export interface CertificateIssued extends RecordBase {
  readonly type: 'certificate-issued';
  readonly spiffeId: string;
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** SHA-256 of the issuing CA certificate, hexadecimal. */
  readonly issuerFingerprint: string;
  readonly purpose: 'svid' | 'server' | 'admin' | 'proxy';
  /** How the caller proved who it is. */
  readonly attestation: 'join-token' | 'pod-token' | 'certificate' | 'operator';
  /** Of whom the identity was had by a pod's token, also where it was renewed since. */
  readonly pod?: AttestedPod;
}

/** A pod of Kubernetes that has shown its token; its namespace is that of the SPIFFE ID. */
export interface AttestedPod {
  readonly name: string;
  readonly uid: string;
  /** Null where the API server does not tell. */
  readonly node: string | null;
}

export interface CertificateRevoked extends RecordBase {
  readonly type: 'certificate-revoked';
  readonly spiffeId: string;
  readonly serialNumber: string;
}

export interface IssuanceRefused extends RecordBase {
  readonly type: 'issuance-refused';
  readonly spiffeId: string | null;
  readonly code: string;
  readonly detail: string;
}

export interface AddressAssigned extends RecordBase {
  readonly type: 'address-assigned' | 'address-released';
  readonly pool: string;
  readonly holder: string;
  readonly address: string;
  readonly firstPort: number;
  readonly lastPort: number;
}

export interface PlanPublished extends RecordBase {
  readonly type: 'plan-published';
  readonly revision: Revision;
  readonly previous: Revision | null;
  /** `KIND NAMESPACE/NAME` of what changed. */
  readonly changed: readonly string[];
  /** The admin's SPIFFE ID, or `unix:UID`; `kubernetes` where the API server knows who. */
  readonly actor: string;
}

export interface CaRotated extends RecordBase {
  readonly type: 'ca-rotated';
  readonly step: 'initialized' | 'prepared' | 'discarded' | 'activated' | 'retired';
  readonly fingerprint: string;
}

export type LedgerRecord =
  | AddressAssigned
  | CaRotated
  | CertificateIssued
  | CertificateRevoked
  | ConnectionClosed
  | ConnectionDenied
  | ConnectionOpened
  | FtpTransfer
  | FtpTransferProgress
  | IssuanceRefused
  | PlanPublished;
