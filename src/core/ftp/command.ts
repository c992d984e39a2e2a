/** One command line of the control connection (RFC 959 section 5.3, as Telnet text by RFC 854). */

export interface Command {
  /** Upper case, letters and digits, at most 16: safe to log, unlike the argument. */
  readonly verb: string;
  /** What follows the first space, as it came. Empty for none. */
  readonly argument: string;
}

export type CommandParse = { readonly ok: true; readonly command: Command } | { readonly ok: false; readonly reply: string };

/**
 * Parses one line, given without its LF. A line that servers read in different ways is refused with the reply to send.
 *
 * Telnet (RFC 854) matters in two places. Before the verb stand the interrupt and the Synch that a client sends with ABOR
 * (RFC 959 section 4.1.3): they are dropped, in any order and also torn, because the kernel takes the byte that was sent as urgent out
 * of the stream. Within the argument only the doubled IAC, a 255 of a file name, has one meaning.
 */
export function parseCommand(line: string): CommandParse {
  const text = line.replace(/\r$/, '').replace(/^[\xf1-\xf9\xff]+/, '');
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(text)) return refused('501 Control characters are not accepted in a command.');
  if (/\xff/.test(text.replaceAll('\xff\xff', ''))) return refused('501 Telnet sequences are not accepted within a command.');
  const match = /^([A-Za-z][A-Za-z0-9]{0,15})(?: (.*))?$/s.exec(text);
  if (match === null) return refused('500 Command not understood.');
  return { ok: true, command: { verb: match[1]!.toUpperCase(), argument: match[2] ?? '' } };
}

function refused(reply: string): CommandParse {
  return { ok: false, reply };
}

const activeRefused = '502 Active mode is not available; use PASV or EPSV.';
const passiveRefused = '502 Not available; use PASV or EPSV.';
const securityRefused = '503 No security data exchange has taken place.'; // RFC 2228 section 3

const activeVerbs: ReadonlySet<string> = new Set(['PORT', 'EPRT']);
const refusals: ReadonlyMap<string, string> = new Map([
  ['LPRT', activeRefused], // RFC 1639
  ['LPSV', passiveRefused], // RFC 1639
  ['CPSV', passiveRefused], // variants of PASV for server-to-server transfers
  ['SPSV', passiveRefused],
  ['AUTH', '534 TLS within the session is not available; the connection to the gateway is encrypted.'],
  ['ADAT', securityRefused],
  ['CCC', securityRefused],
  ['CONF', securityRefused],
  ['ENC', securityRefused],
  ['MIC', securityRefused],
  ['PBSZ', securityRefused],
  ['PROT', securityRefused],
]);

/** What a client may do that not every session can bear. */
export interface ClientAbilities {
  /** PORT and EPRT: it can be dialled. */
  readonly active: boolean;
  /** AUTH: what it says to the server from then on is between the two. */
  readonly tls: boolean;
}

/**
 * The reply to a command that never reaches the server, for it would open connections past us or make the session unreadable; undefined
 * for any other.
 */
export function refusalOf(verb: string, client: ClientAbilities): string | undefined {
  if (activeVerbs.has(verb)) return client.active ? undefined : activeRefused;
  return client.tls && verb === 'AUTH' ? undefined : refusals.get(verb);
}

const transferVerbs: ReadonlySet<string> = new Set(['APPE', 'LIST', 'MLSD', 'NLST', 'RETR', 'STOR', 'STOU']);

/** Whether a command is carried out over a data connection. Servers may know further ones, which their 150 gives away. */
export function isTransferVerb(verb: string): boolean {
  return transferVerbs.has(verb);
}
