/** Carries the spool to the control plane's ledger, for as long as the process runs: at least once, in order, one batch at a time. */
import { create } from '@bufbuild/protobuf';
import { Client, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { errorOfGrpc, grpcMethodDefinition } from '../api/grpc-service.ts';
import { backOffMs } from '../core/back-off.ts';
import { SallyportError } from '../core/errors.ts';
import { LedgerBatchSchema, LedgerService, type LedgerAcknowledgement, type LedgerBatch } from '../proto/sallyport/v1alpha1/ledger_pb.ts';
import type { Spool } from '../store/index.ts';
import type { DeltaEndpoint } from '../xds/index.ts';

export interface LedgerShipperOptions {
  readonly spool: Spool;
  /** Asked before each attempt; may throw. */
  readonly connect: () => DeltaEndpoint;
  readonly random: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export interface LedgerShipper {
  /** Everything up to here is in the ledger. */
  readonly acknowledged: number;
  /** Waits up to `deliveryMs` for what is under way while the control plane takes it. */
  close(deliveryMs: number): Promise<void>;
}

const batchRecordsMax = 512;
/** Records wait this long for company. They are durable in the spool by then, and a batch costs both ends the same whatever it holds. */
const gatherMs = 250;
const acknowledgementTimeoutMs = 30_000;
const backoffFirstMs = 250;
const backoffMaxMs = 10_000;

export function startLedgerShipper({ spool, connect, random, log }: LedgerShipperOptions): LedgerShipper {
  const closing = new AbortController();
  const { signal } = closing;
  let acknowledged = 0;
  let failures = 0;
  let onAcknowledged = (): void => undefined;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await ship();
      } catch (error) {
        if (isAborted()) return;
        const delayMs = backOffMs({ baseMs: backoffFirstMs, maxMs: backoffMaxMs }, failures, random());
        failures = Math.min(failures + 1, 30);
        log.warn({ err: error, retryInMs: Math.round(delayMs), waiting: spool.lastSequence - acknowledged }, 'ledger records cannot be delivered');
        await pause(delayMs, signal);
      }
    }
  }

  const isAborted = (): boolean => signal.aborted;

  /** One stream, until it fails or the gateway stops. */
  async function ship(): Promise<void> {
    await spool.reached(acknowledged + 1, signal); // nothing to say: no stream to hold
    if (isAborted()) return;
    const { address, credentials, options } = connect();
    const client = new Client(address, credentials, options);
    const { path, requestSerialize, responseDeserialize } = grpcMethodDefinition(LedgerService.method.append);
    const stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    const over = endOf(stream);
    const either = AbortSignal.any([signal, over]);
    try {
      for (;;) {
        await spool.reached(acknowledged + 1, either);
        await spool.reached(acknowledged + batchRecordsMax, AbortSignal.any([either, AbortSignal.timeout(gatherMs)]));
        either.throwIfAborted();
        const { firstSequence, records } = await spool.pending(acknowledged + 1, batchRecordsMax);
        if (records.length === 0) continue;
        const batch = create(LedgerBatchSchema, { spool: spool.id, firstSequence: BigInt(firstSequence), records: [...records] });
        acknowledged = await exchange(stream, batch, either);
        failures = 0;
        await spool.acknowledge(acknowledged);
        onAcknowledged();
      }
    } finally {
      stream.cancel();
      client.close();
    }
  }

  const running = run();
  return {
    get acknowledged() {
      return acknowledged;
    },
    async close(deliveryMs) {
      const timer = setTimeout(() => closing.abort(), failures > 0 ? 0 : deliveryMs);
      const { lastSequence } = spool;
      onAcknowledged = () => {
        if (acknowledged >= lastSequence) closing.abort();
      };
      onAcknowledged();
      await running;
      clearTimeout(timer);
    },
  };
}

/** Fires when the stream is over, whenever that is, with the reason. */
function endOf(stream: ClientDuplexStream<LedgerBatch, LedgerAcknowledgement>): AbortSignal {
  const over = new AbortController();
  stream.on('error', (error: ServiceError) => over.abort(errorOfGrpc(error, 'delivering ledger records')));
  stream.on('end', () => over.abort(new SallyportError('unavailable', 'the control plane ended the stream of ledger records')));
  stream.resume(); // else its end is not seen
  return over.signal;
}

/** Sends a batch and waits for the acknowledgement of its last record, or of as much as the control plane took. */
function exchange(stream: ClientDuplexStream<LedgerBatch, LedgerAcknowledgement>, batch: LedgerBatch, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer);
      stream.off('data', onData);
      signal.removeEventListener('abort', onAbort);
    };
    const fail = (error: unknown): void => {
      settle();
      reject(error instanceof Error ? error : new Error('aborted', { cause: error }));
    };
    const onData = ({ spool, sequence }: LedgerAcknowledgement): void => {
      if (spool !== batch.spool) return;
      settle();
      resolve(Number(sequence));
    };
    const onAbort = (): void => fail(signal.reason);
    const timer = setTimeout(() => fail(new SallyportError('timeout', `the control plane did not acknowledge ledger records within ${acknowledgementTimeoutMs} ms`)), acknowledgementTimeoutMs);
    stream.on('data', onData);
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort(); // while the batch was being read: no event follows
    else stream.write(batch);
  });
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal.addEventListener('abort', end);
  });
}
