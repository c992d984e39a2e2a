/** A listener for one data connection of an FTP session, for the gateway and the agent alike. */
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { PortRange } from '../core/plan.ts';
import type { DataOffer } from './ftp-session.ts';

export interface DataOfferOptions {
  /** The session's `clientFacingAddress`. */
  readonly address: IpAddress;
  /** Where the listener may be; null for any free port. */
  readonly ports: PortRange | null;
  /** For the session's own connection to come and be admitted. */
  readonly timeoutMs: number;
  /** From 0 to 1. Ports are taken in no order that a stranger could foresee (RFC 2577 section 8, port stealing). */
  readonly random: () => number;
  /**
   * Whether a connection is the session's own: resolves with the stream to read it by, or with undefined. Must be bounded in time, and must not reject. A
   * connection that is not admitted does not use up the offer.
   */
  readonly admit: (socket: Socket) => Promise<Duplex | undefined>;
  /** Carries the admitted connection until its transfer is over, and closes it. Must not reject. */
  readonly carry: (client: Duplex) => Promise<void>;
  /** No connection was admitted in time. */
  readonly onTimeout: () => void;
}

/** Connections that an offer looks at, the one admitted included. A stranger who makes more costs the session its offer, and no more. */
export const admissionsMax = 16;

/** Opens the listener. Rejects with `unavailable` where no port is free. */
export async function openDataOffer(options: DataOfferOptions): Promise<DataOffer> {
  const candidates = new Set<Socket>();
  let admissions = 0;
  let phase: 'awaiting' | 'carrying' | 'over' = 'awaiting';
  const { promise: done, resolve } = Promise.withResolvers<undefined>();

  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    admissions += 1;
    if (admissions >= admissionsMax) server.close();
    void consider(socket);
  });

  async function consider(socket: Socket): Promise<void> {
    candidates.add(socket);
    socket.on('error', () => socket.destroy()); // its fate is told by admit and carry
    const client = await options.admit(socket);
    candidates.delete(socket);
    if (client === undefined || phase !== 'awaiting') {
      socket.destroy();
      if (phase === 'awaiting' && admissions >= admissionsMax && candidates.size === 0) end();
      return;
    }
    phase = 'carrying';
    stopAwaiting();
    await options.carry(client);
    end();
  }

  function stopAwaiting(): void {
    clearTimeout(timer);
    server.close();
    for (const socket of candidates) socket.destroy();
  }

  function end(): void {
    phase = 'over';
    stopAwaiting();
    resolve(undefined);
  }

  const port = await listenOnOneOf(server, options);
  server.on('error', end); // out of descriptors, for example
  const timer = setTimeout(() => {
    end();
    options.onTimeout();
  }, options.timeoutMs);
  return {
    port,
    done,
    close: () => {
      if (phase === 'awaiting') end();
    },
  };
}

async function listenOnOneOf(server: Server, { address, ports, random }: DataOfferOptions): Promise<number> {
  if (ports === null) {
    const port = await listen(server, address, 0);
    if (port !== undefined) return port;
  } else {
    const count = ports.last - ports.first + 1;
    const start = Math.floor(random() * count);
    for (let offset = 0; offset < count; offset++) {
      const port = await listen(server, address, ports.first + ((start + offset) % count));
      if (port !== undefined) return port;
    }
  }
  throw new SallyportError('unavailable', `no port is free for an ftp data connection at "${address}"`, {
    hint: 'widen spec.ftp.passivePorts of the EgressGateway',
  });
}

/** The port, or undefined where it is taken or the address is not ours. */
async function listen(server: Server, host: string, port: number): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const failed = (): void => resolve(undefined);
  server.once('error', failed);
  server.listen({ host, port, exclusive: true }, () => {
    server.off('error', failed);
    const bound = server.address();
    resolve(typeof bound === 'object' && bound !== null ? bound.port : undefined);
  });
  return promise;
}
