/** The data connections of one FTP session's client that are kept for its next transfer. */
import type { TLSSocket } from 'node:tls';
import { keepConnection, type KeptConnection } from '../relay/kept-connection.ts';
import type { VerifiedPeer } from './peer.ts';

export interface Kept {
  readonly connection: KeptConnection;
  /** `address:port`. */
  readonly client: string;
  /** Ours, that it came to: by this the client knows it. */
  readonly port: number;
}

export interface KeptConnections {
  /** Takes over a connection that a client has made and that may be kept. It comes back by itself after each transfer. */
  add(socket: TLSSocket, peer: VerifiedPeer, client: string): Kept;
  /** One that waits for a transfer, and that nobody else is given. */
  take(): Kept | undefined;
  /** Whether one that lives has come to this port. */
  has(port: number): boolean;
  /** Keeps none any more. Transfers that run go on. */
  close(): void;
}

/** Many small files follow each other within milliseconds, and thousands of sessions may be idle. */
const waitMsMax = 10_000;

/** @param owner of the session: when its certificate is revoked or runs out the session ends, so no other certificate's connection is kept for longer than a transfer */
export function createKeptConnections(owner: VerifiedPeer): KeptConnections {
  const living = new Set<Kept>();
  let spare: { readonly kept: Kept; readonly timer: NodeJS.Timeout } | undefined;
  let closed = false;

  function putBack(kept: Kept, { serialNumber }: VerifiedPeer): void {
    if (closed || spare !== undefined || serialNumber !== owner.serialNumber) kept.connection.close();
    else spare = { kept, timer: setTimeout(() => kept.connection.close(), waitMsMax) };
  }

  function take(): Kept | undefined {
    clearTimeout(spare?.timer);
    const taken = spare?.kept;
    spare = undefined;
    return taken;
  }

  return {
    add(socket, peer, client) {
      const kept: Kept = { connection: keepConnection(socket, () => putBack(kept, peer)), client, port: socket.localPort! };
      living.add(kept);
      void kept.connection.closed.then(() => {
        living.delete(kept);
        if (spare?.kept === kept) take();
      });
      return kept;
    },
    take,
    has: (port) => [...living].some((kept) => kept.port === port),
    close() {
      closed = true;
      for (const { connection } of living) if (connection.isIdle) connection.close();
    },
  };
}
