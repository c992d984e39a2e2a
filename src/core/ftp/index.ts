/**
 * FTP as a relay must understand it: the grammar of commands and replies, and one session as a reducer.
 *
 * Lives here: `command.ts` and `reply.ts` (one line each way), `session.ts` (the reducer that the gateway and the agent share).
 *
 * Invariants:
 * - Text holds one byte a character (Latin-1), so nothing is lost and no encoding is guessed.
 * - What the server receives is written anew from what was parsed, one command a line: it cannot read something else than we did.
 * - A data channel leads to the control connection's server, whatever address a reply names (RFC 2577 section 3).
 * - The client gets exactly one final reply a command, in the order of its commands, also where we answer ourselves.
 *
 * Sources: RFC 959, 1123 section 4.1, 2228, 2389, 2428, 2577.
 */
export { parseCommand } from './command.ts';
export type { Command, CommandParse } from './command.ts';
export { extendedPassiveReply, parseExtendedPassive, parsePassive, parseReplyLine, passiveReply } from './reply.ts';
export type { PassivePlace } from './reply.ts';
export { beginFtpSession, lineBytesMax, readsClient, readsServer, stepFtpSession } from './session.ts';
export type { FtpEffect, FtpEvent, FtpNotice, FtpParties, FtpSessionState } from './session.ts';
