/**
 * What policies allow within a session: which commands do what to which path, and whether one of the policies' alternatives allows
 * it. Pure; the session (session.ts) asks before it passes a command on.
 */
import type { Command } from './command.ts';
import { printableName } from './name-text.ts';
import { bytesOfText, isWithin, parsePolicyPath, readPath, type FtpPath, type PathReading } from './path.ts';

export const unknownCommandRules = ['Refuse', 'Pass'] as const;
export type UnknownCommandRule = (typeof unknownCommandRules)[number];

/** What one policy allows. Everything that it does not limit. */
export interface FtpConstraints {
  /** Nothing is stored, changed, renamed or deleted. */
  readonly readOnly: boolean;
  /** Nothing is deleted. */
  readonly noDelete: boolean;
  /** Where files and directories may be named: these and what is below them; null for anywhere. Sorted. */
  readonly paths: readonly string[] | null;
  /** Who may log in; null for anyone. Sorted. */
  readonly users: readonly string[] | null;
  /** Of one transfer, in either direction; null for any. */
  readonly maxTransferBytes: number | null;
  readonly maxBytesPerSecond: number | null;
  readonly unknownCommands: UnknownCommandRule;
}

/** Where a session stands, by the server's own word. */
export interface SessionFacts {
  /** Who is logged in; null for nobody. */
  readonly user: string | null;
  /** Null where it is not known. */
  readonly directory: FtpPath | null;
  /** What a RNFR named that has not been renamed yet. */
  readonly renaming: string | null;
}

/** How much of a transfer may pass, and how fast, by one alternative; null for any. */
export interface TransferLimit {
  readonly maxTransferBytes: number | null;
  readonly maxBytesPerSecond: number | null;
}

export type RuleVerdict =
  | { readonly allowed: true; /** Of a transfer: each that allows it. Empty: no limit. */ readonly limits: readonly TransferLimit[] }
  /** `detail` is for records: what was refused, made printable, and why. */
  | { readonly allowed: false; readonly reply: string; readonly detail: string };

export interface FtpRules {
  /** Whether the session must know its directory. */
  readonly followsDirectory: boolean;
  check(command: Command, facts: SessionFacts): RuleVerdict;
}

type Effect = 'none' | 'read' | 'list' | 'enter' | 'store' | 'change' | 'rename' | 'delete';

/** What a command does, and to which names, each of which must be allowed. The empty name stands for the session's directory. */
interface Action {
  readonly effect: Effect;
  readonly names: readonly string[];
}

const none: Action = { effect: 'none', names: [] };
const to = (effect: Effect) => (name: string): Action => ({ effect, names: [name] });

function each(verbs: string, read: (argument: string) => Action | undefined): [string, typeof read][] {
  return verbs.split(' ').map((verb) => [verb, read]);
}

/** RFC 959, 1123, 2228, 2389, 2428, 2640, 3659 and 7151, draft-somers-ftp-mfxx, and what else is in use. Whatever is not here is unknown. */
const actions: ReadonlyMap<string, (argument: string) => Action | undefined> = new Map([
  ...each('ABOR ACCT ALLO AUTH CCC CLNT CSID EPRT EPSV FEAT HELP HOST LANG MODE NOOP OPTS PASS PASV PBSZ PORT PROT PWD QUIT REIN REST STRU SYST TYPE USER XPWD', () => none),
  ...each('AVBL HASH MD5 RETR SIZE XCRC XMD5 XSHA XSHA1 XSHA256 XSHA512', to('read')),
  ...each('MLSD MLST', to('list')),
  ...each('LIST NLST', listing),
  ...each('STAT', (argument) => (argument === '' ? none : listing(argument))),
  ...each('CWD XCWD', to('enter')),
  ...each('CDUP XCUP', () => ({ effect: 'enter', names: ['..'] })),
  ...each('APPE STOR STOU MKD XMKD', to('store')),
  ...each('MFCT MFF MFMT', (argument) => ({ effect: 'change', names: [withoutWords(1, argument)] })),
  ...each('MDTM', (argument) => (/^[0-9]{8,}[^ ]* ./.test(argument) ? { effect: 'change', names: [argument, withoutWords(1, argument)] } : to('read')(argument))), // sets the time where one stands before the name
  ...each('SITE', site),
  ...each('RNFR RNTO', to('rename')),
  ...each('DELE RMD XRMD', to('delete')),
]);

/** Options first; then servers take the rest for one name, or each word for one (those that hand it to `ls`). */
function listing(argument: string): Action {
  const rest = argument.replace(/^(-[A-Za-z0-9]+( +|$))+/, '');
  return { effect: 'list', names: rest.includes(' ') ? [rest, ...rest.split(' ').filter((word) => word !== '')] : [rest] };
}

function site(argument: string): Action | undefined {
  const [verb = ''] = argument.toUpperCase().split(' ');
  const rest = withoutWords(1, argument);
  if (verb === '' || verb === 'HELP' || verb === 'IDLE') return none;
  if (verb === 'CHMOD') return { effect: 'change', names: [withoutWords(1, rest)] };
  if (verb === 'UTIME') return { effect: 'change', names: [rest, withoutWords(1, rest)] }; // times stand before or behind the name
  return undefined;
}

function withoutWords(count: number, text: string): string {
  return text.split(' ').slice(count).join(' ');
}

/** One alternative, in the bytes of the wire. */
interface Alternative extends Omit<FtpConstraints, 'paths' | 'users'> {
  readonly paths: readonly FtpPath[] | null;
  readonly users: ReadonlySet<string> | null;
}

interface Question {
  readonly command: Command;
  readonly action: Action | undefined;
  readonly facts: SessionFacts;
}

type Refusal = Extract<RuleVerdict, { allowed: false }>;
type Check = (alternative: Alternative, question: Question) => Refusal | undefined;

function refuse(code: number, detail: string): Refusal {
  return { allowed: false, reply: `${code} Refused by policy: ${detail}.`, detail };
}

/** RFC 959 section 5.4: 553 where it is the name of what is to be that does not please. */
function refusalCode(verb: string): number {
  return ['APPE', 'RNTO', 'STOR', 'STOU'].includes(verb) ? 553 : 550;
}

const checkUser: Check = ({ users }, { command: { verb, argument }, action, facts: { user } }) => {
  if (users === null || (action?.effect === 'none' && verb !== 'USER')) return undefined;
  if (verb === 'USER') return users.has(argument) ? undefined : refuse(530, 'this user may not log in');
  return user !== null && users.has(user) ? undefined : refuse(530, 'it is for certain users only');
};

const checkKnown: Check = ({ unknownCommands }, { action }) => (action === undefined && unknownCommands === 'Refuse' ? refuse(502, 'the command is not known') : undefined);

const checkEffect: Check = ({ readOnly, noDelete }, { command: { verb }, action }) => {
  const effect = action?.effect;
  if (readOnly && (effect === 'store' || effect === 'change' || effect === 'rename' || effect === 'delete')) return refuse(refusalCode(verb), 'read only');
  return noDelete && effect === 'delete' ? refuse(550, 'nothing may be deleted') : undefined;
};

const checkPaths: Check = ({ paths }, { command: { verb }, action, facts: { directory, renaming } }) => {
  if (paths === null || action === undefined || action.effect === 'none') return undefined;
  // What may be renamed by one policy may not be by another.
  for (const name of verb === 'RNTO' && renaming !== null ? [renaming, ...action.names] : action.names) {
    const reading = name === '' ? currentPath(directory) : readPath(name, directory);
    if (!reading.ok) return refuse(refusalCode(verb), `the name ${reading.fault}`);
    const { path } = reading;
    const covered = paths.some((prefix) => isWithin(path, prefix) || (action.effect === 'enter' && isWithin(prefix, path))); // on the way to what is allowed
    if (!covered) return refuse(refusalCode(verb), 'the path is outside of those allowed');
  }
  return undefined;
};

/** In the other modes (RFC 959 section 3.4) one data connection carries many files, whose ends are not seen. */
const checkMode: Check = ({ maxTransferBytes }, { command: { verb, argument } }) =>
  maxTransferBytes !== null && verb === 'MODE' && argument.toUpperCase() !== 'S' ? refuse(504, 'transfers are limited in size, which needs stream mode') : undefined;

const checks: readonly Check[] = [checkUser, checkKnown, checkEffect, checkPaths, checkMode];

function currentPath(directory: FtpPath | null): PathReading {
  return directory === null ? { ok: false, fault: 'is missing, and the server has not said its directory' } : { ok: true, path: directory };
}

/**
 * The rules of a grant. A command is allowed where one alternative allows it. Where none does, the refusal is that of the alternative
 * that came nearest. Paths that `parsePolicyPath` refuses cover nothing.
 */
export function createFtpRules(constraints: readonly FtpConstraints[]): FtpRules {
  const alternatives = constraints.map(({ paths, users, ...rest }): Alternative => ({
    ...rest,
    paths: paths?.flatMap((path) => { const parsed = parsePolicyPath(path); return parsed.ok ? [parsed.path] : []; }) ?? null,
    users: users === null ? null : new Set(users.map(bytesOfText)),
  }));
  return {
    followsDirectory: alternatives.some(({ paths }) => paths !== null),
    check(command, facts) {
      const question: Question = { command, action: actions.get(command.verb)?.(command.argument), facts };
      let nearest: { readonly rank: number; readonly refusal: Refusal } = { rank: -1, refusal: refuse(550, 'nothing is allowed') };
      const allowing: TransferLimit[] = [];
      for (const alternative of alternatives) {
        const [rank, refusal] = firstRefusal(alternative, question);
        if (refusal === undefined) allowing.push(alternative);
        else if (rank > nearest.rank) nearest = { rank, refusal };
      }
      if (allowing.length === 0) return { ...nearest.refusal, detail: `${describeCommand(question)}: ${nearest.refusal.detail}` };
      return { allowed: true, limits: allowing.some(isUnlimited) ? [] : allowing.map(({ maxTransferBytes, maxBytesPerSecond }) => ({ maxTransferBytes, maxBytesPerSecond })) };
    },
  };
}

/** Without the argument of what might hold a password. */
function describeCommand({ command: { verb, argument }, action }: Question): string {
  const isSafe = verb === 'USER' || (action !== undefined && action.effect !== 'none');
  return isSafe && argument !== '' ? `${verb} "${printableName(argument)}"` : verb;
}

/** The path that a command is about, as far as it is known: as it was named where it cannot be read. */
export function pathOfCommand({ verb, argument }: Command, directory: FtpPath | null): string {
  const [name = ''] = actions.get(verb)?.(argument)?.names ?? [argument];
  const reading = name === '' ? currentPath(directory) : readPath(name, directory);
  return reading.ok ? reading.path : name;
}

function firstRefusal(alternative: Alternative, question: Question): readonly [rank: number, refusal: Refusal | undefined] {
  for (const [rank, check] of checks.entries()) {
    const refusal = check(alternative, question);
    if (refusal !== undefined) return [rank, refusal];
  }
  return [checks.length, undefined];
}

function isUnlimited({ maxTransferBytes, maxBytesPerSecond }: TransferLimit): boolean {
  return maxTransferBytes === null && maxBytesPerSecond === null;
}

/** What one transfer may carry in all; null for any amount. */
export function bytesMaxOf(limits: readonly TransferLimit[]): number | null {
  return limits.reduce<number | null>((most, { maxTransferBytes }) => (most === null || maxTransferBytes === null ? null : Math.max(most, maxTransferBytes)), limits.length === 0 ? null : 0);
}

/** Bytes a second at which a transfer may go on that has carried `bytes`: the fastest of those that still allow it; null for any. */
export function rateOf(limits: readonly TransferLimit[], bytes: number): number | null {
  const rates = limits.filter(({ maxTransferBytes }) => maxTransferBytes === null || bytes <= maxTransferBytes).map(({ maxBytesPerSecond }) => maxBytesPerSecond);
  return rates.reduce<number | null>((fastest, rate) => (fastest === null || rate === null ? null : Math.max(fastest, rate)), rates.length === 0 ? null : 0);
}
