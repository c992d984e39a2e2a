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

/**
 * The first of these gateways that answers as who it should be, for one who waits; undefined where there is none, or `waiting` closes
 * meanwhile. An error listener must be there.
 */
export async function dialFor(waiting: Duplex, gateways: readonly Endpoint[], { upstream, dial, signal, log }: DialForOptions): Promise<TLSSocket | undefined> {
  const leaving = new AbortController();
  const leave = () => leaving.abort(new SallyportError('unavailable', 'the workload has gone'));
  waiting.once('close', leave);
  const either = AbortSignal.any([signal, leaving.signal]);
  try {
    for (const gateway of gateways) {
      try {
        const socket = await dial(upstream, gateway, either);
        if (!either.aborted) return socket;
        reset(socket);
      } catch (error) {
        if (!either.aborted) log.warn({ err: error, service: upstream.id }, 'gateway cannot be used');
      }
      if (either.aborted) break;
    }
    return undefined;
  } finally {
    waiting.off('close', leave);
  }
}
