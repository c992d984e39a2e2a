/**
 * The TLS side of every listener: handshakes bounded in number and time, the peer verified, one set of certificates for all.
 * A `tls.Server` that never listens: connections are handed to it (its documented `connection` event), so that listeners can come
 * and go while the certificates rotate in one place.
 */
import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { WorkloadIdentity } from '../identity/index.ts';
import { reset, setCarrier } from '../relay/reset.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import { verifyPeer, type VerifiedPeer } from './peer.ts';

/** The certificates a gateway shows and believes. */
export type TlsMaterial = Pick<WorkloadIdentity, 'certificateChainPem' | 'privateKeyPem' | 'trustBundlePem'>;

/** What becomes of a handshake: exactly one of the two is called, once. */
export interface HandshakeEvents {
  /** `client` is `address:port`. */
  verified(socket: tls.TLSSocket, peer: VerifiedPeer, client: string): void;
  /** The connection has been reset. `spiffeId` is a claim, not to be believed. */
  refused(refusal: HandshakeRefusal): void;
}

export interface HandshakeRefusal {
  readonly reason: ConnectionReason;
  readonly detail: string;
  readonly client: string;
  readonly spiffeId: SpiffeId | null;
  /** Empty where none was read. */
  readonly serverName: string;
}

export interface TlsFront {
  /** Takes over a fresh TCP connection. */
  accept(carrier: Socket, events: HandshakeEvents): void;
  /** For handshakes from now on; connections stay as they are. */
  readonly setMaterial: (material: TlsMaterial) => void;
  readonly handshakes: number;
}

export interface TlsFrontOptions {
  readonly material: TlsMaterial;
  readonly handshakeTimeoutMs: () => number;
  readonly isRevoked: (serialNumber: string) => boolean;
  readonly now: () => number;
  readonly handshakesMax?: number;
}

interface Handshake {
  readonly carrier: Socket;
  readonly client: string;
  readonly events: HandshakeEvents;
  readonly timer: NodeJS.Timeout;
}

/** A handshake costs a core about a millisecond: at this backlog the last one waits a second. */
const handshakesMaxDefault = 1_024;

export function createTlsFront({ material, handshakeTimeoutMs, isRevoked, now, handshakesMax = handshakesMaxDefault }: TlsFrontOptions): TlsFront {
  // By four-tuple, which names a connection while it lives: the server's events carry the TLS socket only.
  const handshakes = new Map<string, Handshake>();
  const server = tls.createServer({ ...contextOptions(material), requestCert: true, rejectUnauthorized: false }); // verifyPeer rejects, and says why

  server.on('secureConnection', (socket) => {
    const handshake = take(tupleOf(socket));
    if (handshake === undefined) {
      socket.destroy(); // refused in the same turn
      return;
    }
    setCarrier(socket, handshake.carrier);
    socket.on('error', ignoreError); // `close` follows
    // Node 24.21 crashes (SIGSEGV) where a connection is reset within the call that ends its handshake: that call is left first.
    setImmediate(() => settle(socket, handshake));
  });

  function settle(socket: tls.TLSSocket, { events, client }: Handshake): void {
    if (socket.destroyed) {
      events.refused({ reason: 'handshake-failed', detail: 'the client closed the connection right after the TLS handshake', client, spiffeId: null, serverName: serverNameOf(socket) });
      return;
    }
    const verification = verifyPeer(socket, { nowMs: now(), isRevoked });
    if (verification.ok) {
      events.verified(socket, verification.peer, client);
    } else {
      reset(socket);
      events.refused({ ...verification, client, serverName: serverNameOf(socket) });
    }
  }

  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    const timedOut = error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const handshake = take(tupleOf(socket));
    if (handshake !== undefined) refuse(handshake, timedOut ? 'handshake-timeout' : 'handshake-failed', `the TLS handshake failed with ${error.code ?? 'an unknown error'}`);
  });

  function take(tuple: string): Handshake | undefined {
    const handshake = handshakes.get(tuple);
    if (handshake === undefined) return undefined;
    clearTimeout(handshake.timer);
    handshakes.delete(tuple);
    return handshake;
  }

  function refuse({ carrier, client, events }: Handshake, reason: ConnectionReason, detail: string): void {
    reset(carrier);
    events.refused({ reason, detail, client, spiffeId: null, serverName: '' });
  }

  return {
    accept(carrier, events) {
      carrier.on('error', ignoreError);
      const tuple = tupleOf(carrier);
      const client = formatEndpoint({ address: carrier.remoteAddress ?? '', port: carrier.remotePort ?? 0 });
      if (carrier.remoteAddress === undefined || handshakes.size >= handshakesMax) {
        reset(carrier);
        events.refused({ reason: 'limit-exceeded', detail: `${handshakes.size} TLS handshakes are under way, which is the limit`, client, spiffeId: null, serverName: '' });
        return;
      }
      const timeoutMs = handshakeTimeoutMs();
      const abandon = (reason: ConnectionReason, detail: string): void => {
        if (handshakes.get(tuple) !== handshake) return; // done, and by now the tuple may be another connection's
        take(tuple);
        refuse(handshake, reason, detail);
      };
      const timer = setTimeout(() => abandon('handshake-timeout', `the TLS handshake was not done within ${timeoutMs} ms`), timeoutMs);
      const handshake: Handshake = { carrier, client, events, timer };
      handshakes.set(tuple, handshake);
      // A connection can end without the TLS server saying so, for its socket is then gone before it can be named.
      carrier.once('close', () => abandon('handshake-failed', 'the client closed the connection during the TLS handshake'));
      server.emit('connection', carrier);
    },
    setMaterial: (next) => server.setSecureContext(contextOptions(next)),
    get handshakes() {
      return handshakes.size;
    },
  };
}

function contextOptions({ certificateChainPem, privateKeyPem, trustBundlePem }: TlsMaterial): tls.SecureContextOptions {
  return {
    cert: certificateChainPem,
    key: privateKeyPem,
    ca: trustBundlePem,
    allowPartialTrustChain: true, // a SPIFFE bundle's authorities are anchors, also where they are not self-signed
    minVersion: 'TLSv1.2',
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20',
    // Every connection proves its identity anew: a resumed session skips the chain's verification (against a bundle that may have changed),
    // and in TLS 1.2 Node loses its SNI. Without tickets, and with no session cache of our own, nothing can be resumed.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/** The SNI of a connection whose handshake is done; empty for none. */
export const serverNameOf = ({ servername }: tls.TLSSocket): string => (typeof servername === 'string' ? servername : ''); // false without SNI

const tupleOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;

function ignoreError(): void {
  // An error without a listener would end the process; whoever owns the connection watches `close`, which follows.
}
