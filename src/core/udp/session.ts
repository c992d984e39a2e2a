/**
 * The flows of one mesh connection as a reducer: which of them a datagram belongs to, which are opened, which end and why. Sockets
 * and timers live with its caller, and so does the traffic: what is allowed passes without coming through here twice.
 *
 * A flow is opened by its first datagram and ends when it has been quiet for long. Where there is no room, the quietest makes it,
 * if it has been quiet for a moment: so a burst of new flows cannot take those that still await their answer, and the number of
 * flows bounds how many are opened a second.
 */
import type { ConnectionReason } from '../ledger-record.ts';
import type { DenyReason } from '../plan/plan.ts';
import { createFlowTable } from './flow-table.ts';

export interface UdpFlow {
  readonly contextId: number;
  readonly traffic: UdpTraffic;
}

/** Counted by whoever moves or drops a datagram. As seen from the workload. */
export interface UdpTraffic {
  datagramsSent: number;
  bytesSent: number;
  datagramsReceived: number;
  bytesReceived: number;
  /** In either direction. */
  datagramsDropped: number;
}

export interface UdpSessionLimits {
  readonly flowsMax: number;
  /** A flow ends when nothing has passed for so long. */
  readonly flowIdleTimeoutMs: number;
  /** The session ends when it has had no flow for so long. */
  readonly idleTimeoutMs: number;
}

export type UdpEvent =
  | { readonly type: 'datagram'; readonly contextId: number; readonly payload: Buffer }
  /** Answers `open`. */
  | { readonly type: 'opened'; readonly flow: UdpFlow }
  /** Answers `open`. `scarce`: another flow of this session could make room. */
  | { readonly type: 'open-failed'; readonly flow: UdpFlow; readonly scarce: boolean; readonly reason: DenyReason | ConnectionReason; readonly detail: string }
  | { readonly type: 'reply'; readonly flow: UdpFlow }
  /** Something was due: see `dueAtMs`. */
  | { readonly type: 'time' };

export type UdpEffect =
  /** Answer with `opened` or `open-failed`. */
  | { readonly type: 'open'; readonly flow: UdpFlow }
  | { readonly type: 'send'; readonly flow: UdpFlow; readonly payload: Buffer }
  | { readonly type: 'close'; readonly flow: UdpFlow; readonly reason: 'idle-timeout' | 'udp-flow-displaced' }
  /** To be recorded: a flow, and perhaps others since the last such effect, was refused. */
  | { readonly type: 'refuse'; readonly reason: DenyReason | ConnectionReason; readonly detail: string }
  /** Nothing has used the session for long. Nothing follows. */
  | { readonly type: 'end' };

export interface UdpSession {
  /** What to do about an event, in order. */
  step(event: UdpEvent, nowMs: number): readonly UdpEffect[];
  /** When to step with `time`, if nothing comes before. */
  dueAtMs(): number;
  readonly flows: readonly UdpFlow[];
}

/** A flow that was used within this time does not make room. */
export const quietMs = 1_000;
/** For a flow that was refused to be tried again, and between two records of refusals. */
export const refusalPauseMs = 1_000;
/** Held of a session while its flows are being opened, such as by a look-up of the target's name. */
export const heldBytesMax = 262_144;

interface Flow extends UdpFlow {
  state: 'opening' | 'open' | 'refused' | 'closed';
  /** Waiting for `opened`. */
  held: Buffer[];
  refusedAtMs: number;
}

export function createUdpSession({ flowsMax, flowIdleTimeoutMs, idleTimeoutMs }: UdpSessionLimits, beganAtMs: number): UdpSession {
  const table = createFlowTable<number, Flow>();
  let heldBytes = 0;
  let usedAtMs = beganAtMs;
  let refusal = { recordedAtMs: -Infinity, unrecorded: 0 };

  function datagram(contextId: number, payload: Buffer, nowMs: number): UdpEffect[] {
    const known = table.use(contextId, nowMs);
    if (known === undefined) return begin(contextId, payload, nowMs);
    if (known.state === 'open') return [{ type: 'send', flow: known, payload }];
    if (known.state === 'refused' && nowMs - known.refusedAtMs >= refusalPauseMs) {
      known.state = 'opening';
      hold(known, payload);
      return [{ type: 'open', flow: known }];
    }
    hold(known, payload);
    return [];
  }

  function begin(contextId: number, payload: Buffer, nowMs: number): UdpEffect[] {
    if (contextId % 2 !== 0) return []; // not the client's to choose: unknown, and so dropped (RFC 9298 section 4)
    const made = table.size < flowsMax ? [] : makeRoom(nowMs);
    if (made === undefined) return refuse('limit-exceeded', `${table.size} flows are open, which is the limit, and each was used within ${quietMs} ms`, nowMs);
    const flow: Flow = { contextId, state: 'opening', held: [], refusedAtMs: 0, traffic: { datagramsSent: 0, bytesSent: 0, datagramsReceived: 0, bytesReceived: 0, datagramsDropped: 0 } };
    table.add(contextId, flow, nowMs);
    hold(flow, payload);
    return [...made, { type: 'open', flow }];
  }

  function hold(flow: Flow, payload: Buffer): void {
    if (flow.state !== 'opening' || heldBytes + payload.length > heldBytesMax) {
      flow.traffic.datagramsDropped += 1;
      return;
    }
    heldBytes += payload.length;
    flow.held.push(payload);
  }

  function letGo(flow: Flow): Buffer[] {
    const { held } = flow;
    flow.held = [];
    for (const payload of held) heldBytes -= payload.length;
    return held;
  }

  /** Ends the quietest flow; undefined where even that was used just now. */
  function makeRoom(nowMs: number): UdpEffect[] | undefined {
    const quietest = table.quietest();
    return quietest === undefined || nowMs - quietest.usedAtMs < quietMs ? undefined : end(quietest.flow, 'udp-flow-displaced');
  }

  function end(flow: Flow, reason: Extract<UdpEffect, { type: 'close' }>['reason']): UdpEffect[] {
    const wasOpen = flow.state === 'open';
    table.remove(flow.contextId);
    flow.state = 'closed';
    letGo(flow);
    return wasOpen ? [{ type: 'close', flow, reason }] : [];
  }

  function openFailed(flow: Flow, { scarce, reason, detail }: Extract<UdpEvent, { type: 'open-failed' }>, nowMs: number): UdpEffect[] {
    if (flow.state === 'closed') return [];
    table.use(flow.contextId, nowMs); // it is not the one to make room for itself
    const made = scarce ? makeRoom(nowMs) : undefined;
    if (made !== undefined) return [...made, { type: 'open', flow }];
    flow.state = 'refused';
    flow.refusedAtMs = nowMs;
    flow.traffic.datagramsDropped += letGo(flow).length;
    return refuse(reason, detail, nowMs);
  }

  function refuse(reason: DenyReason | ConnectionReason, detail: string, nowMs: number): UdpEffect[] {
    if (nowMs - refusal.recordedAtMs < refusalPauseMs) {
      refusal.unrecorded += 1;
      return [];
    }
    const others = refusal.unrecorded === 0 ? '' : ` (and ${refusal.unrecorded} more since the last record)`;
    refusal = { recordedAtMs: nowMs, unrecorded: 0 };
    return [{ type: 'refuse', reason, detail: `${detail}${others}` }];
  }

  function time(nowMs: number): UdpEffect[] {
    const effects: UdpEffect[] = [];
    for (let quietest = table.quietest(); quietest !== undefined && nowMs - quietest.usedAtMs >= flowIdleTimeoutMs; quietest = table.quietest()) effects.push(...end(quietest.flow, 'idle-timeout'));
    if (table.size === 0 && nowMs - usedAtMs >= idleTimeoutMs) effects.push({ type: 'end' });
    return effects;
  }

  return {
    step(event, nowMs) {
      if (event.type === 'time') return time(nowMs);
      usedAtMs = nowMs;
      if (event.type === 'datagram') return datagram(event.contextId, event.payload, nowMs);
      const flow = event.flow as Flow; // made here
      if (event.type === 'open-failed') return openFailed(flow, event, nowMs);
      if (event.type === 'reply') {
        table.use(flow.contextId, nowMs);
        return [];
      }
      if (flow.state === 'closed') return [{ type: 'close', flow, reason: 'udp-flow-displaced' }];
      flow.state = 'open';
      return letGo(flow).map((payload) => ({ type: 'send', flow, payload }));
    },
    dueAtMs: () => {
      const quietest = table.quietest();
      return quietest === undefined ? usedAtMs + idleTimeoutMs : quietest.usedAtMs + flowIdleTimeoutMs;
    },
    get flows() {
      return table.flows();
    },
  };
}
