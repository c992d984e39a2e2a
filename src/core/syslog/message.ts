/** Syslog messages by RFC 5424. What is not one is refused with the field at which it fails; nothing is repaired. */

export interface SyslogMessage {
  readonly facility: number;
  readonly severity: number;
  /** Milliseconds since the epoch; null, as of all that follow, where the sender does not say. */
  readonly timeMs: number | null;
  readonly hostName: string | null;
  readonly appName: string | null;
  readonly processId: string | null;
  readonly messageId: string | null;
  readonly structuredData: readonly StructuredElement[];
  /** Without its byte order mark; bytes that are not UTF-8 are replaced. Null where there is none, which is other than an empty one. */
  readonly text: string | null;
}

export interface StructuredElement {
  readonly id: string;
  /** A name may come several times. */
  readonly parameters: readonly { readonly name: string; readonly value: string }[];
}

/** `reason` is the end of a sentence. */
export type SyslogMessageParse = { readonly ok: true; readonly message: SyslogMessage } | { readonly ok: false; readonly reason: string };

const severities = 8;
const priorityMax = 191; // section 6.2.1

// Section 6. Sticky, so that each begins where the field before has ended; read as Latin-1, where a character is an octet.
const priority = /<(0|[1-9][0-9]{0,2})>/y;
const version = /1 /y;
const timestamp = /(-|([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])) /y;
const hostName = /([\x21-\x7e]{1,255}) /y;
const appName = /([\x21-\x7e]{1,48}) /y;
const processId = /([\x21-\x7e]{1,128}) /y;
const messageId = /([\x21-\x7e]{1,32}) /y;
const noStructuredData = /-(?= |$)/y;
const elementStart = /\[([\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32})/y;
const parameter = / ([\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32})="((?:[^"\\\]]|\\[^])*)"/y;
const elementEnd = /\](?=[[ ]|$)/y;
const escaped = /\\(["\\\]])/g; // section 6.3.3: before anything else a backslash is one
const byteOrderMark = '\u00ef\u00bb\u00bf'; // in UTF-8, read as Latin-1

/** Reads one message. Linear in its length, which is the caller's to bound. */
export function parseSyslogMessage(bytes: Buffer): SyslogMessageParse {
  const text = bytes.toString('latin1');
  let offset = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = offset;
    const match = pattern.exec(text);
    if (match !== null) offset = pattern.lastIndex;
    return match;
  };
  const value = (match: RegExpExecArray): string | null => (match[1] === '-' ? null : match[1]!);

  const pri = take(priority);
  if (pri === null || Number(pri[1]) > priorityMax) return refuse(`does not begin with a priority from <0> to <${priorityMax}>`);
  if (take(version) === null) return refuse('is not of version 1 of the protocol');
  const time = take(timestamp);
  if (time === null || !isDay(time)) return refuse('has no timestamp of RFC 5424');
  const host = take(hostName);
  if (host === null) return refuse('has no host name');
  const app = take(appName);
  if (app === null) return refuse('has no application name');
  const process = take(processId);
  if (process === null) return refuse('has no process id');
  const id = take(messageId);
  if (id === null) return refuse('has no message id');

  const structuredData: StructuredElement[] = [];
  if (take(noStructuredData) === null) {
    for (let start = take(elementStart); start !== null; start = take(elementStart)) {
      const elementId = start[1]!;
      if (structuredData.some((element) => element.id === elementId)) return refuse('has structured data with one id twice'); // section 6.3.2
      const parameters: { name: string; value: string }[] = [];
      for (let found = take(parameter); found !== null; found = take(parameter)) parameters.push({ name: found[1]!, value: decode(found[2]!).replaceAll(escaped, '$1') });
      if (take(elementEnd) === null) return refuse('has structured data that does not end');
      structuredData.push({ id: elementId, parameters });
    }
    if (structuredData.length === 0) return refuse('has no structured data');
  }

  const rest = offset === text.length ? null : text.slice(offset + 1);
  return {
    ok: true,
    message: {
      facility: Math.floor(Number(pri[1]) / severities),
      severity: Number(pri[1]) % severities,
      timeMs: time[1] === '-' ? null : Date.parse(time[1]!),
      hostName: value(host),
      appName: value(app),
      processId: value(process),
      messageId: value(id),
      structuredData,
      text: rest === null ? null : decode(rest.startsWith(byteOrderMark) ? rest.slice(byteOrderMark.length) : rest),
    },
  };
}

/** Whether a month has that day, as `Date.parse` does not ask. */
function isDay([, text, year, month, day]: RegExpExecArray): boolean {
  return text === '-' || Number(day) <= new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
}

const decode = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8');

const refuse = (reason: string): SyslogMessageParse => ({ ok: false, reason });
