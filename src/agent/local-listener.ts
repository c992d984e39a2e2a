import { createServer, type Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Endpoint } from '../core/plan/plan.ts';
import { backoffMs, type AgentLimits } from './limits.ts';
import { formatEndpoint, isLoopback } from '../core/ip-address.ts';

export type ListenerState = { readonly listening: true } | { readonly listening: false; readonly reason: string };

/**
 * One try to open a place. `opened` is told once it is open, `fault` of what fails before that and after: before, nothing is left of
 * the try. Gives what closes it.
 */
export type OpenPlace = (endpoint: Endpoint, events: { readonly opened: () => void; readonly fault: (error: NodeJS.ErrnoException) => void }) => () => void;

/** A listener that opens as soon as its port is free, and stays open. */
export interface LocalListener {
  readonly state: ListenerState;
  /** Listens no more; connections are not touched. The port is free when this returns. */
  close(): void;
}

export interface LocalListenerOptions {
  readonly endpoint: Endpoint;
  readonly open: OpenPlace;
  readonly limits: Pick<AgentLimits, 'listenBackoffBaseMs' | 'listenBackoffMaxMs'>;
  readonly random: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Sockets that the workload writes to first, last or never: half-closes pass, and small writes are not delayed. */
const socketOptions = { allowHalfOpen: true, noDelay: true } as const;

/** Connections of the workload. */
export const listenForStreams =
  (onConnection: (socket: Socket) => void): OpenPlace =>
  ({ address, port }, { opened, fault }) => {
    const server = createServer(socketOptions, onConnection);
    server.once('listening', opened).on('error', fault);
    server.listen({ host: address, port });
    return () => server.close();
  };

/** Listens on a loopback address. Any other is refused for good: what the workload sends there is not encrypted, and whoever connects is the workload. */
export function openLocalListener({ endpoint, open, limits, random, log }: LocalListenerOptions): LocalListener {
  let state: ListenerState = { listening: false, reason: 'opening' };
  let end = (): void => undefined;
  const place = formatEndpoint(endpoint);

  function tryToOpen(failures: number): void {
    const opened = (): void => {
      state = { listening: true };
      log.info({ listen: place }, 'listener is open');
    };
    const fault = (error: NodeJS.ErrnoException): void => {
      if (state.listening) {
        log.warn({ err: error, listen: place }, 'listener has failed once'); // out of descriptors, say; it stands
        return;
      }
      const retryInMs = Math.round(backoffMs(limits, failures, random));
      const reason = error.code === 'EADDRINUSE' ? 'the port is in use by another program' : error.message;
      state = { listening: false, reason };
      log.warn({ err: error, listen: place, retryInMs, hint: hintOf(error, endpoint) }, 'listener cannot be opened');
      const timer = setTimeout(() => tryToOpen(failures + 1), retryInMs);
      end = () => clearTimeout(timer);
    };
    end = open(endpoint, { opened, fault });
  }

  if (isLoopback(endpoint.address)) {
    tryToOpen(0);
  } else {
    state = { listening: false, reason: 'the address is not a loopback address' };
    log.warn({ listen: place, hint: 'set spec.agentAddress of the ExternalService to an address of 127.0.0.0/8, or ::1' }, 'listener is refused: an agent listens on loopback addresses only');
  }
  return {
    get state() {
      return state;
    },
    close() {
      end();
      state = { listening: false, reason: 'closed' };
    },
  };
}

function hintOf(error: NodeJS.ErrnoException, { address, port }: Endpoint): string | undefined {
  if (error.code === 'EADDRINUSE') return `find out by whom: ss -ltunp 'sport = :${port}'; or set spec.agentAddress of the ExternalService to another loopback address`;
  if (error.code === 'EACCES') return `ports below 1024 need a right: setcap cap_net_bind_service=+ep on the node binary, or sysctl net.ipv4.ip_unprivileged_port_start=${port}`;
  if (error.code === 'EADDRNOTAVAIL') return `${address} is not an address of this host`;
  return undefined;
}
