/** As much of a control plane as Envoy needs: our xDS server and gRPC server on loopback, over mTLS, and a taker of access logs. */
import type { ServerReadableStream, sendUnaryData } from '@grpc/grpc-js';
import { create } from '@bufbuild/protobuf';
import type { JsonValue } from '@bufbuild/protobuf';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { createServer } from 'node:tls';
import { grpcServiceDefinition } from '../../../src/api/grpc-service.ts';
import { encodeResource, renderEnvoyBootstrap, renderSvidSecret, renderTrustBundleSecret, type EnvoyResource } from '../../../src/backends/envoy/index.ts';
import type { SpiffeId } from '../../../src/core/spiffe-id.ts';
import { createGrpcServer } from '../../../src/grpc/index.ts';
import type { TCPAccessLogEntry } from '../../../src/proto/envoy/data/accesslog/v3/accesslog_pb.ts';
import { AccessLogService, StreamAccessLogsResponseSchema, type StreamAccessLogsMessage, type StreamAccessLogsResponse } from '../../../src/proto/envoy/service/accesslog/v3/als_pb.ts';
import { createResource, createSnapshot, createSnapshotCache, createXdsServer } from '../../../src/xds/index.ts';
import { writeSecretFiles } from '../../support/envoy.ts';
import { spiffeIdOf, until } from '../../support/gateway.ts';
import type { Issued, Pki } from '../../support/pki.ts';

export interface TestControlPlane {
  /** What Envoys have logged. */
  readonly entries: TCPAccessLogEntry[];
  readonly port: number;
  /** What an Envoy of this identity is started with; its files lie beside the socket. */
  bootstrap(identity: Issued, adminSocketPath: string): JsonValue;
  /** Makes these, with the identity's secrets, what the Envoy of this identity holds. */
  publish(identity: Issued, resources: readonly EnvoyResource[]): void;
  /** Resolves when that Envoy has acknowledged everything that was published; throws where it rejects something. */
  settled(identity: Issued): Promise<void>;
  stop(): void;
}

export const controlIdentity = spiffeIdOf('sallyport-system', 'control');

export async function startControlPlane(pki: Pki): Promise<TestControlPlane> {
  const own = pki.issue(controlIdentity);
  const cache = createSnapshotCache();
  const entries: TCPAccessLogEntry[] = [];
  const ignore = (): void => undefined;
  const xds = createXdsServer({ cache, authenticate: () => ({ nodeKey: (nodeId) => nodeId, nodeId: () => true }), now: Date.now, log: { info: ignore, warn: ignore } });
  const grpc = createGrpcServer();
  grpc.addService(xds.service, xds.handlers);
  grpc.addService(grpcServiceDefinition(AccessLogService), {
    streamAccessLogs(call: ServerReadableStream<StreamAccessLogsMessage, StreamAccessLogsResponse>, callback: sendUnaryData<StreamAccessLogsResponse>) {
      call.on('data', ({ logEntries }: StreamAccessLogsMessage) => {
        if (logEntries.case === 'tcpLogs') entries.push(...logEntries.value.logEntry);
      });
      call.on('end', () => callback(null, create(StreamAccessLogsResponseSchema)));
    },
  });
  const server = createServer({ cert: own.certificateChainPem, key: own.privateKeyPem, ca: pki.rootPem, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', ignore); // an Envoy that is killed
    grpc.injectConnection(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const versions = new Map<SpiffeId, number>();

  return {
    entries,
    port,
    bootstrap: (identity, adminSocketPath) =>
      renderEnvoyBootstrap({ nodeId: identity.spiffeId, controlPlane: { host: '127.0.0.1', port }, controlIdentity, identity: writeSecretFiles(dirname(adminSocketPath), identity), admin: { socketPath: adminSocketPath } }),
    publish(identity, resources) {
      const version = (versions.get(identity.spiffeId) ?? 0) + 1;
      versions.set(identity.spiffeId, version);
      const all = [...resources, renderSvidSecret(identity), renderTrustBundleSecret(identity)].map((resource) => createResource({ name: resource.name, typeUrl: resource.typeUrl, value: encodeResource(resource) }));
      cache.setSnapshot(identity.spiffeId, createSnapshot(String(version), all, cache.getSnapshot(identity.spiffeId)));
    },
    async settled({ spiffeId }) {
      const types = () => cache.status().find(({ nodeKey }) => nodeKey === spiffeId)?.streams.flatMap((stream) => stream.types) ?? [];
      const rejected = () => types().find(({ state }) => state === 'NACKED');
      await until(() => rejected() !== undefined || (types().length >= 2 && types().every(({ state }) => state === 'SYNCED')), () => JSON.stringify(types(), undefined, 1), 10_000);
      const rejection = rejected()?.lastError;
      if (rejection !== undefined) throw new Error(`envoy rejects ${rejection.resources.join(', ')}: ${rejection.message}`);
    },
    stop() {
      server.close();
      xds.close();
      void grpc.close(0);
    },
  };
}
