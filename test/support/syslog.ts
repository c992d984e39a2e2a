/** Syslog as senders write it. */
import type { SyslogMessage } from '../../src/core/syslog/message.ts';

/** A message by RFC 5424, section 6. */
export function printSyslogMessage({ facility, severity, timeMs, hostName, appName, processId, messageId, structuredData, text }: SyslogMessage): Buffer {
  const escape = (value: string): string => value.replaceAll(/["\\\]]/g, '\\$&');
  const elements = structuredData.map(({ id, parameters }) => `[${[id, ...parameters.map(({ name, value }) => `${name}="${escape(value)}"`)].join(' ')}]`);
  const time = timeMs === null ? null : new Date(timeMs).toISOString();
  const header = [`<${facility * 8 + severity}>1`, ...[time, hostName, appName, processId, messageId].map((field) => field ?? '-'), elements.length === 0 ? '-' : elements.join('')].join(' ');
  return Buffer.from(text === null ? header : `${header} ${text}`);
}

/** RFC 6587, section 3.4.1. */
export const counted = (message: Buffer): Buffer => Buffer.concat([Buffer.from(`${message.length} `), message]);
/** Section 3.4.2. */
export const delimited = (message: Buffer): Buffer => Buffer.concat([message, Buffer.from('\n')]);
