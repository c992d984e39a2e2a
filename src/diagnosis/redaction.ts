/**
 * What may leave an organisation: secrets are taken out of values and of text, wherever they stand; addresses stay, or are replaced by the same
 * word each time. What only looks like a secret goes too.
 */
import { createHmac, createPrivateKey } from 'node:crypto';
import { isIP } from 'node:net';
import { parseAddress } from '../core/ip-address.ts';

export interface Redaction {
  /** Of any number of lines, each of which may be a record in JSON. */
  text(text: string): string;
  /** Of what JSON can say. Members whose name says that they are secret go whole, and the environment of a process but for what is ours. */
  value(value: unknown): unknown;
}

export interface RedactionOptions {
  /** Of the words that addresses become, so that nobody finds them by trying all; undefined: addresses stay. */
  readonly addressKey?: Buffer;
}

/** Names of members, options and variables; not those that say where a secret is. */
const secretName = /pass(?:word|wd|phrase)|secret|token|api[-_]?key|private[-_]?key|credential|^authorization$|^cookie$/i;
const placeName = /(?:file|path|name|audience|seconds|kind)$/i;
/** Variables that an installation sets, none of them secret. */
const ownVariables: ReadonlySet<string> = new Set(['POD_IP', 'POD_NAME', 'SALLYPORT_STATE']);

/** In the place of a secret. */
export const redacted = '[redacted]';

function isSecretName(name: string): boolean {
  return secretName.test(name) && !placeName.test(name);
}

// Of these each takes a time that grows with the text, whatever stands in it: none begins anew within a word that it has seen.
const privateKeyPem = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g;
/** Also over several lines, and with line ends as JSON writes them. */
const base64Run = /[A-Za-z0-9+/_-]{24,}(?:(?:\\[nr]|\s)+[A-Za-z0-9+/_-]{4,})*={0,2}/g;
/** https://www.rfc-editor.org/rfc/rfc7515#section-7.1 */
const webToken = /eyJ[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*)?/g;
const joinToken = /sallyport-join-[A-Za-z0-9_-]+/g;
const httpCredentials = /\b(Bearer|Basic|Negotiate)\s+[^\s"',;]+/gi;
/** To the end of the line: there are many schemes. */
const httpHeader = /\b((?:proxy-)?authorization|(?:set-)?cookie)(["']?\s*[:=]).+/gi;
const urlCredentials = /\b([a-z][a-z0-9+.-]{0,30}:\/\/)[^\s/?#"'<>]*@/gi;
const ftpPassword = /\b(PASS|ACCT)[ \t]+[^\r\n"]*/g;
/** `NAME=VALUE` and `NAME: VALUE`, quoted or not, also as options and in queries of URLs. In quotes within quotes: the rest of the line. */
const namedValue = /(?<![\w.-])([\w.-]*?(?:pass(?:word|wd|phrase)|secret|token|api[-_]?key|private[-_]?key|credential)[\w.-]{0,100})(\\*["']?\s*[:=]\s*)(\\+["'].*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s,;&"'\\]+)/gi;
const addressLike = /(?<![\w.:])(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![0-9])|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:(?:\.[0-9]{1,3}){3})?)/gi;
/** As in the name of an assignment: an IPv6 address and a port, by dots. */
const dottedAddress = /(?<![\w.])((?:[0-9a-f]{1,4}\.){8})([0-9]{1,5})(?![\w.])/gi;

export function createRedaction({ addressKey }: RedactionOptions = {}): Redaction {
  const line = (original: string): string => {
    const json = parseJson(original);
    if (json !== undefined) return JSON.stringify(value(json));
    const known = withoutSecrets(original);
    return addressKey === undefined ? known : withoutAddresses(known, addressKey);
  };
  const text = (original: string): string => (parseJson(original) === undefined ? withoutKeys(original).split('\n').map(line).join('\n') : line(original));
  const value = (original: unknown): unknown => {
    if (typeof original === 'string') return text(original);
    if (Array.isArray(original)) return original.map(value);
    if (typeof original !== 'object' || original === null) return original;
    const members = Object.entries(original);
    const { name } = original as { readonly name?: unknown };
    const isVariable = typeof name === 'string' && members.every(([member]) => member === 'name' || member === 'value' || member === 'valueFrom');
    return Object.fromEntries(
      members.map(([member, inner]) => {
        const goes = (isVariable && member === 'value' && !ownVariables.has(name)) || (isSecretName(member) && typeof inner === 'string');
        return [text(member), goes ? redacted : value(inner)];
      }),
    );
  };
  return { text, value };
}

/** A list or a mapping; undefined for what is none, or not JSON. */
function parseJson(text: string): object | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as object;
  } catch {
    return undefined; // text that begins like it
  }
}

/** What may go over several lines. */
function withoutKeys(text: string): string {
  return text.replaceAll(privateKeyPem, redacted).replaceAll(base64Run, (run) => (holdsSecret(run) ? redacted : run));
}

function withoutSecrets(text: string): string {
  return withoutKeys(text)
    .replaceAll(joinToken, redacted)
    .replaceAll(webToken, (whole, rest: string | undefined) => (rest === undefined ? whole : redacted))
    .replaceAll(urlCredentials, `$1${redacted}@`)
    .replaceAll(httpCredentials, `$1 ${redacted}`)
    .replaceAll(httpHeader, `$1$2 ${redacted}`)
    .replaceAll(ftpPassword, `$1 ${redacted}`)
    .replaceAll(namedValue, (whole, name: string, between: string, value: string) => (placeName.test(name) ? whole : `${name}${between}${value.startsWith('"') ? JSON.stringify(redacted) : redacted}`));
}

/** A private key, by itself, or whatever else is a secret under Base64. What follows it may look like more of it. */
function holdsSecret(run: string): boolean {
  const pieces = run.split(/(?:\\[nr]|\s)+/);
  return new Set([...pieces, pieces.join('')]).values().some((piece) => {
    const bytes = Buffer.from(piece, 'base64');
    const inner = bytes.toString('latin1');
    return isPrivateKey(bytes) || withoutSecrets(inner) !== inner;
  });
}

/** In DER, whatever follows it. */
function isPrivateKey(key: Buffer): boolean {
  const sequence = 0x30;
  return key[0] === sequence && (['pkcs8', 'sec1', 'pkcs1'] as const).some((type) => {
    try {
      createPrivateKey({ key, format: 'der', type });
      return true;
    } catch {
      return false; // a certificate, or anything else
    }
  });
}

function withoutAddresses(text: string, key: Buffer): string {
  return text
    .replaceAll(dottedAddress, (whole, groups: string, port: string) => {
      const word = wordOf(groups.slice(0, -1).replaceAll('.', ':'), key);
      return word === undefined ? whole : `${word}.${port}`;
    })
    .replaceAll(addressLike, (found) => wordOf(found, key) ?? found);
}

/** The same for all ways to write an address; undefined for what is none, or says nothing of a network. */
function wordOf(text: string, key: Buffer): string | undefined {
  if (isIP(text) === 0) return undefined;
  const address = parseAddress(text) ?? text;
  if (/^127\.|^0\.0\.0\.0$|^::1?$/.test(address)) return undefined;
  return `address-${createHmac('sha256', key).update(address).digest('hex').slice(0, 10)}`;
}
