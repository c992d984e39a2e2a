/**
 * How a data connection is set up, from the client's command to its answer. The two sides' modes are independent: a client says PASV or
 * EPSV (it will connect to us) or PORT or EPRT (we shall connect to it), and towards the server we say whichever suits that one.
 *
 * - Passive server: it is asked for its port first, then the channel is opened, then the client is answered.
 * - Active server: the channel is opened first, then the server is told of our port, then the client is answered.
 */
import { invariant } from '../errors.ts';
import { familyOf } from '../ip-address.ts';
import { extendedPassiveReply, isKeptReply, keepArgument, parseExtendedPassive, parseExtendedPort, parsePassive, parsePort, passiveReply, portCommand, protocolNumber } from './data-place.ts';
import type { DataPlace } from './data-place.ts';
import { drawNothing } from './session-facts.ts';
import { answer, answerNow, end, forward, notice, sendClient } from './session-draft.ts';
import type { Draft } from './session-draft.ts';
import { dataPortMin, setupVerbs } from './session-state.ts';
import type { DataEnd, DataSetup, Expected, FtpEvent, SetupVerb } from './session-state.ts';

const notOpened = "425 Can't open data connection.";

export function isSetupVerb(verb: string): verb is SetupVerb {
  return (setupVerbs as readonly string[]).includes(verb);
}

/** The client says how its next data connection comes about. */
export function handleSetupCommand(session: Draft, verb: SetupVerb, argument: string): void {
  const client = session.extendedOnly && verb !== 'EPSV' ? '503 Only EPSV is accepted after EPSV ALL.' : readClientEnd(session, verb, argument);
  if (typeof client === 'string') {
    answer(session, client);
    return;
  }
  const setup = { asked: verb, client };
  const { serverAddress, serverFacingAddress, keeper } = session.parties;
  if (serverFacingAddress !== null) {
    openChannel(session, setup, { how: 'awaited' });
  } else {
    const extended = verb === 'EPSV' || verb === 'EPRT' || familyOf(serverAddress) === 'ipv6'; // a 227 has room for an IPv4 address only
    forward(session, { verb: extended ? 'EPSV' : 'PASV', argument: keeper === 'server' ? keepArgument : '' }, { setup });
  }
}

/** The client's end of the connection, or the reply to a command that names none that may be used. */
function readClientEnd(session: Draft, verb: SetupVerb, argument: string): DataEnd | string {
  const { clientFacingAddress, keeper } = session.parties;
  const family = familyOf(clientFacingAddress);
  const otherFamily = `522 Network protocol not supported, use (${protocolNumber(family)}).`;
  const awaited = { how: 'awaited', mayBeKept: keeper === 'client' && argument === keepArgument } as const;
  switch (verb) {
    case 'PASV':
      return family === 'ipv4' ? awaited : '425 PASV works with IPv4 only; use EPSV.';
    case 'EPSV': // the family asked for is the client's own: the server's may be another, so that one is not asked for any
      return awaited.mayBeKept || argument === '' || argument === String(protocolNumber(family)) ? awaited : otherFamily;
    case 'PORT':
      return dialledEnd(session, verb, parsePort(argument));
    case 'EPRT': {
      const place = parseExtendedPort(argument);
      return place === undefined || place.protocol === protocolNumber(family) ? dialledEnd(session, verb, place) : otherFamily;
    }
  }
}

/** RFC 2577 section 3: no connection to a third party (bounce attack), and none to a well-known service. */
function dialledEnd(session: Draft, verb: SetupVerb, place: DataPlace | undefined): DataEnd | string {
  if (place === undefined) return `501 The argument of ${verb} is not understood.`;
  const { clientAddress } = session.parties;
  if (place.address !== clientAddress) {
    notice(session, 'ftp-command-refused', `${verb} names ${place.address ?? 'no address'}, and the client is ${clientAddress}`);
    return '504 A data connection is made to the address of the control connection only.';
  }
  if (place.port < dataPortMin) {
    notice(session, 'ftp-command-refused', `${verb} names port ${place.port}`);
    return `504 A data connection is made to ports from ${dataPortMin} only.`;
  }
  return { how: 'dialled', port: place.port };
}

/** The server answers PASV or EPSV, or so it seems, with a port. */
export function handlePassivePlace(session: Draft, verb: 'PASV' | 'EPSV', text: string): void {
  const place = verb === 'PASV' ? parsePassive(text) : parseExtendedPassive(text);
  const index = session.expected.findIndex((expected) => setupOf(expected, verb) !== undefined);
  const setup = setupOf(session.expected[index], verb);
  if (setup === undefined || place === undefined) {
    end(session, 'ftp-reply-unparsable', setup === undefined ? 'the server offered a data connection unasked' : `the server's answer to ${verb} names no one port`);
    return;
  }
  takeExpected(session, index);
  const { serverAddress } = session.parties;
  if (place.address !== null && place.address !== serverAddress) {
    notice(session, 'ftp-passive-address-ignored', `the server's answer to ${verb} names ${place.address}; ${serverAddress} is used`);
  }
  if (place.port < dataPortMin) {
    notice(session, 'ftp-passive-port-refused', `the server's answer to ${verb} names port ${place.port}`);
    answerNow(session, notOpened);
  } else {
    openChannel(session, setup, { how: 'dialled', port: place.port, isKept: session.parties.keeper === 'server' && isKeptReply(text) });
  }
}

function openChannel(session: Draft, setup: DataSetup, server: DataEnd): void {
  session.opening = setup;
  session.clientToDial = false;
  session.effects.push({ type: 'open-channel', client: setup.client, server });
}

export function handleChannelReady(session: Draft, { clientPort, serverPort, isKept = false }: Extract<FtpEvent, { type: 'channel-ready' }>): void {
  const setup = { ...takeOpening(session), isKept };
  const { serverFacingAddress } = session.parties;
  if (serverFacingAddress === null) {
    conclude(session, setup, clientPort);
  } else {
    invariant(serverPort !== null, 'an active server is awaited at a port');
    forward(session, portCommand(serverFacingAddress, serverPort), { setup, clientPort });
  }
}

export function handleChannelFailed(session: Draft): void {
  takeOpening(session);
  if (session.parties.serverFacingAddress === null) answerNow(session, notOpened);
  else answer(session, notOpened);
}

function takeOpening(session: Draft): DataSetup {
  const { opening } = session;
  invariant(opening !== null, 'a channel is answered for that nobody asked for');
  session.opening = null;
  return opening;
}

/**
 * Where the PORT or EPRT of ours stands that a final reply answers; undefined for a reply to anything else. 200 is no answer to ABOR, so a
 * server that has left ABOR without an answer of its own has passed it by then; and 421 answers no command but ends the session.
 */
export function portAnsweredBy({ expected }: Draft, code: number): number | undefined {
  const index = expected.findIndex((each) => each.kind === 'server' && (each.verb !== 'ABOR' || code !== 200));
  const isPort = setupOf(expected[index], 'PORT') !== undefined || setupOf(expected[index], 'EPRT') !== undefined;
  return isPort && (code === 200 || (code >= 400 && code !== 421)) ? index : undefined;
}

/** The server takes our port, or refuses it. */
export function handlePortAnswer(session: Draft, code: number): void {
  const index = portAnsweredBy(session, code);
  const answered = index === undefined ? undefined : takeExpected(session, index);
  invariant(answered?.kind === 'server' && answered.setup !== undefined, 'the answer to a port is for a port');
  if (code === 200) {
    conclude(session, answered.setup, answered.clientPort ?? null);
    return;
  }
  notice(session, 'ftp-active-refused', `the server refused ${answered.verb} with ${code}`);
  session.effects.push({ type: 'close-channel' });
  answerNow(session, notOpened);
}

/** Tells the client that it has its data connection: where it is awaited, or that it will be connected to. */
function conclude(session: Draft, { asked, client, isKept }: DataSetup, clientPort: number | null): void {
  session.clientToDial = client.how === 'dialled';
  if (clientPort === null) answerNow(session, `200 ${asked} command successful.`);
  else answerNow(session, asked === 'PASV' ? passiveReply(session.parties.clientFacingAddress, clientPort, isKept) : extendedPassiveReply(clientPort, isKept));
}

/** Takes the command whose reply is here. A server that left earlier ones unanswered has passed them by now. */
function takeExpected(session: Draft, index: number): Expected | undefined {
  const taken = session.expected.splice(0, index + 1);
  const last = taken.pop();
  for (const skipped of taken) {
    if (skipped.kind === 'own') sendClient(session, skipped.text);
    else drawNothing(session, skipped);
  }
  return last;
}

function setupOf(expected: Expected | undefined, verb: SetupVerb): DataSetup | undefined {
  return expected?.kind === 'server' && expected.verb === verb ? expected.setup : undefined;
}
