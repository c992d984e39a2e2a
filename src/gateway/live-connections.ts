/** The connections that are alive, indexed by what can end them: a changed service port, a revoked or expired certificate. */
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { ServicePort, ServicePortId } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { VerifiedPeer } from './peer.ts';
import type { AllowedDecision, ProtocolSession } from './protocol.ts';
import type { ServiceDial } from './service-dial.ts';

export interface LiveConnection {
  readonly servicePort: ServicePort;
  readonly grant: AllowedDecision['grant'];
  readonly peer: VerifiedPeer;
  readonly session: ProtocolSession;
  readonly keepsTo: ServiceDial['keepsTo'];
}

export interface LiveConnections {
  readonly size: number;
  add(connection: LiveConnection): void;
  remove(connection: LiveConnection): void;
  /** The connections to a service port, by identity: one decision settles all of an identity's. */
  toServicePort(id: ServicePortId): Iterable<readonly [SpiffeId, Iterable<LiveConnection>]>;
  /** Ends those whose certificate `isRevoked`. Looks at each certificate once, not at each connection. */
  endRevoked(isRevoked: (serialNumber: string) => boolean): void;
  endAll(reason: ConnectionReason): void;
}

interface Certificate {
  readonly connections: Set<LiveConnection>;
  timer: NodeJS.Timeout | undefined;
}

/** The wall clock may be set, so a long wait looks at it now and then. */
const expiryCheckMs = 60_000;

export function createLiveConnections(now: () => number): LiveConnections {
  let size = 0;
  const byServicePort = new Map<ServicePortId, Map<SpiffeId, Set<LiveConnection>>>();
  const byCertificate = new Map<string, Certificate>();

  function endEach(connections: Iterable<LiveConnection>, reason: ConnectionReason): void {
    for (const { session } of [...connections]) session.end(reason);
  }

  function awaitExpiry(certificate: Certificate, notAfterMs: number): void {
    const leftMs = notAfterMs - now();
    if (leftMs < 0) endEach(certificate.connections, 'certificate-expired');
    else certificate.timer = setTimeout(() => awaitExpiry(certificate, notAfterMs), Math.min(leftMs + 1, expiryCheckMs));
  }

  return {
    get size() {
      return size;
    },
    add(connection) {
      const { servicePort, peer } = connection;
      size += 1;
      const identities = getOrAdd(byServicePort, servicePort.id, () => new Map<SpiffeId, Set<LiveConnection>>());
      getOrAdd(identities, peer.spiffeId, () => new Set<LiveConnection>()).add(connection);
      const certificate = byCertificate.get(peer.serialNumber) ?? { connections: new Set(), timer: undefined };
      certificate.connections.add(connection);
      if (!byCertificate.has(peer.serialNumber)) {
        byCertificate.set(peer.serialNumber, certificate);
        awaitExpiry(certificate, peer.notAfterMs);
      }
    },
    remove(connection) {
      const { servicePort, peer } = connection;
      const identities = byServicePort.get(servicePort.id);
      const connections = identities?.get(peer.spiffeId);
      if (identities === undefined || connections?.delete(connection) !== true) return;
      size -= 1;
      if (connections.size === 0) identities.delete(peer.spiffeId);
      if (identities.size === 0) byServicePort.delete(servicePort.id);
      const certificate = byCertificate.get(peer.serialNumber);
      certificate?.connections.delete(connection);
      if (certificate?.connections.size === 0) {
        clearTimeout(certificate.timer);
        byCertificate.delete(peer.serialNumber);
      }
    },
    toServicePort: (id) => byServicePort.get(id) ?? [],
    endRevoked(isRevoked) {
      for (const [serialNumber, { connections }] of byCertificate) if (isRevoked(serialNumber)) endEach(connections, 'certificate-revoked');
    },
    endAll(reason) {
      for (const { connections } of byCertificate.values()) endEach(connections, reason);
    },
  };
}

function getOrAdd<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
