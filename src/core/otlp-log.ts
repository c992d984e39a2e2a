/**
 * A line of the ledger as a log record in OpenTelemetry's data model, https://opentelemetry.io/docs/specs/otel/logs/data-model/. Its body is the
 * line as it is: the bodies of a replica, in order, are its ledger again, and their hashes can be checked. Attributes say what can be searched
 * for, by the names of the semantic conventions where these have one, https://opentelemetry.io/docs/specs/semconv/registry/attributes/.
 */
import type { ConnectionOpened, LedgerRecord } from './ledger-record.ts';

export type OtlpValue = string | number | boolean | readonly string[];

export interface OtlpLog {
  readonly timeMs: number;
  readonly severity: 'DEBUG' | 'INFO' | 'WARN';
  readonly eventName: string;
  readonly body: string;
  readonly attributes: Readonly<Record<string, OtlpValue>>;
}

/** A line of the ledger, without its newline, and where it stands in the chain. */
export interface ChainedLine {
  readonly kind: 'header' | 'record';
  readonly sequence: number;
  readonly hash: string;
  readonly text: string;
}

const prefix = 'sallyport.';

/** @param line one that has proved itself */
export function otlpLogOf({ kind, sequence, hash, text }: ChainedLine): OtlpLog {
  const chain = { [`${prefix}ledger.sequence`]: sequence, [`${prefix}ledger.hash`]: hash };
  if (kind === 'header') {
    const { created } = JSON.parse(text) as { readonly created: string };
    return { timeMs: Date.parse(created), severity: 'DEBUG', eventName: `${prefix}ledger_segment`, body: text, attributes: chain };
  }
  const { record } = JSON.parse(text) as { readonly record: LedgerRecord };
  return { timeMs: Date.parse(record.time), severity: severityOf(record), eventName: prefix + snakeCase(record.type), body: text, attributes: { ...chain, ...networkOf(record), ...attributesOf(record) } };
}

/** Warnings are what somebody wanted and did not get. */
function severityOf(record: LedgerRecord): OtlpLog['severity'] {
  switch (record.type) {
    case 'connection-denied':
    case 'issuance-refused':
      return 'WARN';
    case 'ftp-transfer':
      return record.outcome === 'failed' ? 'WARN' : 'INFO';
    case 'ftp-transfer-progress':
      return 'DEBUG';
    default:
      return 'INFO';
  }
}

/** What fields have a name in the semantic conventions. `snatAddress` is the near end of the connection that left. */
const conventions: Readonly<Record<string, string>> = { snatAddress: 'network.local.address', snatPort: 'network.local.port', user: 'user.name' };
const conventionsOfPods: Readonly<Record<string, string>> = { name: 'k8s.pod.name', uid: 'k8s.pod.uid', node: 'k8s.node.name' };
const endpoints: Readonly<Record<string, string>> = { client: 'client', target: 'server' };

function attributesOf(record: LedgerRecord): Readonly<Record<string, OtlpValue>> {
  const { type: _type, time: _time, ...fields } = record;
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]: [string, unknown]): (readonly [string, OtlpValue])[] => {
      const role = endpoints[name];
      if (role !== undefined && typeof value === 'string') return endpointOf(role, value);
      if (name === 'pod') return Object.entries(value as object).flatMap(([part, of]: [string, unknown]) => (isValue(of) ? [[conventionsOfPods[part] ?? `${prefix}pod.${snakeCase(part)}`, of]] : []));
      return isValue(value) ? [[conventions[name] ?? prefix + snakeCase(name), value]] : [];
    }),
  );
}

/** Of the connection that left, or would have. */
function networkOf(record: LedgerRecord): Readonly<Record<string, string>> {
  const channel = 'channel' in record ? record.channel : undefined;
  const transport = 'snatPort' in record ? (channel === 'udp' || 'datagramsSent' in record ? 'udp' : 'tcp') : undefined;
  return {
    ...(transport === undefined ? {} : { 'network.transport': transport }),
    ...('snatAddress' in record ? { 'network.type': record.snatAddress.includes(':') ? 'ipv6' : 'ipv4' } : {}),
    ...('verb' in record || isFtp(channel) ? { 'network.protocol.name': 'ftp' } : {}),
  };
}

const isFtp = (channel: ConnectionOpened['channel'] | undefined): boolean => channel === 'ftp-control' || channel === 'ftp-data';

/** `10.0.0.1:80` or `[::1]:80`, as records have them; empty where it was not known. */
function endpointOf(role: string, text: string): (readonly [string, OtlpValue])[] {
  const [, address, port] = /^\[?([^[\]]+?)\]?:([0-9]{1,5})$/.exec(text) ?? [];
  return address === undefined ? [] : [[`${role}.address`, address], [`${role}.port`, Number(port)]];
}

/** What is null is not there: attributes have no such value. */
function isValue(value: unknown): value is OtlpValue {
  return ['string', 'number', 'boolean'].includes(typeof value) || (Array.isArray(value) && value.every((each) => typeof each === 'string'));
}

function snakeCase(name: string): string {
  return name.replaceAll('-', '_').replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
