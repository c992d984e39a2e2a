/** The set of TCP listeners that the table asks for, kept true while the table changes. */
import net from 'node:net';
import type { Endpoint } from '../core/plan/plan.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import { backOffMs } from '../core/back-off.ts';
import { keepAliveDelayMs } from './dial.ts';

export interface Listeners {
  /** Opens what is new, closes what is gone; connections stay. Resolves when each new one listens or has failed for the first time. */
  update(endpoints: readonly Endpoint[]): Promise<void>;
  /** Where it listens in fact: differs from what was asked for in tests, which ask for port 0. */
  readonly addressOf: (endpoint: Endpoint) => Endpoint | undefined;
  close(): void;
}

export interface ListenersOptions {
  /** A fresh connection, half-open, on the listener that was asked for as `endpoint`. */
  readonly onConnection: (socket: net.Socket, endpoint: Endpoint) => void;
  /** An endpoint cannot be listened on for now, and is tried again; undefined once that is over. */
  readonly onFault: (endpoint: Endpoint, error: NodeJS.ErrnoException | undefined) => void;
  /** Several threads listen on the same endpoints, and the kernel spreads connections over them (SO_REUSEPORT). */
  readonly reusePort: boolean;
  readonly random: () => number;
}

interface Listener {
  readonly endpoint: Endpoint;
  readonly server: net.Server;
  /** Set while the last attempt has failed. */
  retry: NodeJS.Timeout | undefined;
}

const backlog = 4_096;
const retryFirstMs = 500;
const retryMaxMs = 30_000;

export function createListeners({ onConnection, onFault, reusePort, random }: ListenersOptions): Listeners {
  const listeners = new Map<string, Listener>();

  function open(endpoint: Endpoint): Promise<void> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs }, (socket) => onConnection(socket, endpoint));
    const listener: Listener = { endpoint, server, retry: undefined };
    listeners.set(formatEndpoint(endpoint), listener);
    return new Promise((resolve) => {
      let failures = 0;
      const listen = (): void => {
        server.listen({ host: endpoint.address, port: endpoint.port, backlog, reusePort, ipv6Only: true });
      };
      server.once('listening', () => {
        if (listener.retry !== undefined) onFault(endpoint, undefined);
        listener.retry = undefined;
        resolve();
      });
      server.on('error', (error: NodeJS.ErrnoException) => {
        if (server.listening) return; // a failed accept: that connection is lost, the listener is not
        onFault(endpoint, error);
        resolve();
        listener.retry = setTimeout(listen, backOffMs({ baseMs: retryFirstMs, maxMs: retryMaxMs }, failures, random()));
        failures += 1;
      });
      listen();
    });
  }

  function shut(key: string, { endpoint, server, retry }: Listener): void {
    if (retry !== undefined) onFault(endpoint, undefined);
    clearTimeout(retry);
    server.close();
    listeners.delete(key);
  }

  return {
    async update(endpoints) {
      const wanted = new Map(endpoints.map((endpoint) => [formatEndpoint(endpoint), endpoint]));
      for (const [key, listener] of listeners) if (!wanted.has(key)) shut(key, listener);
      await Promise.all([...wanted].flatMap(([key, endpoint]) => (listeners.has(key) ? [] : [open(endpoint)])));
    },
    addressOf(endpoint) {
      const bound = listeners.get(formatEndpoint(endpoint))?.server.address();
      return bound === null || bound === undefined || typeof bound === 'string' ? undefined : { address: endpoint.address, port: bound.port };
    },
    close() {
      for (const [key, listener] of listeners) shut(key, listener);
    },
  };
}
