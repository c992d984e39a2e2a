/** The state while one event is worked on, and the few things that can be done to it. */
import type { ConnectionReason } from '../ledger-record.ts';
import type { ClientAbilities, Command } from './command.ts';
import { lineBytesMax, noticesMax } from './session-state.ts';
import type { Expected, FtpEffect, FtpNotice, FtpSessionState } from './session-state.ts';

export type Draft = { -readonly [Field in keyof FtpSessionState]: FtpSessionState[Field] } & { expected: Expected[]; readonly effects: FtpEffect[] };

export function draftOf(state: FtpSessionState): Draft {
  return { ...state, expected: [...state.expected], effects: [] };
}

/** What the client may do in this session. */
export const abilitiesOf = ({ parties: { clientAddress, tlsPassedThrough }, rules }: Draft): ClientAbilities => ({ active: clientAddress !== null, tls: tlsPassedThrough && rules === null });

/** The next whole line without its LF, taken out of the input. Ends the session where a line is too long to wait for its end. */
export function takeLine(session: Draft, input: 'clientInput' | 'serverInput'): string | undefined {
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

/** What has come of a session that can't be read, as it came. */
export function passOn(session: Draft, input: 'clientInput' | 'serverInput', type: 'send-client' | 'send-server'): void {
  if (session[input] !== '') session.effects.push({ type, text: session[input] });
  session[input] = '';
}

/** Sends the server a command. `about` says what its reply is good for, beside being passed on. */
export function forward(session: Draft, { verb, argument }: Command, about: Partial<Omit<Extract<Expected, { kind: 'server' }>, 'kind'>> = {}): void {
  session.expected.push({ kind: 'server', verb, ...about });
  session.effects.push({ type: 'send-server', text: `${verb}${argument === '' ? '' : ` ${argument}`}\r\n` });
}

/** Answers the client's latest command in the server's place, when its turn comes. */
export function answer(session: Draft, text: string): void {
  session.expected.push({ kind: 'own', text });
  sendOwnAnswers(session);
}

/** Answers the client's earliest unanswered command, whose place among `expected` is taken already, and what waited behind it. */
export function answerNow(session: Draft, text: string): void {
  sendClient(session, text);
  sendOwnAnswers(session);
}

/** The answers of our own whose turn has come. */
export function sendOwnAnswers(session: Draft): void {
  for (let [head] = session.expected; head?.kind === 'own'; [head] = session.expected) {
    sendClient(session, head.text);
    session.expected.shift();
  }
}

export function sendClient(session: Draft, line: string): void {
  session.effects.push({ type: 'send-client', text: `${line}\r\n` });
}

export function notice(session: Draft, reason: FtpNotice['reason'], detail: string): void {
  if (session.noticed.includes(detail) || session.noticed.length >= noticesMax) return;
  session.noticed = [...session.noticed, detail];
  session.effects.push({ type: 'notice', notice: { reason, detail } });
}

/** Ends the session from our side, with the reply that RFC 959 section 5.4 allows for any command. */
export function end(session: Draft, reason: ConnectionReason, why: string): void {
  if (!session.opaque) sendClient(session, `421 Service not available, closing control connection: ${why}.`);
  close(session, reason);
}

export function close(session: Draft, reason: ConnectionReason): void {
  session.ended = true;
  session.clientInput = '';
  session.serverInput = '';
  session.effects.push({ type: 'end', reason });
}
