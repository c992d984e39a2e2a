/**
 * One FTP session in passive mode as a reducer: it reads both directions of the control connection, lets commands and replies pass,
 * and turns each 227 and 229 into one that its own client can reach. Sockets, timers and the data channel live with its caller.
 */
import { invariant } from '../errors.ts';
import { familyOf } from '../ip-address.ts';
import type { IpAddress, IpFamily } from '../ip-address.ts';
import type { ConnectionReason } from '../ledger-record.ts';
import { parseCommand, refusalOf } from './command.ts';
import type { Command } from './command.ts';
import { extendedPassiveReply, parseExtendedPassive, parsePassive, parseReplyLine, passiveReply } from './reply.ts';
import type { PassivePlace } from './reply.ts';

/** Longest line either way, without its LF: twice the longest path of Linux (PATH_MAX). */
export const lineBytesMax = 8_192;
/** Longest reply that must be read as a whole (227, 229, FEAT). Others, such as STAT's listing, pass line by line and have no limit. */
export const heldReplyBytesMax = 65_536;
/** Commands that await their reply. More stay unread until one is answered. */
export const commandsOutstandingMax = 64;
/** What a session tells at most: neither a client nor a server may fill the ledger. Each notice is told once. */
const noticesMax = 32;
/** RFC 2577 section 3 keeps data connections away from the well-known services. */
const dataPortMin = 1024;

/** The two ends, as seen from here. */
export interface FtpParties {
  /** Our address that the client is connected to: data connections are awaited there. */
  readonly clientFacingAddress: IpAddress;
  /** Peer of the control connection towards the server: data connections go there. */
  readonly serverAddress: IpAddress;
}

/** Worth a record, and safe to print. */
export interface FtpNotice {
  readonly reason: Extract<ConnectionReason, 'ftp-command-refused' | 'ftp-passive-address-ignored' | 'ftp-passive-port-refused'>;
  readonly detail: string;
}

/** Text holds one byte a character (Latin-1). */
export type FtpEvent =
  | { readonly type: 'client-bytes'; readonly text: string }
  | { readonly type: 'server-bytes'; readonly text: string }
  /** Answers `open-offer`: data connections are awaited at this port of `clientFacingAddress`. */
  | { readonly type: 'offer-ready'; readonly port: number }
  | { readonly type: 'offer-failed' }
  | { readonly type: 'client-ended' }
  | { readonly type: 'server-ended' }
  /** From outside: idle for too long, revoked, stopping. */
  | { readonly type: 'stop'; readonly reason: ConnectionReason };

export type FtpEffect =
  | { readonly type: 'send-client'; readonly text: string }
  | { readonly type: 'send-server'; readonly text: string }
  /** Await one data connection for this port of `serverAddress`, in place of any offer before, then tell with `offer-ready` or `offer-failed`. */
  | { readonly type: 'open-offer'; readonly serverPort: number }
  | { readonly type: 'notice'; readonly notice: FtpNotice }
  /** The client sends no more. */
  | { readonly type: 'end-server' }
  /** The session is over: flush and close both, and the offer. Nothing follows. */
  | { readonly type: 'end'; readonly reason: ConnectionReason };

/** A final reply that the client is owed: the server's to a command that was passed on, or an answer of our own waiting for its turn. */
type Expected = Passed | { readonly kind: 'own'; readonly text: string };

interface Passed {
  readonly kind: 'server';
  readonly verb: string;
  /** What the client had sent, where `verb` went to the server in its place. */
  readonly asked?: 'PASV';
}

/** Opaque to callers. */
export interface FtpSessionState {
  readonly parties: FtpParties;
  readonly clientInput: string;
  readonly serverInput: string;
  readonly expected: readonly Expected[];
  /** The reply whose last line is still to come. `held`: its text so far, where it is not passed on as it comes. */
  readonly reply: { readonly code: number; readonly held: string | null } | null;
  /** The client's command whose offer is being opened. Later replies wait. */
  readonly offering: 'PASV' | 'EPSV' | null;
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
  return !state.ended && state.expected.length < commandsOutstandingMax;
}

/** While false, the caller reads nothing more from the server. */
export function readsServer(state: FtpSessionState): boolean {
  return !state.ended && state.offering === null;
}

/** The state before the server's greeting. */
export function beginFtpSession(parties: FtpParties): FtpSessionState {
  return {
    parties,
    clientInput: '',
    serverInput: '',
    expected: [{ kind: 'server', verb: 'greeting' }],
    reply: null,
    offering: null,
    noticed: [],
    afterAbort: false,
    clientEnding: false,
    serverEnded: false,
    ended: false,
  };
}

/**
 * The next state, and what to do about it, in order. How bytes are split over events changes nothing. After `end` every event is
 * ignored. Memory is bounded by the limits above plus one event's bytes, as long as the caller heeds `readsClient` and `readsServer`.
 */
export function stepFtpSession(state: FtpSessionState, event: FtpEvent): { readonly state: FtpSessionState; readonly effects: readonly FtpEffect[] } {
  if (state.ended) return { state, effects: [] };
  const session: Draft = { ...state, expected: [...state.expected], effects: [] };
  switch (event.type) {
    case 'client-bytes':
      session.clientInput += event.text;
      break;
    case 'server-bytes':
      session.serverInput += event.text;
      break;
    case 'offer-ready':
      answerPassive(session, event.port);
      break;
    case 'offer-failed':
      answerPassive(session, null);
      break;
    case 'client-ended':
      session.clientEnding = true;
      break;
    case 'server-ended':
      session.serverEnded = true;
      break;
    case 'stop':
      end(session, event.reason, event.reason);
  }
  readServer(session);
  readClient(session);
  const { effects, ...next } = session;
  return { state: next, effects };
}

/** The state while one event is worked on. */
type Draft = { -readonly [Field in keyof FtpSessionState]: FtpSessionState[Field] } & { expected: Expected[]; readonly effects: FtpEffect[] };

// ---- client to server

function readClient(session: Draft): void {
  while (readsClient(session)) {
    const line = takeCommandLine(session);
    if (line === undefined) break;
    handleCommandLine(session, line);
  }
  if (session.clientEnding && readsClient(session)) {
    session.clientEnding = false;
    session.clientInput = ''; // without its LF it is no command: half a path may name something else
    session.effects.push({ type: 'end-server' });
  }
}

/** The next line, and ABOR also without its LF: where a client sends all of it as urgent data (Python's ftplib does), the kernel takes the LF out of the stream. */
function takeCommandLine(session: Draft): string | undefined {
  if (session.afterAbort && session.clientInput !== '') {
    session.afterAbort = false;
    session.clientInput = session.clientInput.replace(/^\n/, '');
  }
  const abort = /^[\xf1-\xf9\xff]*ABOR\r/i.exec(session.clientInput);
  if (abort === null) return takeLine(session, 'clientInput');
  session.afterAbort = true;
  session.clientInput = session.clientInput.slice(abort[0].length);
  return abort[0];
}

function handleCommandLine(session: Draft, line: string): void {
  const parse = parseCommand(line);
  if (!parse.ok) {
    answer(session, parse.reply);
    return;
  }
  const { verb } = parse.command;
  const refusal = refusalOf(verb);
  if (refusal !== undefined) {
    notice(session, 'ftp-command-refused', `${verb} is not available`);
    answer(session, refusal);
  } else if (verb === 'PASV' && clientFamily(session) === 'ipv6') {
    answer(session, '425 PASV works with IPv4 only; use EPSV.');
  } else if (verb === 'PASV' && familyOf(session.parties.serverAddress) === 'ipv6') {
    forward(session, { verb: 'EPSV', argument: '' }, { verb: 'EPSV', asked: 'PASV' }); // a 227 has room for an IPv4 address only
  } else if (verb === 'EPSV') {
    handleExtendedPassive(session, parse.command);
  } else {
    forward(session, parse.command, { verb });
  }
}

/** RFC 2428 section 3. The family is that of the client's connection; the server's may be another, so it is not asked for one. */
function handleExtendedPassive(session: Draft, { verb, argument }: Command): void {
  const family = clientFamily(session) === 'ipv4' ? '1' : '2';
  if (argument.toUpperCase() === 'ALL') forward(session, { verb, argument: 'ALL' }, { verb: 'EPSV ALL' });
  else if (argument === '' || argument === family) forward(session, { verb, argument: '' }, { verb });
  else answer(session, `522 Network protocol not supported, use (${family}).`);
}

function forward(session: Draft, command: Command, expected: Omit<Passed, 'kind'>): void {
  session.expected.push({ kind: 'server', ...expected });
  session.effects.push({ type: 'send-server', text: `${command.verb}${command.argument === '' ? '' : ` ${command.argument}`}\r\n` });
}

function answer(session: Draft, text: string): void {
  session.expected.push({ kind: 'own', text });
  sendOwnAnswers(session);
}

function sendOwnAnswers(session: Draft): void {
  for (let [head] = session.expected; head?.kind === 'own'; [head] = session.expected) {
    sendClient(session, head.text);
    session.expected.shift();
  }
}

// ---- server to client

function readServer(session: Draft): void {
  while (readsServer(session)) {
    const line = takeLine(session, 'serverInput');
    if (line === undefined) break;
    handleReplyLine(session, line.replace(/\r$/, ''));
  }
  if (session.serverEnded && readsServer(session)) close(session, 'finished');
}

function handleReplyLine(session: Draft, line: string): void {
  const begun = parseReplyLine(line);
  if (session.reply === null) {
    if (begun === undefined) {
      end(session, 'ftp-reply-unparsable', 'the server sent what is not a reply');
      return;
    }
    session.reply = { code: begun.code, held: mustBeHeld(session, begun.code) ? '' : null };
  }
  const { code } = session.reply;
  let { held } = session.reply;
  if (held === null) {
    sendClient(session, line);
  } else {
    held += `${line}\n`;
    if (held.length > heldReplyBytesMax) {
      end(session, 'ftp-line-too-long', 'the server sent too long a reply');
      return;
    }
  }
  if (begun?.last === true && begun.code === code) finishReply(session, code, held);
  else session.reply = { code, held };
}

/** 227 and 229 answer no other commands than PASV and EPSV (RFC 959 section 5.4, RFC 2428 section 3), so the code alone says what they are. */
function mustBeHeld(session: Draft, code: number): boolean {
  return code === 227 || code === 229 || (code === 211 && isFor(session.expected[0], 'FEAT'));
}

function isFor(expected: Expected | undefined, verb: string): boolean {
  return expected?.kind === 'server' && expected.verb === verb;
}

function finishReply(session: Draft, code: number, held: string | null): void {
  session.reply = null;
  if (code < 200) return; // preliminary: the final one follows
  if (held !== null && code === 227) {
    handlePassive(session, 'PASV', parsePassive(held));
  } else if (held !== null && code === 229) {
    handlePassive(session, 'EPSV', parseExtendedPassive(held));
  } else {
    if (held !== null) for (const line of held.slice(0, -1).split('\n')) if (!featureRefused(line)) sendClient(session, line);
    // Some servers send one final reply too many, or late, around ABOR. No such reply may be taken for the answer to PASV.
    const [head] = session.expected;
    if (code < 400 && (isFor(head, 'PASV') || isFor(head, 'EPSV'))) return;
    session.expected.shift();
    sendOwnAnswers(session);
  }
}

/** A line of FEAT (RFC 2389 section 3.2) that would make a client try what is refused. */
function featureRefused(line: string): boolean {
  const feature = /^(?:211-)? *([A-Za-z]+)/.exec(line)?.[1];
  return feature !== undefined && refusalOf(feature.toUpperCase()) !== undefined;
}

function handlePassive(session: Draft, verb: 'PASV' | 'EPSV', place: PassivePlace | undefined): void {
  const index = session.expected.findIndex((expected) => isFor(expected, verb));
  const awaited = session.expected[index];
  if (awaited?.kind !== 'server' || place === undefined) {
    end(session, 'ftp-reply-unparsable', awaited === undefined ? 'the server offered a data connection unasked' : `the server's answer to ${verb} names no one port`);
    return;
  }
  // A server that left an earlier command unanswered has passed it by now.
  for (const skipped of session.expected.splice(0, index)) if (skipped.kind === 'own') sendClient(session, skipped.text);
  session.offering = awaited.asked ?? verb;
  const { serverAddress } = session.parties;
  if (place.address !== null && place.address !== serverAddress) {
    notice(session, 'ftp-passive-address-ignored', `the server's answer to ${verb} names ${place.address}; ${serverAddress} is used`);
  }
  if (place.port < dataPortMin) {
    notice(session, 'ftp-passive-port-refused', `the server's answer to ${verb} names port ${place.port}`);
    answerPassive(session, null);
  } else {
    session.effects.push({ type: 'open-offer', serverPort: place.port });
  }
}

/** Tells the client where its data connection is awaited, or, without a port, that there is none. */
function answerPassive(session: Draft, port: number | null): void {
  const verb = session.offering;
  invariant(verb !== null, 'an offer is answered that nobody asked for');
  session.offering = null;
  session.expected.shift();
  if (port === null) sendClient(session, "425 Can't open data connection.");
  else sendClient(session, verb === 'PASV' ? passiveReply(session.parties.clientFacingAddress, port) : extendedPassiveReply(port));
  sendOwnAnswers(session);
}

// ---- both

/** The next whole line without its LF, taken out of the input. Ends the session where a line is too long to wait for its end. */
function takeLine(session: Draft, input: 'clientInput' | 'serverInput'): string | undefined {
  const length = session[input].indexOf('\n');
  if ((length === -1 ? session[input].length : length) > lineBytesMax) {
    end(session, 'ftp-line-too-long', `a line is longer than ${lineBytesMax} bytes`);
    return undefined;
  }
  if (length === -1) return undefined;
  const line = session[input].slice(0, length);
  session[input] = session[input].slice(length + 1);
  return line;
}

function sendClient(session: Draft, line: string): void {
  session.effects.push({ type: 'send-client', text: `${line}\r\n` });
}

function notice(session: Draft, reason: FtpNotice['reason'], detail: string): void {
  if (session.noticed.includes(detail) || session.noticed.length >= noticesMax) return;
  session.noticed = [...session.noticed, detail];
  session.effects.push({ type: 'notice', notice: { reason, detail } });
}

function clientFamily(session: Draft): IpFamily {
  return familyOf(session.parties.clientFacingAddress);
}

/** Ends the session from our side, with the reply that RFC 959 section 5.4 allows for any command. */
function end(session: Draft, reason: ConnectionReason, why: string): void {
  sendClient(session, `421 Service not available, closing control connection: ${why}.`);
  close(session, reason);
}

function close(session: Draft, reason: ConnectionReason): void {
  session.ended = true;
  session.clientInput = '';
  session.serverInput = '';
  session.effects.push({ type: 'end', reason });
}
