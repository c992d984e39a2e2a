import assert from 'node:assert/strict';
import { create } from '@bufbuild/protobuf';
import { credentials, Server, ServerCredentials, type ServerDuplexStream } from '@grpc/grpc-js';
import { grpcServiceDefinition } from '../../src/api/grpc-service.ts';
import { startLedgerShipper } from '../../src/gateway/ledger-shipper.ts';
import { LedgerAcknowledgementSchema, LedgerService, type LedgerAcknowledgement, type LedgerBatch } from '../../src/proto/sallyport/v1alpha1/ledger_pb.ts';
import { openSpool } from '../../src/store/index.ts';
import { inDirectory } from '../store/support/directory.ts';
import { numberedRecord } from '../store/support/numbers.ts';
import { until } from '../support/gateway.ts';

describe('the way of records to the control plane', () => {
  it('is taken together by those that come one after the other, and none is missing', () =>
    inDirectory(async (directory) => {
      const batches: number[] = [];
      const server = new Server();
      server.addService(grpcServiceDefinition(LedgerService), {
        append: (stream: ServerDuplexStream<LedgerBatch, LedgerAcknowledgement>) => {
          stream.on('error', () => undefined); // the shipper ends by cancelling
          stream.on('data', ({ spool, firstSequence, records }: LedgerBatch) => {
            batches.push(records.length);
            stream.write(create(LedgerAcknowledgementSchema, { spool, sequence: firstSequence + BigInt(records.length - 1) }));
          });
        },
      });
      const port = await new Promise<number>((resolve, reject) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => (error === null ? resolve(bound) : reject(error))));
      const spool = await openSpool({ directory, newId: () => 'abcdefgh' });
      const log = { info: () => undefined, warn: () => undefined };
      const shipper = startLedgerShipper({ spool, connect: () => ({ address: `127.0.0.1:${port}`, credentials: credentials.createInsecure() }), random: () => 0.5, log });
      try {
        for (let number = 1; number <= 60; number++) await spool.append(numberedRecord(number));
        await until(() => shipper.acknowledged === 60);
        assert.equal(batches.reduce((sum, count) => sum + count), 60);
        assert.ok(batches.length < 10, `${batches.length} batches of ${batches.join(', ')}`);
      } finally {
        await shipper.close(0);
        await spool.close();
        server.forceShutdown();
      }
    }));
});
