/** Takes ledger records from gateways. A gateway speaks for itself only: records name their origin, and it must be the sender. */
import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { grpcServiceDefinition, grpcStatusOf } from '../api/grpc-service.ts';
import { SallyportError } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { LedgerAcknowledgementSchema, LedgerService, type LedgerAcknowledgement, type LedgerBatch } from '../proto/sallyport/v1alpha1/ledger_pb.ts';
import type { Ledger } from '../store/index.ts';
import type { MeshPeer, MeshService } from './mesh-listener.ts';

export interface LedgerIntakeOptions {
  readonly ledger: Ledger;
  readonly authenticate: (call: ServerDuplexStream<LedgerBatch, LedgerAcknowledgement>) => MeshPeer;
  /** The name of the gateway with this identity; undefined for who is none. */
  readonly gatewayOf: (identity: SpiffeId) => string | undefined;
  readonly log: Logger;
}

const recordTypes: ReadonlySet<string> = new Set<LedgerRecord['type']>(['connection-opened', 'connection-closed', 'connection-denied', 'ftp-transfer', 'ftp-transfer-progress']);

export function createLedgerIntake({ ledger, authenticate, gatewayOf, log }: LedgerIntakeOptions): MeshService {
  async function take(stream: ServerDuplexStream<LedgerBatch, LedgerAcknowledgement>): Promise<void> {
    const { spiffeId } = authenticate(stream);
    for await (const { spool, firstSequence, records } of stream as AsyncIterable<LedgerBatch>) {
      const gateway = gatewayOf(spiffeId);
      if (gateway === undefined) throw new SallyportError('attestation-failed', `${spiffeId} is not the identity of a gateway`, { hint: 'apply its EgressGateway' });
      if (!/^[A-Za-z0-9._-]{1,64}$/.test(spool)) throw new SallyportError('request-invalid', `${JSON.stringify(spool.slice(0, 64))} is not the name of a spool`);
      const parsed = records.map((bytes) => parseRecord(bytes, gateway));
      // The sender's name is part of the spool's, so that no gateway can make another's records look like repetitions.
      const sequence = await ledger.appendFrom(`${gateway}/${spool}`, Number(firstSequence), parsed);
      const taken = stream.write(create(LedgerAcknowledgementSchema, { spool, sequence: BigInt(sequence) }));
      if (!taken) await new Promise<void>((resolve) => stream.once('drain', resolve).once('close', resolve));
    }
    stream.end();
  }

  return {
    definition: grpcServiceDefinition(LedgerService),
    handlers: {
      append(stream: ServerDuplexStream<LedgerBatch, LedgerAcknowledgement>) {
        take(stream).catch((error: unknown) => {
          if (stream.cancelled) return;
          log.warn({ err: error }, 'ledger stream ended');
          stream.emit('error', grpcStatusOf(error));
        });
      },
    },
  };
}

function parseRecord(bytes: Uint8Array, gateway: string): LedgerRecord {
  let record: Partial<LedgerRecord> | null;
  try {
    record = JSON.parse(Buffer.from(bytes).toString('utf8')) as Partial<LedgerRecord> | null;
  } catch (cause) {
    throw new SallyportError('request-invalid', 'a ledger record is not JSON', { cause });
  }
  if (record === null || typeof record !== 'object' || !recordTypes.has(record.type ?? '') || record.origin !== gateway) {
    throw new SallyportError('request-invalid', `gateway ${JSON.stringify(gateway)} sent a ledger record that it may not write`);
  }
  return record as LedgerRecord;
}
