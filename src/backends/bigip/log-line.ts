/**
 * The iRule's log as ledger records. A line is what the box says, and is believed as far as any gateway is: about itself. Which box it
 * is the receiver has found out; here every field must have the form that the ledger gives it, and nothing else gets in.
 */
import * as z from 'zod';
import { formatEndpoint, parseAddress } from '../../core/ip-address.ts';
import { connectionReasons, type ConnectionClosed, type ConnectionDenied, type ConnectionOpened, type ConnectionReason } from '../../core/ledger-record.ts';
import { parseAuthority } from '../../core/plan/authority.ts';
import { describeDenial, quotePeerText } from '../../core/plan/denial.ts';
import { denyReasons, type DenyReason, type Plan, type Revision, type ServedProtocol } from '../../core/plan/plan.ts';
import { parseSpiffeId, trustDomainOf, type SpiffeId } from '../../core/spiffe-id.ts';
import type { SyslogMessage } from '../../core/syslog/message.ts';

export type BigipRecord = ConnectionOpened | ConnectionClosed | ConnectionDenied;

/** APP-NAME of the lines that are for the ledger. */
export const logAppName = 'sallyport';

export interface LineContext {
  /** The gateway's name. */
  readonly origin: string;
  /** What the gateway enforces, or will in a moment. */
  readonly plan: Plan;
  /** When the line came. */
  readonly nowMs: number;
}

/** `reason` and `clockFault` are ends of a sentence about the line, safe to print. */
export type LineReading =
  | {
      readonly ok: true;
      readonly record: BigipRecord;
      /** Why the record has the time at which the line came, not its own. */
      readonly clockFault?: string;
    }
  | { readonly ok: false; readonly reason: string };

/** A line may have waited somewhere for a day; a clock that is ahead by more than a minute is wrong. */
const delayMaxMs = 86_400_000;
const aheadMaxMs = 60_000;

const name = '[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?';
const count = z.int().min(0);
const port = z.int().min(1).max(65_535);
const service = z.string().regex(new RegExp(`^${name}/${name}:[a-z0-9-]{1,63}$`));

/** Text that `parse` gives its canonical form. */
const canonical = <Value>(parse: (text: string) => Value | undefined, fault: string) =>
  z.string().transform((text, context): Value => {
    const value = parse(text);
    if (value !== undefined) return value;
    context.addIssue({ code: 'custom', message: fault });
    return z.NEVER;
  });
const address = canonical(parseAddress, 'is not an address');
const endpoint = canonical((text) => {
  const parsed = parseAuthority(text);
  return parsed?.isAddress === true ? formatEndpoint({ address: parsed.host, port: parsed.port }) : undefined;
}, 'is not an address and port');
const spiffeId = canonical((text): SpiffeId | undefined => {
  const parsed = parseSpiffeId(text);
  return parsed.ok ? parsed.id : undefined;
}, 'is not a SPIFFE ID');

const common = {
  /** The receiver knows it; a line that says another lies. */
  origin: z.string().optional(),
  connectionId: z.string().regex(/^[A-Za-z0-9._:/-]{1,128}$/),
  revision: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .transform((text) => text as Revision)
    .nullable()
    .default(null),
  client: endpoint,
  policies: z.array(z.string().regex(new RegExp(`^${name}/${name}$`))).max(1_024).default([]),
};
const letOut = { ...common, spiffeId, service, snatAddress: address, snatPort: port, target: endpoint };

const logLine = z.discriminatedUnion('type', [
  z.object({ type: z.literal('connection-opened'), ...letOut }),
  z.object({ type: z.literal('connection-closed'), ...letOut, reason: z.enum(connectionReasons), bytesSent: count, bytesReceived: count, durationMs: count }),
  z.object({
    type: z.literal('connection-denied'),
    ...common,
    spiffeId: spiffeId.nullable().default(null),
    service: service.nullable().default(null),
    /** What was asked for, where there is no such service. */
    target: z.string().default(''),
    reason: z.enum([...denyReasons, ...connectionReasons]),
  }),
]);
type LogLine = z.output<typeof logLine>;

/** The record of one line, or why there is none. */
export function readLogLine({ appName, messageId, text, timeMs }: SyslogMessage, { origin, plan, nowMs }: LineContext): LineReading {
  if (appName !== logAppName) return refuse(`is of the application ${quotePeerText(appName ?? '-')}, not ${logAppName}`);
  const fields = parseObject(text ?? '');
  if (fields === undefined) return refuse('is not one JSON object');
  const parsed = logLine.safeParse({ ...fields, type: messageId });
  if (!parsed.success) return refuse(describeFault(parsed.error));
  const line = parsed.data;
  if (line.origin !== undefined && line.origin !== origin) return refuse(`names the origin ${quotePeerText(line.origin)}, which it did not come from`);
  // Who is refused may have claimed anything.
  if (line.type !== 'connection-denied' && trustDomainOf(line.spiffeId) !== plan.trustDomain) return refuse(`names ${quotePeerText(line.spiffeId)}, which is not of trust domain ${plan.trustDomain}`);

  const clockFault = clockFaultOf(timeMs, nowMs);
  const time = new Date(timeMs === null || clockFault !== undefined ? nowMs : timeMs).toISOString();
  return { ok: true, record: recordOf(line, { time, origin }, plan), ...(clockFault === undefined ? {} : { clockFault }) };
}

function clockFaultOf(timeMs: number | null, nowMs: number): string | undefined {
  if (timeMs === null) return 'has no time';
  if (timeMs > nowMs + aheadMaxMs) return 'has a time that is more than a minute ahead';
  return timeMs < nowMs - delayMaxMs ? 'has a time that is more than a day ago' : undefined;
}

function recordOf(line: LogLine, base: Pick<BigipRecord, 'time' | 'origin'>, plan: Plan): BigipRecord {
  switch (line.type) {
    case 'connection-opened':
      return { ...line, ...base, channel: protocolOf(line.service, plan) === 'FTP' ? 'ftp-control' : 'stream' };
    case 'connection-closed':
      return { ...line, ...base };
    case 'connection-denied': {
      const { target, ...denied } = withUnserved(line, plan);
      const { reason, spiffeId, service } = denied;
      return { ...denied, ...base, detail: isPlans(reason) ? describeDenial(reason, { identity: spiffeId ?? '', target: service ?? target }) : (details[reason] ?? 'the gateway let nothing out') };
    }
  }
}

type DeniedLine = Extract<LogLine, { readonly type: 'connection-denied' }>;

/** What no gateway can serve is in no data group: whoever asks for it is told that, not that there is no such service. */
function withUnserved(line: DeniedLine, { servicePorts }: Plan): DeniedLine {
  const asked = line.service === null ? servicePorts.find(({ gateway, serverNames }) => gateway === '' && serverNames.includes(line.target)) : undefined;
  return asked === undefined ? line : { ...line, service: asked.id, reason: line.reason === 'no-such-service' ? 'no-gateway' : line.reason };
}

function protocolOf(service: string, { servicePorts }: Plan): ServedProtocol | undefined {
  return servicePorts.find(({ id }) => id === service)?.protocol;
}

const isPlans = (reason: DenyReason | ConnectionReason): reason is DenyReason => denyReasons.some((each) => each === reason);

const details: Partial<Readonly<Record<ConnectionReason, string>>> = {
  'certificate-expired': "the client's certificate has expired",
  'certificate-invalid': "the client's certificate is no X509-SVID",
  'certificate-missing': 'the client showed no certificate',
  'certificate-not-yet-valid': "the client's certificate is not yet valid",
  'certificate-revoked': "the client's certificate is revoked",
  'certificate-untrusted': "the client's certificate leads to no authority of the trust bundle",
  'client-closed': 'the client closed the connection before the target was reached',
  'connect-failed': 'no target could be reached',
  'handshake-failed': 'the connection ended before the TLS handshake was done',
};

function parseObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function describeFault({ issues: [issue] }: z.ZodError): string {
  const field = issue?.path.join('.') ?? '';
  return field === 'type' ? 'has a message id that is none of the log' : `has no good ${field}`;
}

const refuse = (reason: string): LineReading => ({ ok: false, reason });
