/**
 * The port that workloads and gateways speak to: gRPC over TLS 1.3 on one port. A client certificate is asked for and
 * not demanded, since who enrols has none yet; every other service begins with `peerOf`, which knows verified peers only.
 *
 * TLS is ended here, because the credentials of grpc-js can neither ask for a certificate without demanding it, nor take a
 * trust anchor that is not self-signed.
 */
import type { ServerUnaryCall, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { AddressInfo } from 'node:net';
import { createServer, type PeerCertificate, type TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { SallyportError } from '../core/errors.ts';
import { createGrpcServer, type GrpcConnection } from '../grpc/index.ts';
import { trustDomainOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { parseMeshCertificate, type LeafPurpose, type MeshCertificate, type MeshCertificateParse, type X509Svid } from '../core/x509/x509-svid.ts';
import type { ControlIdentity } from './control-identity.ts';
import { listening } from './listening.ts';

export interface MeshService {
  readonly definition: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
}

export interface MeshListener {
  readonly port: number;
  /** Takes a renewed certificate or a changed trust bundle; connections that are open stay. */
  setIdentity(identity: ControlIdentity): void;
  close(): Promise<void>;
}

export interface MeshListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: ControlIdentity;
  readonly services: readonly MeshService[];
  /** Default: 10 s. */
  readonly handshakeTimeoutMs?: number;
  readonly log: Logger;
}

const connectionsMax = 20_000;
const closeTimeoutMs = 2_000;

export async function listenForMesh({ host, port, identity, services, handshakeTimeoutMs = 10_000, log }: MeshListenerOptions): Promise<MeshListener> {
  const grpc = createGrpcServer({ onError: (error) => log.error({ err: error }, 'a gRPC handler failed') });
  for (const { definition, handlers } of services) grpc.addService(definition, handlers);

  const server = createServer({ ...tlsOptions(identity), requestCert: true, rejectUnauthorized: false, ALPNProtocols: ['h2'], handshakeTimeout: handshakeTimeoutMs });
  server.maxConnections = connectionsMax;
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', (error) => log.debug({ err: error }, 'mesh connection failed'));
    const connection = grpc.injectConnection(socket);
    const certificate = connection?.authContext().sslPeerCertificate;
    if (connection !== undefined && certificate !== undefined) connections.set(certificate, connection);
  });
  server.on('tlsClientError', (error, socket) => {
    log.debug({ err: error, client: socket.remoteAddress }, 'mesh handshake failed');
    socket.destroy(); // one that is only late Node tells of, and leaves open
  });
  await listening(server, `${host}:${port}`, () => server.listen({ host, port }));

  return {
    port: (server.address() as AddressInfo).port,
    setIdentity: (next) => server.setSecureContext(tlsOptions(next)),
    async close() {
      server.close();
      await grpc.close(closeTimeoutMs);
    },
  };
}

function tlsOptions({ certificateChainPem, privateKeyPem, trustBundlePem }: ControlIdentity) {
  return { cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem, minVersion: 'TLSv1.3', allowPartialTrustChain: true } as const;
}

/** A caller whose certificate TLS has verified against the trust bundle. */
export interface MeshPeer {
  readonly spiffeId: SpiffeId;
  readonly serialNumber: string;
  readonly purpose: LeafPurpose;
}

/** What a certificate was shown on. */
const connections = new WeakMap<PeerCertificate, GrpcConnection>();
/** What a connection's certificate proves, read once. */
const peers = new WeakMap<PeerCertificate, MeshCertificateParse>();

/** What a caller must be, beside verified. */
export interface MeshAdmission {
  readonly trustDomain: TrustDomain;
  readonly isRevoked: (svid: X509Svid) => boolean;
  readonly now: () => number;
}

/**
 * Who calls. Throws `attestation-failed` for whoever shows no verified SVID or proxy certificate of this trust domain that is still valid, `identity-revoked` for a revoked one.
 * A connection whose certificate was good once and is no more ends with that, so that a client which has a new one, and would go on
 * calling over a connection that is there, shows the new one.
 */
export function peerOf(call: Pick<ServerUnaryCall<unknown, unknown>, 'getAuthContext'>, admission: MeshAdmission): MeshPeer {
  const { svid: { spiffeId, serialNumber }, purpose } = certificateOf(call, admission);
  return { spiffeId, serialNumber, purpose };
}

/** What the certificate of a caller says; throws as `peerOf` does. */
export function certificateOf(call: Parameters<typeof peerOf>[0], { trustDomain, isRevoked, now }: MeshAdmission): MeshCertificate {
  // There is none where TLS did not accept it.
  const certificate = call.getAuthContext().sslPeerCertificate;
  if (certificate === undefined) throw new SallyportError('attestation-failed', 'no client certificate that the trust bundle verifies', { hint: 'enrol first, with a token' });
  const parsed = peers.get(certificate) ?? parseMeshCertificate(certificate.raw);
  peers.set(certificate, parsed);
  if (!parsed.ok) throw new SallyportError('attestation-failed', `the client certificate is not an X509-SVID: ${parsed.detail}`);
  const { spiffeId, serialNumber, notAfterMs } = parsed.svid;
  if (trustDomainOf(spiffeId) !== trustDomain) throw new SallyportError('attestation-failed', `${spiffeId} is not of trust domain ${trustDomain}`);
  // TLS looked at the time when the connection began; a connection may outlive its certificate.
  const isExpired = notAfterMs <= now();
  if (!isExpired && !isRevoked(parsed.svid)) return parsed;
  connections.get(certificate)?.close();
  throw isExpired
    ? new SallyportError('attestation-failed', `the certificate of ${spiffeId} has expired`, { hint: 'enrol again, with a token' })
    : new SallyportError('identity-revoked', `certificate ${serialNumber} of ${spiffeId} is revoked`, { hint: 'enrol again, with a new join token or, on Kubernetes, in a new pod' });
}

/** Whether a caller is one of `administrators`, by an SVID: a proxy certificate opens what proxies need, and nothing else. */
export function isAdministrator(call: Parameters<typeof peerOf>[0], admission: MeshAdmission, administrators: ReadonlySet<string>): boolean {
  try {
    const { spiffeId, purpose } = peerOf(call, admission);
    return purpose === 'svid' && administrators.has(spiffeId);
  } catch (error) {
    if (error instanceof SallyportError) return false; // who it is he has not proved
    throw error;
  }
}
