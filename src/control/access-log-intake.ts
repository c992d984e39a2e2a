/**
 * Takes the access log of Envoys that are gateways (gRPC Access Log Service) into the ledger. A gateway speaks for itself only:
 * which one it is follows from its certificate. Envoy is told nothing back, and keeps what it logs for half a minute while the
 * control plane is away (docs/decisions/0614).
 */
import { create } from '@bufbuild/protobuf';
import type { sendUnaryData, ServerReadableStream } from '@grpc/grpc-js';
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import { grpcServiceDefinition, grpcStatusOf } from '../api/grpc-service.ts';
import { accessLogName, ledgerRecordOf } from '../backends/envoy/index.ts';
import { SallyportError } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Plan } from '../core/plan/plan.ts';
import { AccessLogService, StreamAccessLogsResponseSchema, type StreamAccessLogsMessage, type StreamAccessLogsResponse } from '../proto/envoy/service/accesslog/v3/als_pb.ts';
import type { Ledger } from '../store/index.ts';
import type { MeshPeer, MeshService } from './mesh-listener.ts';

type LogStream = ServerReadableStream<StreamAccessLogsMessage, StreamAccessLogsResponse>;

export interface AccessLogIntakeOptions {
  readonly ledger: Pick<Ledger, 'append'>;
  readonly authenticate: (call: LogStream) => MeshPeer;
  readonly plan: () => Plan;
  readonly isRevoked: (serialNumber: string) => boolean;
  /** Whether a record may still be written, of those that strangers can cause. */
  readonly isTaken: (record: LedgerRecord) => boolean;
  readonly log: Logger;
}

export function createAccessLogIntake({ ledger, authenticate, plan, isRevoked, isTaken, log }: AccessLogIntakeOptions): MeshService {
  async function take(stream: LogStream): Promise<void> {
    const { spiffeId } = authenticate(stream);
    for await (const { identifier, logEntries } of stream as AsyncIterable<StreamAccessLogsMessage>) {
      const gateway = plan().gateways.find(({ identity }) => identity === spiffeId);
      if (gateway?.class !== 'envoy') throw new SallyportError('attestation-failed', `${spiffeId} is not the identity of a gateway of class envoy`, { hint: 'apply its EgressGateway' });
      if (identifier !== undefined && identifier.logName !== accessLogName) throw new SallyportError('request-invalid', `${JSON.stringify(identifier.logName.slice(0, 64))} is not a log that is taken here`);
      const entries = logEntries.case === 'tcpLogs' ? logEntries.value.logEntry : [];
      const records = entries.flatMap((entry) => ledgerRecordOf(entry, { origin: gateway.name, plan: plan(), isRevoked, newId: randomUUID }) ?? []);
      // The next batch is read when this one is durable: a ledger that is slow slows Envoy's stream down, and no memory is filled.
      await Promise.all(records.filter(isTaken).map((record) => ledger.append(record)));
    }
  }

  return {
    definition: grpcServiceDefinition(AccessLogService),
    handlers: {
      streamAccessLogs(stream: LogStream, callback: sendUnaryData<StreamAccessLogsResponse>) {
        take(stream).then(
          () => callback(null, create(StreamAccessLogsResponseSchema)),
          (error: unknown) => {
            if (stream.cancelled) return;
            log.warn({ err: error }, 'access log stream ended');
            callback(grpcStatusOf(error));
          },
        );
      },
    },
  };
}
