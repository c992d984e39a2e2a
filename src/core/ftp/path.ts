/**
 * Names of files and directories in commands, as policy must read them. A name belongs to the server (RFC 959 section 5.3.1.3), which
 * may take apart, expand, decode or trim it in ways of its own. So a name is either read in the one way in which every server that
 * names its directories with slashes reads it, or not at all.
 *
 * Text holds one byte a character. Paths are compared byte for byte: what a server folds (case, Unicode forms) is never let in by that.
 */

/** From `/`, without a slash at its end (but for the root itself), and without empty, `.` and `..` segments. */
export type FtpPath = string & { readonly __brand: 'FtpPath' };

export type PathReading = { readonly ok: true; readonly path: FtpPath } | { readonly ok: false; /** As the end of a sentence that begins with the name. */ readonly fault: string };

export const rootPath = '/' as FtpPath;

/**
 * The path that a name means to a session whose directory is `directory` (null: not known, and then relative names mean nothing).
 * `..` is followed only where it leads a relative name: behind another segment, which may be a symbolic link, servers disagree on it.
 */
export function readPath(name: string, directory: FtpPath | null): PathReading {
  const fault = faultOfName(name) ?? name.split('/').map((segment, index, all) => faultOfSegment(segment, !all.slice(index + 1).some(isNamed))).find((found) => found !== undefined);
  if (fault !== undefined) return { ok: false, fault };
  const isAbsolute = name.startsWith('/');
  if (!isAbsolute && directory === null) return { ok: false, fault: 'is relative, and the server has not said what to; name it from "/"' };
  const path = isAbsolute ? [] : segmentsOf(directory!);
  let named = isAbsolute;
  for (const segment of name.split('/').filter((each) => each !== '' && each !== '.')) {
    if (segment !== '..') {
      path.push(segment);
      named = true;
    } else if (named || path.pop() === undefined) {
      return { ok: false, fault: 'has ".." elsewhere than at its beginning, or leads out of "/"' };
    }
  }
  return { ok: true, path: join(path) };
}

/** The directory that a 257 reply to PWD names (RFC 959 appendix II): absolute, with quotation marks doubled. Undefined for what is no such path. */
export function parseDirectory(reply: string): FtpPath | undefined {
  const quoted = /^257[ -]"((?:[^"\r\n]|"")*)"(?=[ \r\n]|$)/.exec(reply)?.[1]?.replaceAll('""', '"');
  if (quoted?.startsWith('/') !== true) return undefined;
  const segments = segmentsOf(quoted);
  return segments.includes('.') || segments.includes('..') ? undefined : join(segments);
}

/** Whether `path` is `prefix` or below it. */
export function isWithin(path: FtpPath, prefix: FtpPath): boolean {
  return path === prefix || path.startsWith(prefix === rootPath ? prefix : `${prefix}/`);
}

/** A path that a user wrote, as bytes, or why no command could ever name it. */
export function parsePolicyPath(text: string): PathReading {
  const reading = text.startsWith('/') ? readPath(bytesOfText(text), null) : { ok: false as const, fault: 'does not begin with "/"' };
  if (!reading.ok) return reading;
  if (/[*?[]/.test(text)) return { ok: false, fault: 'has wildcards; it holds for everything below it as it is' };
  return reading.path === bytesOfText(text) ? reading : { ok: false, fault: `is not in its shortest form, ${JSON.stringify(textOfBytes(reading.path))}` };
}

/** UTF-8, one byte a character. */
export function bytesOfText(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** The reverse; what is not UTF-8 becomes U+FFFD. */
export function textOfBytes(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function segmentsOf(path: string): string[] {
  return path.split('/').filter((segment) => segment !== '');
}

function join(segments: readonly string[]): FtpPath {
  return `/${segments.join('/')}` as FtpPath;
}

function isNamed(segment: string): boolean {
  return segment !== '' && segment !== '.';
}

/** What can be said of a name without knowing where it starts from. */
function faultOfName(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.startsWith(' ')) return 'begins with a space, which servers drop or keep';
  if (/[\x00-\x1f\x7f]/.test(name)) return 'has control characters';
  if (name.includes('\xff')) return 'has the byte 255, which Telnet doubles or drops';
  const seen = carelessForm(name);
  if (seen === undefined) return 'has an overlong UTF-8 sequence';
  if (seen.includes('\\')) return 'has a backslash or its like, which separates directories or quotes';
  if (slashesIn(seen) !== slashesIn(name)) return 'has a character that servers may take for a slash';
  if (/^["'<]/.test(seen)) return 'begins with a quotation mark or bracket, by which servers mean another root';
  if (seen.startsWith('//')) return 'begins with "//", which names another host or root';
  return /^[A-Za-z]:/.test(seen) ? 'begins with a drive letter' : undefined;
}

function faultOfSegment(segment: string, isLast: boolean): string | undefined {
  if (!isNamed(segment) || segment === '..') return undefined;
  const seen = carelessForm(segment) ?? '';
  if (seen.startsWith('~')) return 'has a segment that begins with "~", which names a home directory';
  if (/^[."']*$/.test(seen)) return 'has a segment of dots and what servers may drop, such as quotation marks, which leaves "." or ".."';
  if (/[{}]/.test(seen)) return 'has braces, which servers may expand';
  if (!/[*?[]/.test(seen)) return undefined;
  if (!isLast) return 'has a wildcard before its last segment';
  return /^[.?[]/.test(seen) ? 'begins a wildcard with what may match "." or ".."' : undefined;
}

function slashesIn(text: string): number {
  return text.split('/').length;
}

/** What best-fit conversions turn into `/` and `\`, beside what NFKC does: division, fraction and set-minus signs, and the yen and won signs of DOS code pages. */
const slashLike = /[\u2044\u2215\u2571\u27cb\u29f8]/;
const backslashLike = /[\u00a5\u20a9\u20e5\u2216\u27cd\u29f5\u29f9]/;

/**
 * A name as a careless server may see it: compatibility forms (NFKC) and look-alikes replaced, and white space, what is not to be seen
 * and what is no UTF-8 dropped. Undefined where ASCII comes out of a longer sequence: it was hidden there.
 *
 * Decoded as by decoders that do not check: a lead byte takes what follows for its continuation, whatever that is.
 */
function carelessForm(bytes: string): string | undefined {
  let text = '';
  for (let at = 0; at < bytes.length; at += 1) {
    const lead = bytes.charCodeAt(at);
    if (lead < 0x80) {
      text += bytes[at]!;
      continue;
    }
    const more = lead < 0xc0 || lead >= 0xf8 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    let code = lead & (0x3f >> more);
    for (let next = at + 1; next <= at + more; next += 1) code = (code << 6) | (bytes.charCodeAt(next) & 0x3f);
    if (more > 0 && at + more < bytes.length && code < 0x80) return undefined;
    const character = Buffer.from(bytes.slice(at, at + 1 + more), 'latin1').toString('utf8');
    if (character.includes('\ufffd')) continue; // not UTF-8: this byte is dropped, the next one stands for itself
    text += character.normalize('NFKC').replace(slashLike, '/').replace(backslashLike, '\\');
    at += more;
  }
  return text.replaceAll(/[\s\p{Default_Ignorable_Code_Point}\p{Cc}]/gu, '');
}
