import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { SallyportError } from '../core/errors.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { reset } from '../relay/reset.ts';
import type { DialGateway } from './gateway-dialler.ts';

export interface DialForOptions {
  readonly upstream: AgentUpstream;
  readonly dial: DialGateway;
  /** Ends the attempt. */
  readonly signal: AbortSignal;
  readonly log: Pick<Logger, 'warn'>;
}

/** The first of these gateways that answers as who it should be; undefined where there is none. */
export async function dialFirst(gateways: readonly Endpoint[], { upstream, dial, signal, log }: DialForOptions): Promise<TLSSocket | undefined> {
  for (const gateway of gateways) {
    try {
      const socket = await dial(upstream, gateway, signal);
      if (!signal.aborted) return socket;
      reset(socket);
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error, service: upstream.id }, 'gateway cannot be used');
    }
    if (signal.aborted) break;
  }
  return undefined;
}

/** The same for one who waits: undefined also where `waiting` closes meanwhile. An error listener must be there. */
export async function dialFor(waiting: Duplex, gateways: readonly Endpoint[], options: DialForOptions): Promise<TLSSocket | undefined> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(new SallyportError('unavailable', 'the workload has gone'));
  waiting.once('close', leave);
  try {
    return await dialFirst(gateways, { ...options, signal: AbortSignal.any([options.signal, leaving.signal]) });
  } finally {
    waiting.off('close', leave);
  }
}
