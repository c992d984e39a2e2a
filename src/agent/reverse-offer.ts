/**
 * The way back, at the agent: connections to each gateway that wait for the external service to connect, so that no port opens where the
 * workload is. One that is joined says by whom (PROXY protocol), is carried to the workload, and the next takes its place.
 */
import { connect, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { SallyportError } from '../core/errors.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { parseProxyHeader, proxyHeaderBytesMax, type ProxyHeader } from '../core/proxy-header.ts';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { Connection } from './connection.ts';
import type { EndReason } from './connection-options.ts';
import type { DialGateway } from './gateway-dialler.ts';
import { backoffMs, type AgentLimits } from './limits.ts';
import type { ListenerState, LocalListener } from './local-listener.ts';

export interface ReverseOfferOptions {
  readonly upstream: AgentUpstream;
  readonly dial: DialGateway;
  readonly limits: AgentLimits;
  readonly random: () => number;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
  /** Told of each connection that is carried. */
  readonly onConnection: (connection: Connection) => void;
}

/** Dials until the one thread that awaits connections is met: its chance is one in as many as the gateway has threads. */
const dialsMax = 256;

/** Keeps connections waiting at every gateway of the upstream until it is closed. */
export function openReverseOffer({ upstream, dial, limits, random, log, onConnection }: ReverseOfferOptions): LocalListener {
  const closing = new AbortController();
  const fields = { service: upstream.id };
  let waiting = 0;
  let fault = 'no gateway has been reached yet';

  const isClosing = (): boolean => closing.signal.aborted;

  /** One place in the queue at one gateway, for ever. */
  async function keepWaiting(gateway: Endpoint): Promise<void> {
    for (let failures = 0; !isClosing(); ) {
      try {
        const joined = await dialAwaitingThread(gateway);
        failures = 0;
        onConnection(carry(joined.gateway, joined.header));
      } catch (error) {
        if (isClosing()) return;
        failures += 1;
        fault = error instanceof Error ? error.message : 'the gateway cannot be reached';
        const retryInMs = Math.round(backoffMs(limits, failures, random));
        log.warn({ err: error, ...fields, gateway: formatEndpoint(gateway), retryInMs }, 'no connection can wait at the gateway');
        await pause(retryInMs);
      }
    }
  }

  /** Resolves when a connection has come. Of a gateway's threads one awaits them, and the others close in order whatever comes to them. */
  async function dialAwaitingThread(gateway: Endpoint): Promise<{ readonly gateway: TLSSocket; readonly header: ProxyHeader }> {
    for (let dials = 0; dials < dialsMax; dials += 1) {
      const socket = await dial(upstream, gateway, closing.signal);
      const header = await waitAt(socket);
      if (header !== undefined) return { gateway: socket, header };
    }
    throw new SallyportError('unavailable', `gateway ${formatEndpoint(gateway)} has closed ${dialsMax} connections that were to wait`);
  }

  /** Resolves with the header of the connection that has come, whose bytes stay unread; undefined where the gateway ends the waiting in order. */
  async function waitAt(socket: TLSSocket): Promise<ProxyHeader | undefined> {
    waiting += 1;
    const end = () => reset(socket);
    closing.signal.addEventListener('abort', end, { once: true });
    try {
      const header = await readHeader(socket);
      if (header === undefined) socket.end();
      return header;
    } catch (error) {
      reset(socket);
      throw error;
    } finally {
      waiting -= 1;
      closing.signal.removeEventListener('abort', end);
    }
  }

  function carry(gateway: TLSSocket, { source }: ProxyHeader): Connection {
    const workload: Socket = connect({ host: upstream.listen.address, port: upstream.listen.port, allowHalfOpen: true, noDelay: true });
    const joined = splice<EndReason>(workload, gateway, limits);
    return {
      done: joined.done.then(({ reason, bytesAtoB, bytesBtoA }) => log.debug({ ...fields, from: formatEndpoint(source), reason, bytesSent: bytesAtoB, bytesReceived: bytesBtoA }, 'connection from outside has ended')),
      end: joined.destroy,
    };
  }

  function pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const go = (): void => {
        clearTimeout(timer);
        closing.signal.removeEventListener('abort', go);
        resolve();
      };
      const timer = setTimeout(go, delayMs);
      closing.signal.addEventListener('abort', go, { once: true });
    });
  }

  for (const gateway of upstream.gateways) for (let place = 0; place < limits.reverseWaiting; place += 1) void keepWaiting(gateway);

  return {
    get state(): ListenerState {
      return waiting > 0 ? { listening: true } : { listening: false, reason: fault };
    },
    close: () => closing.abort(new Error('the way back is closed')),
  };
}

function readHeader(socket: TLSSocket): Promise<ProxyHeader | undefined> {
  return new Promise((resolve, reject) => {
    let text = '';
    const settle = (act: () => void): void => {
      socket.off('readable', read).off('end', ended).off('close', broken);
      act();
    };
    const read = (): void => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        text += chunk.toString('latin1');
        const end = text.indexOf('\r\n');
        if (end === -1 && text.length < proxyHeaderBytesMax) continue;
        const header = end === -1 ? undefined : parseProxyHeader(text.slice(0, end));
        settle(() => {
          if (header === undefined) reject(new Error('the gateway sent what is no header of the PROXY protocol'));
          else {
            if (text.length > end + 2) socket.unshift(Buffer.from(text.slice(end + 2), 'latin1'));
            resolve(header);
          }
        });
        return;
      }
    };
    const ended = (): void => settle(() => resolve(undefined));
    const broken = (): void => settle(() => reject(new Error('the gateway has broken off the waiting')));
    socket.on('readable', read).on('end', ended).on('close', broken);
    read();
  });
}
