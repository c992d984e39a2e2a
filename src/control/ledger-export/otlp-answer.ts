/**
 * What a collector's answer means for the records that it was sent, https://opentelemetry.io/docs/specs/otlp/#otlphttp-response. Only who
 * speaks OTLP says what becomes of them: a page of a proxy, or of something else that was taken for a collector, does not.
 */
import { fromBinary, fromJsonString, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { StatusSchema } from '../../proto/google/rpc/status_pb.ts';
import { ExportLogsServiceResponseSchema } from '../../proto/opentelemetry/proto/collector/logs/v1/logs_service_pb.ts';

export interface HttpAnswer {
  readonly status: number;
  /** Empty where there is none. */
  readonly contentType: string;
  readonly retryAfter: string | undefined;
  readonly body: Uint8Array;
}

export type Verdict =
  /** It has them, but for `refused` of them: which ones it does not say. */
  | { readonly kind: 'taken'; readonly refused: number; readonly message: string }
  /** For what they are: it would not have them another time either. */
  | { readonly kind: 'refused'; readonly message: string }
  /** It has none of them; the same may be sent again, not before `afterMs`. */
  | { readonly kind: 'not-taken'; readonly message: string; readonly afterMs: number };

/** Longer would not be believed. */
const retryAfterMsMax = 3_600_000;

export function judge(answer: HttpAnswer, nowMs: number): Verdict {
  const { status } = answer;
  if (status >= 200 && status < 300) {
    const said = answer.body.length === 0 ? undefined : decode(ExportLogsServiceResponseSchema, answer);
    if (said === null) return { kind: 'not-taken', message: `answer ${status} that is not of OTLP`, afterMs: 0 };
    const { rejectedLogRecords = 0n, errorMessage = '' } = said?.partialSuccess ?? {};
    return { kind: 'taken', refused: Number(rejectedLogRecords), message: errorMessage };
  }
  const said = decode(StatusSchema, answer);
  const message = `answer ${status}${said === null || said.message === '' ? '' : `: ${said.message}`}`;
  // 413 whoever says it: of a smaller request also a proxy may think better.
  if (status === 413 || (status === 400 && said !== null)) return { kind: 'refused', message };
  return { kind: 'not-taken', message, afterMs: [429, 502, 503, 504].includes(status) ? afterMsOf(answer.retryAfter, nowMs) : 0 };
}

/** Null for what is not such a message. */
function decode<Schema extends DescMessage>(schema: Schema, { contentType, body }: HttpAnswer): MessageShape<Schema> | null {
  const [type = ''] = contentType.toLowerCase().split(';');
  try {
    if (type.trim() === 'application/x-protobuf') return fromBinary(schema, body);
    if (type.trim() === 'application/json') return fromJsonString(schema, Buffer.from(body).toString(), { ignoreUnknownFields: true });
  } catch {
    // said to be one, and is not
  }
  return null;
}

/** In seconds, or a date, https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3 */
function afterMsOf(text: string | undefined, nowMs: number): number {
  const ms = text === undefined ? 0 : /^[0-9]+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - nowMs;
  return ms > 0 ? Math.min(ms, retryAfterMsMax) : 0;
}
