/**
 * The way back: connections from an external service to an identity's own address, each joined with one that the agent of a workload of
 * that identity keeps waiting. No port opens in the cluster, and none at the gateway unless somebody waits for it.
 */
import net from 'node:net';
import { formatEndpoint, parseAddress } from '../core/ip-address.ts';
import type { Endpoint, Target } from '../core/plan/plan.ts';
import { reset } from '../relay/reset.ts';
import { keepAliveDelayMs } from './dial.ts';
import type { HostLookup } from './host-lookup.ts';
import type { Arrival } from './source-listener.ts';

/** A workload's connection in the queue of its place. */
export interface Waiting {
  /** The service's addresses, as the table has them now: only from there. */
  readonly targets: () => readonly Target[];
  /** A connection from the service. It is out of the queue, and this one's to carry. */
  take(arrival: Arrival): void;
  /** Somebody else has come, and was turned away. */
  refused(remote: Endpoint): void;
}

/** `elsewhere`: another thread listens there, and connections come to it alone. */
export type WaitOutcome = { readonly outcome: 'waiting'; readonly withdraw: () => void } | { readonly outcome: 'elsewhere' | 'unavailable' };

export interface ReversePorts {
  /**
   * Waits for a connection to `place`, which belongs to one identity and one service port alone. What has been taken may be withdrawn all
   * the same.
   */
  wait(place: Endpoint, waiting: Waiting): Promise<WaitOutcome>;
  /** Listens nowhere any more. */
  close(): void;
}

/** One address and port. */
interface Place {
  readonly listening: Promise<'waiting' | 'elsewhere' | 'unavailable'>;
  readonly server: net.Server;
  readonly queue: Set<Waiting>;
  /** Connections for which nobody is in the queue just now: an agent that was given one sends its next. */
  readonly pending: Map<Arrival, NodeJS.Timeout>;
  /** Whom to ask while the queue is empty. */
  latest: Waiting;
  closing: NodeJS.Timeout | undefined;
}

/** Connections that may wait for an agent's next; more are reset. */
const pendingMax = 64;
/** How long they may, and how long a place without anybody in its queue stays open. */
const patienceMs = 5_000;
const lookupTimeoutMs = 2_000;

/** @param shared whether other threads of this process may have a place too */
export function createReversePorts({ lookup, shared }: { readonly lookup: HostLookup; readonly shared: boolean }): ReversePorts {
  const places = new Map<string, Place>();

  function open(endpoint: Endpoint, first: Waiting): Place {
    const key = formatEndpoint(endpoint);
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs });
    const listening = new Promise<Awaited<Place['listening']>>((resolve) => {
      server.once('listening', () => resolve('waiting'));
      server.on('error', ({ code }: NodeJS.ErrnoException) => {
        if (server.listening) return; // a connection could not be accepted; the listener stands
        places.delete(key);
        resolve(shared && code === 'EADDRINUSE' ? 'elsewhere' : 'unavailable');
      });
    });
    const place: Place = { listening, server, queue: new Set(), pending: new Map(), latest: first, closing: undefined };
    server.on('connection', (socket) => void arrive(place, endpoint, socket));
    server.listen({ host: endpoint.address, port: endpoint.port, exclusive: true });
    places.set(key, place);
    return place;
  }

  async function arrive(place: Place, local: Endpoint, socket: net.Socket): Promise<void> {
    socket.on('error', () => undefined); // `close` follows
    const address = parseAddress(socket.remoteAddress ?? '');
    if (address === undefined || place.pending.size >= pendingMax) {
      reset(socket);
      return;
    }
    const arrival = { socket, local, remote: { address, port: socket.remotePort! } };
    if (!(await isOf(place.latest.targets(), arrival.remote))) {
      place.latest.refused(arrival.remote);
      reset(socket);
      return;
    }
    place.pending.set(arrival, setTimeout(() => reset(socket), patienceMs));
    socket.once('close', () => takeOut(place, arrival));
    join(place);
  }

  function takeOut(place: Place, arrival: Arrival): void {
    clearTimeout(place.pending.get(arrival));
    place.pending.delete(arrival);
  }

  /** Joins what waits on both sides, in order. */
  function join(place: Place): void {
    for (const arrival of [...place.pending.keys()]) {
      const [waiting] = place.queue;
      if (waiting === undefined) return;
      place.queue.delete(waiting);
      takeOut(place, arrival);
      waiting.take(arrival);
    }
  }

  async function isOf(targets: readonly Target[], { address }: Endpoint): Promise<boolean> {
    for (const target of targets) {
      if (target.kind === 'address') {
        if (target.address === address) return true;
      } else {
        const found = await lookup(target.host, lookupTimeoutMs);
        if (found.ok && found.addresses.includes(address)) return true;
      }
    }
    return false;
  }

  function close(key: string, place: Place): void {
    clearTimeout(place.closing);
    if (places.get(key) === place) places.delete(key);
    place.server.close();
    for (const { socket } of place.pending.keys()) reset(socket);
  }

  return {
    async wait(endpoint, waiting) {
      const key = formatEndpoint(endpoint);
      const place = places.get(key) ?? open(endpoint, waiting);
      clearTimeout(place.closing);
      place.latest = waiting;
      place.queue.add(waiting);
      const outcome = await place.listening;
      if (outcome !== 'waiting') return { outcome };
      join(place);
      return {
        outcome,
        withdraw() {
          place.queue.delete(waiting);
          clearTimeout(place.closing);
          if (place.queue.size === 0) place.closing = setTimeout(() => close(key, place), patienceMs);
        },
      };
    },
    close() {
      for (const [key, place] of [...places]) close(key, place);
    },
  };
}
