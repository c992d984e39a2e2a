import assert from 'node:assert/strict';
import { create, toBinary } from '@bufbuild/protobuf';
import { judge, type HttpAnswer, type Verdict } from '../../../src/control/ledger-export/otlp-answer.ts';
import { StatusSchema } from '../../../src/proto/google/rpc/status_pb.ts';
import { ExportLogsServiceResponseSchema } from '../../../src/proto/opentelemetry/proto/collector/logs/v1/logs_service_pb.ts';

const now = Date.parse('2026-11-21T12:00:00Z');
const protobuf = 'application/x-protobuf';
const partly = toBinary(ExportLogsServiceResponseSchema, create(ExportLogsServiceResponseSchema, { partialSuccess: { rejectedLogRecords: 2n, errorMessage: 'too old' } }));
const warning = toBinary(ExportLogsServiceResponseSchema, create(ExportLogsServiceResponseSchema, { partialSuccess: { errorMessage: 'nearly too old' } }));
const said = toBinary(StatusSchema, create(StatusSchema, { code: 3, message: 'bad record' }));
const html = Buffer.from('<html>Welcome</html>');
const taken = { kind: 'taken', refused: 0, message: '' } as const;

const answers: readonly [what: string, answer: Partial<HttpAnswer> & { readonly status: number }, verdict: Verdict][] = [
  ['200', { status: 200, contentType: protobuf }, taken],
  ['200 in JSON', { status: 200, contentType: 'application/json; charset=utf-8', body: Buffer.from('{"partialSuccess":{}}') }, taken],
  ['204, which some have', { status: 204 }, taken],
  ['200 for a part', { status: 200, contentType: protobuf, body: partly }, { kind: 'taken', refused: 2, message: 'too old' }],
  ['200 for a part, in JSON', { status: 200, contentType: 'application/json', body: Buffer.from('{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}') }, { kind: 'taken', refused: 2, message: 'too old' }],
  ['200 with a warning', { status: 200, contentType: protobuf, body: warning }, { kind: 'taken', refused: 0, message: 'nearly too old' }],
  ['200 with a page', { status: 200, contentType: 'text/html', body: html }, { kind: 'not-taken', message: 'answer 200 that is not of OTLP', afterMs: 0 }],
  ['200 with a page that says it were OTLP', { status: 200, contentType: protobuf, body: html }, { kind: 'not-taken', message: 'answer 200 that is not of OTLP', afterMs: 0 }],
  ['400', { status: 400, contentType: protobuf, body: said }, { kind: 'refused', message: 'answer 400: bad record' }],
  ['400 in JSON', { status: 400, contentType: 'application/json', body: Buffer.from('{"code":3,"message":"bad record"}') }, { kind: 'refused', message: 'answer 400: bad record' }],
  ['400 with a page', { status: 400, contentType: 'text/html', body: html }, { kind: 'not-taken', message: 'answer 400', afterMs: 0 }],
  ['413, whoever says it', { status: 413, contentType: 'text/html', body: html }, { kind: 'refused', message: 'answer 413' }],
  ['401', { status: 401, contentType: protobuf, body: said }, { kind: 'not-taken', message: 'answer 401: bad record', afterMs: 0 }],
  ['404 with a page', { status: 404, contentType: 'text/html', body: html }, { kind: 'not-taken', message: 'answer 404', afterMs: 0 }],
  ['a redirection', { status: 308 }, { kind: 'not-taken', message: 'answer 308', afterMs: 0 }],
  ['500', { status: 500, contentType: protobuf, body: said, retryAfter: '7' }, { kind: 'not-taken', message: 'answer 500: bad record', afterMs: 0 }],
  ['429 with seconds', { status: 429, retryAfter: '7' }, { kind: 'not-taken', message: 'answer 429', afterMs: 7_000 }],
  ['503 with a date', { status: 503, retryAfter: 'Sat, 21 Nov 2026 12:00:30 GMT' }, { kind: 'not-taken', message: 'answer 503', afterMs: 30_000 }],
  ['503 with a date that is over', { status: 503, retryAfter: 'Sat, 21 Nov 2026 11:00:00 GMT' }, { kind: 'not-taken', message: 'answer 503', afterMs: 0 }],
  ['502 with nonsense', { status: 502, retryAfter: 'soon' }, { kind: 'not-taken', message: 'answer 502', afterMs: 0 }],
  ['504 with a year', { status: 504, retryAfter: '31536000' }, { kind: 'not-taken', message: 'answer 504', afterMs: 3_600_000 }],
];

describe("a collector's answer", () => {
  for (const [what, answer, verdict] of answers) {
    it(`${what}, means ${verdict.kind}`, () => {
      assert.deepEqual(judge({ contentType: '', retryAfter: undefined, body: Buffer.alloc(0), ...answer }, now), verdict);
    });
  }
});
