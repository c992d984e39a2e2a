import type { Socket } from 'node:net';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { ConnectionOptions, EndReason } from './connection-options.ts';
import { dialFor } from './dial-for.ts';
import { carryFtp } from './ftp-connection.ts';

export interface Connection {
  /** Resolves when nothing is left of it, its FTP transfers included. Never rejects. */
  readonly done: Promise<void>;
  /** Ends it, and its transfers, at once. */
  end(reason: EndReason): void;
}

/** Carries one connection of the workload to a gateway. Whatever fails, the workload sees a reset: nothing was done for it. */
export function carryConnection(local: Socket, options: ConnectionOptions): Connection {
  const ending = new AbortController();
  local.on('error', () => undefined); // `close` follows
  return {
    done: (options.upstream.protocol === 'FTP' ? carryFtp : carryStream)(local, options, ending.signal),
    end: (reason) => ending.abort(reason),
  };
}

async function carryStream(local: Socket, { upstream, gateways, dial, limits, log }: ConnectionOptions, signal: AbortSignal): Promise<void> {
  const gateway = await dialFor(local, gateways, { upstream, dial, signal, log });
  if (gateway === undefined) {
    reset(local);
    return;
  }
  const joined = splice<EndReason>(local, gateway, limits);
  const end = () => joined.destroy(signal.reason as EndReason);
  signal.addEventListener('abort', end, { once: true });
  const result = await joined.done;
  signal.removeEventListener('abort', end);
  log.debug({ service: upstream.id, reason: result.reason, bytesSent: result.bytesAtoB, bytesReceived: result.bytesBtoA }, 'connection has ended');
}
