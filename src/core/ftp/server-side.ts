/** What the server sends: replies, passed on line by line, or held as a whole where they say where data connections go. */
import { isTransferVerb, refusalOf } from './command.ts';
import { handlePassivePlace, handlePortAnswer, portAnsweredBy } from './data-setup.ts';
import { parseReplyLine } from './reply.ts';
import { abilitiesOf, close, end, passOn, sendClient, sendOwnAnswers, takeLine } from './session-draft.ts';
import type { Draft } from './session-draft.ts';
import { concludeTransfer, draw } from './session-facts.ts';
import { heldReplyBytesMax, readsServer } from './session-state.ts';
import type { Consequence, Expected, ReplyKind } from './session-state.ts';

/** Takes as many replies as may be taken. */
export function readServer(session: Draft): void {
  while (readsServer(session) && !session.opaque) {
    const line = takeLine(session, 'serverInput');
    if (line === undefined) break;
    handleReplyLine(session, line.replaceAll('\r', '')); // also within, where some clients would take it for the line's end
  }
  if (session.opaque) passOn(session, 'serverInput', 'send-client');
  if (session.serverEnded && readsServer(session)) close(session, 'finished');
}

function handleReplyLine(session: Draft, line: string): void {
  const begun = parseReplyLine(line);
  if (session.reply === null) {
    if (line === '') return; // some servers end a reply with one line end too many
    if (begun === undefined) {
      end(session, 'ftp-reply-unparsable', 'the server sent what is not a reply');
      return;
    }
    session.reply = { code: begun.code, kind: kindOfReply(session, begun.code), text: '' };
  }
  let { reply } = session;
  if (reply.kind === 'passed-on') {
    // Within a reply of many lines, a line that begins like another reply has to be padded (RFC 959 section 4.2): a client may take it for one.
    sendClient(session, begun !== undefined && begun.code !== reply.code ? ` ${line}` : line);
  } else {
    reply = { ...reply, text: `${reply.text}${line}\n` };
    if (reply.text.length > heldReplyBytesMax) {
      end(session, 'ftp-line-too-long', 'the server sent too long a reply');
      return;
    }
  }
  const whole = begun?.last === true && begun.code === reply.code;
  session.reply = whole ? null : reply;
  if (whole) handleReply(session, reply);
}

/** 227 and 229 answer no other commands than PASV and EPSV (RFC 959 section 5.4, RFC 2428 section 3), so the code alone says what they are. */
function kindOfReply(session: Draft, code: number): ReplyKind {
  if (code === 227 || code === 229) return 'passive-place';
  if (portAnsweredBy(session, code) !== undefined) return 'port-answer';
  const consequence = consequenceAtHead(session);
  if (consequence?.type === 'directory' && (consequence.isOurs || code === 257)) return 'directory';
  if (consequence?.type === 'transfer' && consequence.isLimited && code >= 200) return 'transfer-end';
  if (session.clientToDial && beginsTransfer(code)) return 'transfer-begin';
  return code === 211 && isFor(session.expected[0], 'FEAT') ? 'features' : 'passed-on';
}

function handleReply(session: Draft, { code, kind, text }: NonNullable<Draft['reply']>): void {
  if (kind === 'passive-place') handlePassivePlace(session, code === 227 ? 'PASV' : 'EPSV', text);
  else if (kind === 'port-answer') handlePortAnswer(session, code);
  else if (kind === 'directory') handleDirectory(session, code, text);
  else if (kind === 'transfer-begin') handleTransferBegin(session, text);
  else if (code >= 200) handleFinal(session, code, text, kind);
}

/** Beginning a transfer is all that is said by 125 and 150 (RFC 959 section 4.2.1). */
function beginsTransfer(code: number): boolean {
  return code === 125 || code === 150;
}

function handleTransferBegin(session: Draft, text: string): void {
  session.announcing = text;
  dialClient(session);
}

/** The client has its data connection, or will not get it, which the server's final reply tells. */
export function announceTransfer(session: Draft): void {
  const { announcing } = session;
  session.announcing = null;
  if (announcing !== null) for (const line of linesOf(announcing)) sendClient(session, line);
}

function handleFinal(session: Draft, code: number, text: string, kind: ReplyKind): void {
  if (kind === 'features') for (const line of linesOf(text)) if (!featureRefused(session, line)) sendClient(session, line);
  const [head] = session.expected;
  if (head?.kind === 'server') {
    // Some servers send one final reply too many, or late, around ABOR. No such reply may be taken for the answer about a data connection.
    if (code < 400 && head.setup !== undefined) return;
    if (code < 300 && isTransferVerb(head.verb)) dialClient(session); // some servers omit the preliminary reply
    if (code >= 400 && head.verb === 'EPSV ALL') session.extendedOnly = false;
    if (code === 234 && head.verb === 'AUTH') session.opaque = true; // RFC 4217 section 4: TLS begins behind this reply
  }
  const consequence = consequenceAtHead(session);
  if (kind === 'transfer-end' && consequence?.type === 'transfer') {
    concludeTransfer(session, consequence.id, code, text);
    return;
  }
  session.expected.shift();
  draw(session, consequence, code);
  sendOwnAnswers(session);
}

/** To PWD, the client's or ours. A reply too many that comes in the place of ours is nobody's. */
function handleDirectory(session: Draft, code: number, text: string): void {
  const consequence = consequenceAtHead(session);
  const isOurs = consequence?.type === 'directory' && consequence.isOurs;
  if (isOurs && code !== 257 && code < 400) return;
  session.expected.shift();
  if (!isOurs) for (const line of linesOf(text)) sendClient(session, line);
  draw(session, consequence, code, text);
  sendOwnAnswers(session);
}

function consequenceAtHead({ expected: [head] }: Draft): Consequence | undefined {
  return head?.kind === 'server' ? head.consequence : undefined;
}

function linesOf(text: string): string[] {
  return text.slice(0, -1).split('\n');
}

function isFor(expected: Expected | undefined, verb: string): boolean {
  return expected?.kind === 'server' && expected.verb === verb;
}

function dialClient(session: Draft): void {
  if (!session.clientToDial) return;
  session.clientToDial = false;
  session.effects.push({ type: 'dial-client' });
}

/** A line of FEAT (RFC 2389 section 3.2) that would make a client try what is refused. */
function featureRefused(session: Draft, line: string): boolean {
  const feature = /^(?:211-)? *([A-Za-z]+)/.exec(line)?.[1];
  return feature !== undefined && refusalOf(feature.toUpperCase(), abilitiesOf(session)) !== undefined;
}
