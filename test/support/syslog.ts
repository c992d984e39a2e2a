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

/** A line of a BIG-IP's log: a connection of payments/upload from 10.4.0.65:40132, but for `fields`. */
export function bigipLine(type: 'connection-opened' | 'connection-closed' | 'connection-denied', fields: Readonly<Record<string, unknown>>, timeMs = Date.now()): Buffer {
  const common = { connectionId: '1', client: '10.1.0.1:40000', spiffeId: 'spiffe://cluster.local/ns/payments/sa/upload', service: 'payments/partner:tls', policies: ['payments/partner'] };
  const ends = { snatAddress: '10.4.0.65', snatPort: 40_132, target: '198.51.100.7:443' };
  const more = { 'connection-opened': ends, 'connection-closed': { ...ends, reason: 'finished', bytesSent: 10, bytesReceived: 20, durationMs: 1_500 }, 'connection-denied': { reason: 'no-policy' } }[type];
  return printSyslogMessage({ facility: 16, severity: 6, timeMs, hostName: 'bigip1', appName: 'sallyport', processId: null, messageId: type, structuredData: [], text: JSON.stringify({ ...common, ...more, ...fields }) });
}

/** Manifests of the gateway `f5`, a BIG-IP. */
export const bigipManifests = `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: f5}
spec: {class: bigip, listen: [{address: 10.4.0.10, port: 15443}]}
`;
