/**
 * What a session is doing: who is logged in, in which directory, and which transfers it has asked for. Policy and the ledger need to
 * know; the server alone can say, so a command's consequence is drawn when its final reply is here.
 *
 * Under rules, a command that decides what later ones mean is waited for, and the directory is what the server says that it is: asked for
 * by PWD after each change, so that symbolic links and login directories are seen. Without rules nothing is sent that the client did not
 * send, and the directory is what follows from the client's own commands.
 */
import { isTransferVerb } from './command.ts';
import type { Command } from './command.ts';
import { parseDirectory, readPath } from './path.ts';
import { bytesMaxOf, pathOfCommand } from './rules.ts';
import type { TransferLimit } from './rules.ts';
import { forward, sendClient, sendOwnAnswers } from './session-draft.ts';
import type { Draft } from './session-draft.ts';
import { nothingKnown } from './session-state.ts';
import type { Consequence, Expected, SessionKnowledge } from './session-state.ts';

/** Passes a command on that is allowed. */
export function pass(session: Draft, command: Command, limits: readonly TransferLimit[]): void {
  const { user, directory } = session.facts;
  if (isTransferVerb(command.verb)) {
    const id = session.nextTransfer;
    session.nextTransfer += 1;
    session.effects.push({ type: 'transfer-begun', transfer: { id, verb: command.verb, path: pathOfCommand(command, directory), user, limits } });
    forward(session, command, { consequence: { type: 'transfer', id, isLimited: bytesMaxOf(limits) !== null } });
    return;
  }
  const consequence = consequenceOf(session.facts, command);
  forward(session, command, consequence === undefined ? {} : { consequence });
  session.settling = session.rules !== null && consequence !== undefined && consequence.type !== 'directory';
}

function consequenceOf({ directory }: SessionKnowledge, command: Command): Consequence | undefined {
  const { verb, argument } = command;
  switch (verb) {
    case 'USER':
      return { type: 'login', user: argument };
    case 'PASS':
    case 'ACCT':
      return { type: 'login', user: null };
    case 'REIN':
      return { type: 'reset' };
    case 'CWD':
    case 'XCWD':
    case 'CDUP':
    case 'XCUP': {
      const reading = readPath(verb.startsWith('XCU') || verb.startsWith('CDU') ? '..' : argument, directory);
      return { type: 'enter', path: reading.ok ? reading.path : null };
    }
    case 'PWD':
    case 'XPWD':
      return { type: 'directory', isOurs: false };
    case 'RNFR':
      return { type: 'rename', from: pathOfCommand(command, directory) };
    case 'RNTO':
      return { type: 'rename', from: null };
    default:
      return undefined;
  }
}

/** Draws the consequence of a final reply, which has been passed on; `text`: its lines, of a 257. */
export function draw(session: Draft, consequence: Consequence | undefined, code: number, text = ''): void {
  if (consequence === undefined) return;
  const { facts } = session;
  const isPositive = code >= 200 && code < 300;
  if (consequence.type !== 'transfer' && consequence.type !== 'directory') session.settling = false;
  switch (consequence.type) {
    case 'login':
      if (consequence.user !== null) session.facts = { ...facts, candidate: code < 400 ? consequence.user : null };
      if (isPositive) {
        session.facts = { user: session.facts.candidate, candidate: session.facts.candidate, directory: null, renaming: null };
        askDirectory(session);
      }
      break;
    case 'reset':
      if (isPositive) session.facts = nothingKnown;
      break;
    case 'enter':
      if (!isPositive) break;
      session.facts = { ...facts, directory: session.rules === null ? consequence.path : null };
      if (code === 200 || code === 250) askDirectory(session); // any other reply is not this command's
      break;
    case 'directory':
      if (consequence.isOurs) session.settling = false;
      if (code === 257) session.facts = { ...facts, directory: parseDirectory(text) ?? null };
      break;
    case 'rename':
      session.facts = { ...facts, renaming: code === 350 ? consequence.from : null };
      break;
    case 'transfer':
      session.effects.push({ type: 'transfer-ended', id: consequence.id, code });
  }
}

/** A server has passed a command that it left without an answer. */
export function drawNothing(session: Draft, expected: Expected): void {
  if (expected.kind === 'server' && expected.consequence?.type === 'transfer') session.effects.push({ type: 'transfer-ended', id: expected.consequence.id, code: null });
}

/** Under rules that need it. The answer is not the client's; what it sends meanwhile waits. */
function askDirectory(session: Draft): void {
  if (session.rules?.followsDirectory !== true) return;
  session.settling = true;
  forward(session, { verb: 'PWD', argument: '' }, { consequence: { type: 'directory', isOurs: true } });
}

/**
 * The final reply to a transfer that is limited in size: passed on once it is known that the transfer has kept to that, since a server has
 * sent a file, and said so, before all of it has come here.
 */
export function concludeTransfer(session: Draft, id: number, code: number, text: string): void {
  const outcome = session.settledTransfers.find((settled) => settled.id === id);
  if (code < 400 && outcome === undefined) {
    session.concluding = { id, code, text };
    session.effects.push({ type: 'conclude-transfer', id });
    return;
  }
  session.concluding = null;
  session.settledTransfers = session.settledTransfers.filter((settled) => settled.id !== id);
  session.expected.shift();
  session.effects.push({ type: 'transfer-ended', id, code });
  for (const line of outcome?.isTooLarge === true ? [tooLargeReply] : text.slice(0, -1).split('\n')) sendClient(session, line);
  sendOwnAnswers(session);
}

/** RFC 959 section 4.2.2: requested file action aborted, exceeded storage allocation. */
const tooLargeReply = '552 Refused by policy: the transfer is larger than allowed.';

export function handleTransferSettled(session: Draft, id: number, isTooLarge: boolean): void {
  const isAwaited = session.expected.some((expected) => expected.kind === 'server' && expected.consequence?.type === 'transfer' && expected.consequence.isLimited && expected.consequence.id === id);
  if (!isAwaited) return;
  session.settledTransfers = [...session.settledTransfers, { id, isTooLarge }];
  if (session.concluding?.id === id) concludeTransfer(session, id, session.concluding.code, session.concluding.text);
}
