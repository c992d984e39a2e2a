/** The way out for one flow of datagrams: counted against its identity, and only where it can be recorded. */
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { RecordSink } from './connection-ledger.ts';
import type { Dial } from './dial.ts';
import type { IdentityLimits } from './identity-limits.ts';
import type { UdpSocket } from './udp-socket.ts';

export interface FlowOwner {
  readonly spiffeId: SpiffeId;
  readonly flowsMax: number;
}

export interface FlowDialOptions {
  readonly dial: Dial<UdpSocket>;
  readonly limits: IdentityLimits;
  readonly sink: Pick<RecordSink, 'accepting'>;
}

/** As `dial`, for an identity that has less than `flowsMax` flows. */
export function createFlowDial({ dial, limits, sink }: FlowDialOptions): (owner: FlowOwner, ...request: Parameters<Dial>) => ReturnType<Dial<UdpSocket>> {
  return async ({ spiffeId, flowsMax }, request) => {
    if (!sink.accepting) return { ok: false, reason: 'ledger-unavailable', detail: 'the flow could not be recorded, and what cannot be recorded is not let out' };
    if (!limits.acquire(spiffeId, flowsMax)) return { ok: false, reason: 'limit-exceeded', detail: `"${spiffeId}" has ${flowsMax} flows, which is its limit` };
    const outcome = await dial(request);
    if (outcome.ok) outcome.socket.once('close', () => limits.release(spiffeId));
    else limits.release(spiffeId);
    return outcome;
  };
}
