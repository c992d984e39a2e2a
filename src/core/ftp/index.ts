/**
 * FTP as a relay must understand it: the grammar of commands and replies, and one session as a reducer.
 *
 * Lives here: `command.ts`, `reply.ts` and `data-place.ts` (what single lines say), and the reducer that the gateway and the agent share:
 * `session.ts` (one step), `session-state.ts` (events, effects, state), `client-side.ts` and `server-side.ts` (what each sends),
 * `data-setup.ts` (PASV, EPSV, PORT, EPRT), `session-facts.ts` (user, directory, transfers), `session-draft.ts` (what they all do).
 * Beside it `transfer-frames.ts`, what agent and gateway say on a data connection that they keep.
 * Policy: `rules.ts` (what commands do, and may), `path.ts` (what names mean), `rules-text.ts` and `name-text.ts` (both for people).
 *
 * Invariants:
 * - Text holds one byte a character (Latin-1), so nothing is lost and no encoding is guessed.
 * - What the server receives is written anew from what was parsed, one command a line: it cannot read something else than we did.
 * - A data connection is between the two parties of the control connection, whatever address a command or a reply names (RFC 2577
 *   section 3): effects name ports only.
 * - The client gets exactly one final reply a command, in the order of its commands, also where we answer ourselves.
 *
 * Sources: RFC 959, 1123 section 4.1, 2228, 2389, 2428, 2577.
 */
export { parseCommand } from './command.ts';
export type { Command, CommandParse } from './command.ts';
export { extendedPassiveReply, parseExtendedPassive, parseExtendedPort, parsePassive, parsePort, passiveReply, portCommand } from './data-place.ts';
export type { DataPlace } from './data-place.ts';
export { parseReplyLine } from './reply.ts';
export { beginFtpSession, lineBytesMax, readsClient, readsServer } from './session-state.ts';
export type { DataEnd, FtpEffect, FtpEvent, FtpNotice, FtpParties, FtpSessionState, FtpTransferStart } from './session-state.ts';
export { printableName } from './name-text.ts';
export { beginFrame, createTransferFrameReader, dataHead, endFrame } from './transfer-frames.ts';
export type { TransferFrame } from './transfer-frames.ts';
export { bytesMaxOf, createFtpRules, rateOf } from './rules.ts';
export type { FtpConstraints, FtpRules, TransferLimit } from './rules.ts';
export { stepFtpSession } from './session.ts';
