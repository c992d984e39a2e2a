/** Collectors for tests: the real one, with somebody behind it who writes down what it passes on; and one that answers as it is told. */
import { fromBinary, fromJsonString, type MessageShape } from '@bufbuild/protobuf';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { findFreePorts } from '../../src/demo/processes.ts';
import { ExportLogsServiceRequestSchema } from '../../src/proto/opentelemetry/proto/collector/logs/v1/logs_service_pb.ts';
import { verifyLedger, type LedgerVerification } from '../../src/store/index.ts';
import { startServerProcess, type ServerProcess } from './server-process.ts';

type Attributes = Readonly<Record<string, string | number | bigint | boolean | readonly unknown[] | undefined>>;

/** A log record as it arrived. */
export interface ArrivedLog {
  readonly resource: Attributes;
  readonly scope: string;
  readonly timeUnixNano: bigint;
  readonly severityText: string;
  readonly eventName: string;
  readonly body: string;
  readonly attributes: Attributes;
}

type ExportRequest = MessageShape<typeof ExportLogsServiceRequestSchema>;
type KeyValues = NonNullable<ExportRequest['resourceLogs'][number]['resource']>['attributes'];

function attributesOf(keyValues: KeyValues): Attributes {
  return Object.fromEntries(keyValues.map(({ key, value }) => [key, value?.value.case === 'arrayValue' ? value.value.value.values.map((each) => each.value.value) : value?.value.value]));
}

function logsOf(request: ExportRequest): readonly ArrivedLog[] {
  return request.resourceLogs.flatMap(({ resource, scopeLogs }) =>
    scopeLogs.flatMap(({ scope, logRecords }) =>
      logRecords.map(({ timeUnixNano, severityText, eventName, body, attributes }) => ({
        resource: attributesOf(resource?.attributes ?? []),
        scope: scope?.name ?? '',
        timeUnixNano,
        severityText,
        eventName,
        body: body?.value.case === 'stringValue' ? body.value.value : '',
        attributes: attributesOf(attributes),
      })),
    ),
  );
}

/** Of the records, without the headers of segments. */
export function sequencesOf(logs: readonly ArrivedLog[]): readonly number[] {
  return logs.filter(({ eventName }) => eventName !== 'sallyport.ledger_segment').map(({ attributes }) => Number(attributes['sallyport.ledger.sequence']));
}

/** What arrived, taken as the files of a ledger: each body a line. */
export async function verifyArrived(logs: readonly ArrivedLog[]): Promise<LedgerVerification> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-arrived-'));
  const segments = new Map<number, string[]>();
  for (const { body, eventName, attributes } of logs) {
    if (eventName === 'sallyport.ledger_segment') segments.set(Number(attributes['sallyport.ledger.sequence']), [body]);
    else [...segments.values()].at(-1)?.push(body);
  }
  try {
    for (const [first, lines] of segments) await writeFile(join(directory, `ledger-${String(first).padStart(16, '0')}.jsonl`), `${lines.join('\n')}\n`);
    return await verifyLedger(directory);
  } finally {
    await rm(directory, { recursive: true });
  }
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface AnsweringCollector {
  readonly url: URL;
  /** All that it took by an answer 2xx, in the order in which it came. */
  readonly taken: readonly ArrivedLog[];
  /** How many records each request had, and when it came. */
  readonly requests: readonly { readonly logs: number; readonly headers: IncomingHttpHeaders; readonly atMs: number }[];
  close(): Promise<void>;
}

const taking: Answer = { status: 200, headers: { 'content-type': 'application/x-protobuf' } };

/** Answers what it is told to for the logs of a request; undefined: takes them; null: never says a word. */
export async function startAnsweringCollector(answer: (logs: readonly ArrivedLog[], request: number) => Answer | null | undefined, tls?: { readonly cert: string; readonly key: string }): Promise<AnsweringCollector> {
  const taken: ArrivedLog[] = [];
  const requests: { logs: number; headers: IncomingHttpHeaders; atMs: number }[] = [];
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    void (async () => {
      const logs = logsOf(fromBinary(ExportLogsServiceRequestSchema, gunzipSync(await bodyOf(request))));
      requests.push({ logs: logs.length, headers: request.headers, atMs: Date.now() });
      const told = answer(logs, requests.length);
      if (told === null) return;
      const { status, headers, body } = told ?? taking;
      if (status < 300) taken.push(...logs);
      response.writeHead(status, headers).end(body);
    })();
  };
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: new URL(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}/v1/logs`),
    taken,
    requests,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

export interface RealCollector {
  /** The base URL, as users give it. */
  readonly url: string;
  /** All that it has passed on. */
  readonly passedOn: readonly ArrivedLog[];
  /** From now on what is behind it answers so. */
  setBehind(status: number): void;
  /** How many requests what is behind it has not taken. */
  readonly notTaken: number;
  /** Begins, or begins again where it was. */
  start(program: string): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Has no queue of its own: what it has acknowledged, it has passed on. */
export async function createRealCollector(): Promise<RealCollector> {
  const passedOn: ArrivedLog[] = [];
  let behind = 200;
  let notTaken = 0;
  let running: ServerProcess | undefined;
  const sink = createServer((request, response) => {
    void (async () => {
      const logs = logsOf(fromJsonString(ExportLogsServiceRequestSchema, (await bodyOf(request)).toString(), { ignoreUnknownFields: true }));
      if (behind < 300) passedOn.push(...logs);
      else notTaken += 1;
      response.writeHead(behind, { 'content-type': 'application/json' }).end('{}');
    })();
  });
  await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
  const [port] = (await findFreePorts(1)) as [number];
  return {
    url: `http://127.0.0.1:${port}`,
    passedOn,
    setBehind(status) {
      behind = status;
    },
    get notTaken() {
      return notTaken;
    },
    async start(program) {
      const directory = await mkdtemp(join(tmpdir(), 'sallyport-collector-'));
      const exporter = { logs_endpoint: `http://127.0.0.1:${(sink.address() as AddressInfo).port}/v1/logs`, encoding: 'json', compression: 'none', sending_queue: { enabled: false }, retry_on_failure: { enabled: false } };
      const settings = { receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } }, exporters: { otlphttp: exporter }, service: { pipelines: { logs: { receivers: ['otlp'], exporters: ['otlphttp'] } } } };
      await writeFile(join(directory, 'collector.yaml'), JSON.stringify(settings)); // JSON is YAML
      running = await startServerProcess(program, ['--config', join(directory, 'collector.yaml')], { directory, ready: port });
    },
    async kill() {
      await running?.stop();
      running = undefined;
    },
    async close() {
      await running?.stop();
      sink.closeAllConnections();
      await new Promise((resolve) => sink.close(resolve));
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
