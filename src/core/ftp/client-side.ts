/** What the client sends: commands, passed on, answered here, or kept for their turn. */
import { isTransferVerb, parseCommand, refusalOf } from './command.ts';
import { handleSetupCommand, isSetupVerb } from './data-setup.ts';
import { abilitiesOf, answer, forward, notice, passOn, takeLine } from './session-draft.ts';
import type { Draft } from './session-draft.ts';
import { pass } from './session-facts.ts';
import { readsClient } from './session-state.ts';
import type { Command } from './command.ts';

/** Takes as many commands as may be taken. */
export function readClient(session: Draft): void {
  resumePostponed(session);
  while (readsClient(session) && !session.opaque) {
    const line = takeCommandLine(session);
    if (line === undefined) break;
    handleCommandLine(session, line);
  }
  if (session.opaque) passOn(session, 'clientInput', 'send-server');
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
  if (parse.ok) handleCommand(session, parse.command);
  else answer(session, parse.reply);
}

function handleCommand(session: Draft, command: Command): void {
  const { verb, argument } = command;
  const refusal = refusalOf(verb, abilitiesOf(session));
  const verdict = session.rules?.check(command, session.facts) ?? { allowed: true, limits: [] };
  if (refusal !== undefined) {
    notice(session, 'ftp-command-refused', `${verb} is not available`);
    answer(session, refusal);
  } else if (!verdict.allowed) {
    notice(session, 'ftp-policy-refused', verdict.detail);
    answer(session, verdict.reply);
  } else if (verb === 'EPSV' && argument.toUpperCase() === 'ALL') {
    handleExtendedOnly(session);
  } else if (isSetupVerb(verb)) {
    if (replacesChannelInUse(session)) session.postponed = command;
    else handleSetupCommand(session, verb, argument);
  } else {
    pass(session, command, verdict.limits);
    if (verb === 'ABOR') session.effects.push({ type: 'abort-transfer' });
  }
}

/** RFC 2428 section 4. A server that is active is not asked for its consent: it would refuse our own PORT from then on. */
function handleExtendedOnly(session: Draft): void {
  session.extendedOnly = true;
  if (session.parties.serverFacingAddress === null) forward(session, { verb: 'EPSV', argument: 'ALL' }, { verb: 'EPSV ALL' });
  else answer(session, '200 EPSV ALL command successful.');
}

/**
 * Whether a new channel would take the place of one that the server is being told of, or has begun a transfer for. Where the server is
 * passive, its own order of 227s sees to that; an active server's channel is opened before the server hears of it.
 */
function replacesChannelInUse({ parties, expected }: Draft): boolean {
  return parties.serverFacingAddress !== null && expected.some((each) => each.kind === 'server' && (each.setup !== undefined || isTransferVerb(each.verb)));
}

function resumePostponed(session: Draft): void {
  const { postponed } = session;
  if (postponed === null || session.ended || session.opening !== null || replacesChannelInUse(session)) return;
  session.postponed = null;
  handleCommand(session, postponed);
}
