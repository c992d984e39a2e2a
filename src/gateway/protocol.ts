/** Where a protocol takes over: what the data plane hands to a handler once a peer is verified and allowed, and what it wants back. */
import type { TLSSocket } from 'node:tls';
import type { GatewaySettings } from '../api/table-codec.ts';
import type { IpFamily } from '../core/ip-address.ts';
import type { ConnectionClosed, ConnectionReason, ConnectionOpened, FtpTransfer, FtpTransferProgress } from '../core/ledger-record.ts';
import type { Decision, DenyReason, Endpoint, PortRange, ServicePort, Target } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { Dialled } from './dial.ts';
import type { VerifiedPeer } from './peer.ts';
import type { ReversePorts } from './reverse-ports.ts';
import type { ServiceDial } from './service-dial.ts';
import type { Arrival, SourceListener } from './source-listener.ts';

export type { GatewaySettings };

export type AllowedDecision = Extract<Decision, { allowed: true }>;

/** Writes the records of one connection. */
export interface ConnectionLedger {
  readonly connectionId: string;
  /** A connection was let out. `closed` writes its end, once; further calls do nothing. */
  opened(dialled: Pick<Dialled, 'local' | 'remote'>, about: { readonly channel: ConnectionOpened['channel']; readonly authority?: string }): OpenedRecord;
  /** The connection, or a request within it, was refused. */
  denied(reason: DenyReason | ConnectionReason, detail: string): void;
  /**
   * For a connection that belongs to this one, from `client` (`address:port`): a new id, this one as its parent. `spiffeId`: whose it
   * is where it is a stranger's, null for one who proved nothing; by default this one's.
   */
  child(client: string, spiffeId?: SpiffeId | null): ConnectionLedger;
}

/** What only a connection's end tells. */
export type ConnectionEnd = Pick<ConnectionClosed, 'reason' | 'bytesSent' | 'bytesReceived' | 'datagramsSent' | 'datagramsReceived' | 'datagramsDropped'>;

/** What is known of an FTP transfer at a moment. */
export type TransferFacts = Pick<FtpTransferProgress, 'user' | 'verb' | 'path' | 'bytes' | 'durationMs'>;

export interface OpenedRecord {
  /** An FTP transfer over this connection goes on. */
  transferring(transfer: TransferFacts): void;
  /** An FTP transfer over this connection is over. */
  transferred(transfer: TransferFacts, outcome: Pick<FtpTransfer, 'outcome' | 'reason' | 'replyCode' | 'sha256'>): void;
  closed(end: ConnectionEnd): void;
}

/** A listener beside the shared ones, for further connections of one session. */
export interface PeerListener extends Endpoint {
  close(): void;
}

export interface PeerListenerEvents {
  /** Handshake done and certificate verified; `client` is `address:port`. Whose it is remains to be compared. */
  peer(socket: TLSSocket, peer: VerifiedPeer, client: string): void;
  /** Already ended; to be recorded. */
  refused(reason: ConnectionReason, detail: string, client: string): void;
}

export interface ProtocolContext {
  /** Half-open and not flowing. An error listener is there: watch `close`. */
  readonly client: TLSSocket;
  /** `address:port` of the client. */
  readonly clientEndpoint: string;
  readonly peer: VerifiedPeer;
  readonly servicePort: ServicePort;
  readonly grant: AllowedDecision['grant'];
  readonly settings: GatewaySettings;
  readonly ledger: ConnectionLedger;
  /** The wall clock, in milliseconds. */
  readonly now: () => number;
  /** From the grant's address to one of the service port's targets. Given up when the client closes. */
  readonly dial: ServiceDial['dial'];
  /** The same for one flow of datagrams. */
  readonly dialFlow: ServiceDial['dialFlow'];
  /** The same for a further connection of this session. */
  readonly dialBeside: ServiceDial['dialBeside'];
  /**
   * Listens for further connections of this session, at the address that the client has connected to, on a free port of `ports`
   * (any, for null). Undefined when none is free.
   */
  listenForPeers(ports: PortRange | null, events: PeerListenerEvents): Promise<PeerListener | undefined>;
  /** The service's, as the table has them now. */
  readonly targets: () => readonly Target[];
  readonly reversePorts: ReversePorts;
  /** Listens at the grant's address of this family, on a port of its own, for what a server opens itself. Undefined when none is free. */
  listenAtSource(family: IpFamily, onArrival: (arrival: Arrival) => void): Promise<SourceListener | undefined>;
}

/** One connection in the care of a protocol. */
export interface ProtocolSession {
  /** Resolves once the session is over, everything it opened is closed, and its records are written. Must not reject. */
  readonly done: Promise<void>;
  /** Ends the session at once, recording `reason`. May come at any moment, also twice. */
  end(reason: ConnectionReason): void;
  /** Whether the session may go on under a changed grant of the same SNAT source; absent: yes. */
  allowedBy?(grant: AllowedDecision['grant']): boolean;
  /** Whether where it leads to is still one of the service's targets; absent: what it has dialled says. */
  keepsTo?(targets: readonly Target[]): boolean;
}

/**
 * Serves an allowed connection. The handler owns `client` from here on: it must see to its end. Nothing has been dialled, so a
 * server that speaks first has not been heard by anyone.
 */
export type ProtocolHandler = (context: ProtocolContext) => ProtocolSession;
