/** One FTP session as values: who its parties are, what happens to it, what it asks of its caller, and what it remembers. */
import type { IpAddress } from '../ip-address.ts';
import type { ConnectionReason } from '../ledger-record.ts';
import type { Command } from './command.ts';
import type { FtpPath } from './path.ts';
import type { FtpRules, SessionFacts, TransferLimit } from './rules.ts';

/** Longest line either way, without its LF: twice the longest path of Linux (PATH_MAX). */
export const lineBytesMax = 8_192;
/** Longest reply that must be read as a whole (227, 229, FEAT). Others, such as STAT's listing, pass line by line and have no limit. */
export const heldReplyBytesMax = 65_536;
/** Commands that await their reply. More stay unread until one is answered. */
export const commandsOutstandingMax = 64;
/** What a session tells at most: neither a client nor a server may fill the ledger. Each notice is told once. */
export const noticesMax = 32;
/** RFC 2577 section 3 keeps data connections away from the well-known services. */
export const dataPortMin = 1024;

/**
 * The two ends, as seen from here. A data connection is made to a party's address, or awaited at the address of ours that the party is
 * connected to: whatever a command or a reply names, no other address is ever used.
 */
export interface FtpParties {
  readonly clientFacingAddress: IpAddress;
  /** Where an active client awaits data connections: its own end of the control connection. Null: it has to be passive. */
  readonly clientAddress: IpAddress | null;
  readonly serverAddress: IpAddress;
  /** Where an active server makes data connections to: our end of its control connection. Null: the server is passive. */
  readonly serverFacingAddress: IpAddress | null;
  /** Whether the client may speak TLS with the server (RFC 4217), so that from its `AUTH` on nobody on the way can read the session. */
  readonly tlsPassedThrough: boolean;
  /** The party that is the other half of our own way, agent or gateway: data connections with it may be kept for the next transfer. By default neither. */
  readonly keeper?: 'client' | 'server' | null;
}

/**
 * How one end of a data connection comes about: the party connects to us, or we to this port of it. `mayBeKept`: the client may use a
 * connection of an earlier transfer. `isKept`: the server does so, or keeps the new one; its port is a name for it then.
 */
export type DataEnd = { readonly how: 'awaited'; readonly mayBeKept?: boolean } | { readonly how: 'dialled'; readonly port: number; readonly isKept?: boolean };

/** Worth a record, and safe to print. */
export interface FtpNotice {
  readonly reason: Extract<ConnectionReason, 'ftp-active-refused' | 'ftp-command-refused' | 'ftp-policy-refused' | 'ftp-passive-address-ignored' | 'ftp-passive-port-refused'>;
  readonly detail: string;
}

/** Text holds one byte a character (Latin-1). */
export type FtpEvent =
  | { readonly type: 'client-bytes'; readonly text: string }
  | { readonly type: 'server-bytes'; readonly text: string }
  /** Answers `open-channel`. The ports of ours at which an end is awaited; null for one that is dialled. `isKept`: the client's connection is, which it has allowed. */
  | { readonly type: 'channel-ready'; readonly clientPort: number | null; readonly serverPort: number | null; readonly isKept?: boolean }
  | { readonly type: 'channel-failed' }
  /** Answers `dial-client`: the connection is there, or could not be made. */
  | { readonly type: 'client-dialled' }
  /** Nothing more of a transfer can pass; `isTooLarge`: it was broken off, for it had a limit. Also answers `conclude-transfer`. */
  | { readonly type: 'transfer-settled'; readonly id: number; readonly isTooLarge: boolean }
  | { readonly type: 'client-ended' }
  | { readonly type: 'server-ended' }
  /** From outside: idle for too long, revoked, stopping. */
  | { readonly type: 'stop'; readonly reason: ConnectionReason };

export type FtpEffect =
  | { readonly type: 'send-client'; readonly text: string }
  | { readonly type: 'send-server'; readonly text: string }
  /**
   * Prepare one data connection, in place of any before whose ends have not met, then tell with `channel-ready` or `channel-failed`.
   * A client is dialled only at `dial-client`; a server when its client is there or, where the client is to be dialled, at once: some
   * servers begin a transfer only when they are connected to (vsftpd does).
   */
  | { readonly type: 'open-channel'; readonly client: DataEnd; readonly server: DataEnd }
  /** The server has begun the transfer, so its client expects the connection. Comes once a channel at most; tell with `client-dialled`. */
  | { readonly type: 'dial-client' }
  /** The server does not take the channel: nothing is awaited for it any more. */
  | { readonly type: 'close-channel' }
  /** The client has given up its transfer (ABOR): break it off at both ends, for servers that hear ABOR only as urgent data. */
  | { readonly type: 'abort-transfer' }
  /** The server is asked for a transfer, over the latest channel. */
  | { readonly type: 'transfer-begun'; readonly transfer: FtpTransferStart }
  /** The server's final reply to it; null where it has left it without one. */
  | { readonly type: 'transfer-ended'; readonly id: number; readonly code: number | null }
  /** The server says that a limited transfer is over: tell with `transfer-settled` when no more of it can pass. */
  | { readonly type: 'conclude-transfer'; readonly id: number }
  | { readonly type: 'notice'; readonly notice: FtpNotice }
  /** The client sends no more. */
  | { readonly type: 'end-server' }
  /** The session is over: flush and close both, and the channel. Nothing follows. */
  | { readonly type: 'end'; readonly reason: ConnectionReason };

/** Commands by which a client says how its next data connection comes about. */
export const setupVerbs = ['PASV', 'EPSV', 'PORT', 'EPRT'] as const;
export type SetupVerb = (typeof setupVerbs)[number];

/** A data connection that a client has asked for, until it is told that it has one. */
export interface DataSetup {
  /** The client's own command, which decides how it is answered. */
  readonly asked: SetupVerb;
  readonly client: DataEnd;
  /** Once the channel is open: the client's connection is kept. */
  readonly isKept?: boolean;
}

/** A transfer that the server is asked for. Names are bytes, as they came. */
export interface FtpTransferStart {
  /** Of the session's transfers, in their order. */
  readonly id: number;
  readonly verb: string;
  /** Absolute where the session's directory is known, else as it was named. */
  readonly path: string;
  readonly user: string | null;
  readonly limits: readonly TransferLimit[];
}

/** What follows for the session from a command's final reply. */
export type Consequence =
  /** `user`: whom USER names; null for what comes after it. */
  | { readonly type: 'login'; readonly user: string | null }
  | { readonly type: 'reset' }
  | { readonly type: 'enter'; readonly path: FtpPath | null }
  /** `isOurs`: asked for by us, and not the client's to see. */
  | { readonly type: 'directory'; readonly isOurs: boolean }
  | { readonly type: 'rename'; readonly from: string | null }
  | { readonly type: 'transfer'; readonly id: number; readonly isLimited: boolean };

export interface SessionKnowledge extends SessionFacts {
  /** Whom the latest USER named that the server did not refuse. */
  readonly candidate: string | null;
}

export const nothingKnown: SessionKnowledge = { user: null, candidate: null, directory: null, renaming: null };

/** A final reply that the client is owed: the server's to a command that was passed on, or an answer of our own waiting for its turn. */
export type Expected = Passed | { readonly kind: 'own'; readonly text: string };

interface Passed {
  readonly kind: 'server';
  /** What the server was sent. */
  readonly verb: string;
  /** Where that is about a data connection: what it is for. */
  readonly setup?: DataSetup;
  /** Where the server was told of a port of ours: the one that the client will be told of. */
  readonly clientPort?: number | null;
  readonly consequence?: Consequence;
}

/**
 * What is done with a reply: passed on as it comes, or held until it is whole, because it names the server's port (227, 229), answers
 * our own PORT, lists features, names the directory, begins a transfer for which the client is to be dialled, or ends one that is limited.
 */
export type ReplyKind = 'passed-on' | 'passive-place' | 'port-answer' | 'features' | 'directory' | 'transfer-begin' | 'transfer-end';

/** Opaque to callers. */
export interface FtpSessionState {
  readonly parties: FtpParties;
  readonly clientInput: string;
  readonly serverInput: string;
  readonly expected: readonly Expected[];
  /** The reply whose last line is still to come; `text`: its lines so far, where they are not passed on as they come. */
  readonly reply: { readonly code: number; readonly kind: ReplyKind; readonly text: string } | null;
  /** What a channel is being opened for. Meanwhile neither side is read. */
  readonly opening: DataSetup | null;
  /** A command that must wait for the end of the running transfer, and all behind it. */
  readonly postponed: Command | null;
  /** An active client is still to be connected to. */
  readonly clientToDial: boolean;
  /** The reply that begins a transfer, while its client is connected to: some clients fail that hear of it before (curl 7.88 does). */
  readonly announcing: string | null;
  /** The client has promised to use EPSV only (EPSV ALL, RFC 2428 section 4). */
  readonly extendedOnly: boolean;
  /** Client and server speak TLS with each other: bytes pass as they come. */
  readonly opaque: boolean;
  /** Null: whatever the client wants. */
  readonly rules: FtpRules | null;
  readonly facts: SessionKnowledge;
  /** A command is out that decides what the next ones mean. */
  readonly settling: boolean;
  readonly nextTransfer: number;
  /** Limited transfers of which no more can pass, and whose final reply is to come. */
  readonly settledTransfers: readonly { readonly id: number; readonly isTooLarge: boolean }[];
  /** The final reply to a limited transfer of which more may pass. */
  readonly concluding: { readonly id: number; readonly code: number; readonly text: string } | null;
  /** Details of the notices that were given. */
  readonly noticed: readonly string[];
  /** ABOR was read up to its CR, so a LF that follows belongs to it. */
  readonly afterAbort: boolean;
  /** The client sends no more, and the server has not been told yet. */
  readonly clientEnding: boolean;
  readonly serverEnded: boolean;
  readonly ended: boolean;
}

/** While false, the caller reads nothing more from the client. */
export function readsClient(state: FtpSessionState): boolean {
  return !state.ended && state.opening === null && state.postponed === null && !state.settling && state.expected.length < commandsOutstandingMax;
}

/** While false, the caller reads nothing more from the server. */
export function readsServer(state: FtpSessionState): boolean {
  return !state.ended && state.opening === null && state.announcing === null && state.concluding === null;
}

/** The state before the server's greeting. */
export function beginFtpSession({ clientFacingAddress, clientAddress, serverAddress, serverFacingAddress, keeper = null, tlsPassedThrough }: FtpParties, rules: FtpRules | null = null): FtpSessionState {
  return {
    parties: { clientFacingAddress, clientAddress, serverAddress, serverFacingAddress, keeper, tlsPassedThrough },
    clientInput: '',
    serverInput: '',
    expected: [{ kind: 'server', verb: 'greeting' }],
    reply: null,
    opening: null,
    postponed: null,
    clientToDial: false,
    announcing: null,
    extendedOnly: false,
    opaque: false,
    rules,
    facts: nothingKnown,
    settling: false,
    nextTransfer: 1,
    settledTransfers: [],
    concluding: null,
    noticed: [],
    afterAbort: false,
    clientEnding: false,
    serverEnded: false,
    ended: false,
  };
}
