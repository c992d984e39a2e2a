/** Logs as OTLP has them, https://opentelemetry.io/docs/specs/otlp/ */
import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import type { OtlpLog, OtlpValue } from '../../core/otlp-log.ts';
import { ExportLogsServiceRequestSchema } from '../../proto/opentelemetry/proto/collector/logs/v1/logs_service_pb.ts';
import type { AnyValueSchema, KeyValueSchema } from '../../proto/opentelemetry/proto/common/v1/common_pb.ts';
import { SeverityNumber, type LogRecordSchema } from '../../proto/opentelemetry/proto/logs/v1/logs_pb.ts';

/** Whose logs these are. */
export interface OtlpSource {
  /** Of the resource, such as `service.name`. */
  readonly resource: Readonly<Record<string, OtlpValue>>;
  readonly scope: { readonly name: string; readonly version: string };
}

/** An `ExportLogsServiceRequest`. */
export function encodeLogs({ resource, scope }: OtlpSource, logs: readonly OtlpLog[]): Uint8Array {
  return toBinary(
    ExportLogsServiceRequestSchema,
    create(ExportLogsServiceRequestSchema, { resourceLogs: [{ resource: { attributes: keyValues(resource) }, scopeLogs: [{ scope, logRecords: logs.map(logRecord) }] }] }),
  );
}

const severityNumbers: Readonly<Record<OtlpLog['severity'], SeverityNumber>> = { DEBUG: SeverityNumber.DEBUG, INFO: SeverityNumber.INFO, WARN: SeverityNumber.WARN };

function logRecord({ timeMs, severity, eventName, body, attributes }: OtlpLog): MessageInitShape<typeof LogRecordSchema> {
  const timeUnixNano = BigInt(timeMs) * 1_000_000n;
  // When it was observed is, of an event of one's own, when it was.
  return { timeUnixNano, observedTimeUnixNano: timeUnixNano, severityNumber: severityNumbers[severity], severityText: severity, eventName, body: anyValue(body), attributes: keyValues(attributes) };
}

function keyValues(attributes: Readonly<Record<string, OtlpValue>>): MessageInitShape<typeof KeyValueSchema>[] {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }));
}

function anyValue(value: OtlpValue): MessageInitShape<typeof AnyValueSchema> {
  switch (typeof value) {
    case 'string':
      return { value: { case: 'stringValue', value } };
    case 'boolean':
      return { value: { case: 'boolValue', value } };
    case 'number':
      return { value: Number.isSafeInteger(value) ? { case: 'intValue', value: BigInt(value) } : { case: 'doubleValue', value } };
    default:
      return { value: { case: 'arrayValue', value: { values: value.map(anyValue) } } };
  }
}
