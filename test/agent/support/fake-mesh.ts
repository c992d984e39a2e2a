/** A control plane with xDS, and gateways: what an agent talks to, real but small. */
import { create, toBinary } from '@bufbuild/protobuf';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { createServer as createTlsServer, type Server, type TLSSocket } from 'node:tls';
import { typeUrls } from '../../../src/api/type-urls.ts';
import { SecretSchema } from '../../../src/proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { AgentUpstreamSchema } from '../../../src/proto/sallyport/v1alpha1/table_pb.ts';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { createResource, createSnapshot, createSnapshotCache, createXdsServer, type Resource } from '../../../src/xds/index.ts';
import { startFakeControlPlane, type FakeControlPlane, type FakeControlPlaneOptions } from '../../identity/support/fake-control-plane.ts';
import type { OpensslCa } from '../../identity/support/openssl-ca.ts';

export const gatewayId = 'spiffe://cluster.local/ns/sallyport-system/sa/gateway';

export interface FakeMesh extends FakeControlPlane {
  /** What the agent of `workloadId` is to hold from now on. */
  publish(upstreams: Readonly<Record<string, MessageInitShape<typeof AgentUpstreamSchema>>>, trustBundlePem?: string): void;
  /** Why the agent has rejected what it holds not, if it has. */
  rejection(): string | undefined;
}

export async function startFakeMesh(workloadId: string, options: FakeControlPlaneOptions): Promise<FakeMesh> {
  const cache = createSnapshotCache();
  const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
  const xds = createXdsServer({ cache, authenticate: () => ({ nodeKey: workloadId }), now: Date.now, log: silent });
  const control = await startFakeControlPlane({ ...options, extend: (server) => server.addService(xds.service, xds.handlers) });
  let revision = 0;
  return {
    ...control,
    publish(upstreams, trustBundlePem = options.ca.rootPem) {
      const resources: Resource[] = Object.entries(upstreams).map(([id, upstream]) => {
        const [namespace = '', name = '', portName = ''] = id.split(/[/:]/);
        const message = create(AgentUpstreamSchema, { ...upstream, namespace, name, portName });
        return createResource({ name: id, typeUrl: typeUrls.agentUpstream, value: toBinary(AgentUpstreamSchema, message) });
      });
      const secret = create(SecretSchema, {
        name: 'ROOTCA',
        type: { case: 'validationContext', value: { trustedCa: { specifier: { case: 'inlineBytes', value: Buffer.from(trustBundlePem) } } } },
      });
      resources.push(createResource({ name: 'ROOTCA', typeUrl: typeUrls.secret, value: toBinary(SecretSchema, secret) }));
      cache.setSnapshot(workloadId, createSnapshot(String((revision += 1)), resources));
    },
    rejection: () => cache.status().flatMap(({ streams }) => streams).flatMap(({ types }) => types).find(({ state }) => state === 'NACKED')?.lastError?.message,
    stop() {
      xds.close();
      control.stop();
    },
  };
}

export interface FakeGateway {
  readonly port: number;
  /** Connections whose TLS was complete from the gateway's side, with the bytes that came. */
  readonly seen: readonly { readonly serverName: string | false | null; readonly bytes: number }[];
  /** Connections that are there. */
  readonly open: number;
  /** Resets every connection. */
  reset(): void;
  stop(): void;
}

/** A gateway that requires a certificate and hands each connection to `serve`. */
export async function startFakeGateway(ca: OpensslCa, serve: (socket: TLSSocket) => void, { id = gatewayId, port = 0, maxVersion = 'TLSv1.3' as const }: { id?: string; port?: number; maxVersion?: 'TLSv1.2' | 'TLSv1.3' } = {}): Promise<FakeGateway> {
  const { certificateChainPem, privateKeyPem } = await ca.issue(id);
  const seen: { serverName: string | false | null; bytes: number }[] = [];
  const carriers = new Set<Socket>();
  const secure: Server = createTlsServer({ cert: certificateChainPem, key: privateKeyPem, ca: ca.rootPem, requestCert: true, rejectUnauthorized: true, allowHalfOpen: true, maxVersion }, (socket) => {
    const entry = { serverName: socket.servername, bytes: 0 };
    seen.push(entry);
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => void (entry.bytes += chunk.length));
    serve(socket);
  });
  secure.on('tlsClientError', () => undefined);
  const server = createTcpServer({ allowHalfOpen: true }, (carrier) => {
    carriers.add(carrier);
    carrier.on('error', () => undefined);
    carrier.on('close', () => carriers.delete(carrier));
    secure.emit('connection', carrier);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    get open() {
      return carriers.size;
    },
    reset() {
      for (const carrier of carriers) carrier.resetAndDestroy();
    },
    stop() {
      server.close();
      for (const carrier of carriers) carrier.destroy();
    },
  };
}

/** The message of an upstream, as a control plane would send it; `publish` fills in its name. */
export function upstreamMessage(listenPort: number, gatewayPorts: readonly number[], { serverIdentities = [gatewayId], protocol = 'TCP', serverName = 'outbound_.9000_._.echo.bookinfo.svc.cluster.local', listenAddress = '127.0.0.1' }: { serverIdentities?: string[]; protocol?: string; serverName?: string; listenAddress?: string } = {}): MessageInitShape<typeof AgentUpstreamSchema> {
  return { protocol, serverName, serverIdentities, listen: { address: listenAddress, port: listenPort }, gateways: gatewayPorts.map((port) => ({ address: '127.0.0.1', port })) };
}
