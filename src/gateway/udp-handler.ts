import type { ConnectionReason } from '../core/ledger-record.ts';
import { createCapsuleDecoder } from '../core/udp/capsule.ts';
import { createUdpSession, type UdpEffect, type UdpEvent, type UdpFlow } from '../core/udp/session.ts';
import { createDatagramWriter } from '../relay/datagram-writer.ts';
import { reset } from '../relay/reset.ts';
import type { OpenedRecord, ProtocolHandler } from './protocol.ts';
import type { UdpSocket } from './udp-socket.ts';

/** A flow on its way out. */
interface Outlet {
  readonly socket: UdpSocket;
  readonly record: OpenedRecord;
  /** The last that was heard of the target was an ICMP error. */
  unreachable: boolean;
}

/** UDP: the client's capsules are read, and each flow leaves by a socket and a source port of its own. */
export const handleUdp: ProtocolHandler = ({ client, clientEndpoint, ledger, settings: { limits }, now, dialFlow }) => {
  const session = createUdpSession({ flowsMax: limits.udpFlowsPerIdentity, flowIdleTimeoutMs: limits.udpIdleTimeoutMs, idleTimeoutMs: limits.idleTimeoutMs }, now());
  const decoder = createCapsuleDecoder();
  const replies = createDatagramWriter(client);
  const outlets = new Map<UdpFlow, Outlet>();
  const opening = new Set<Promise<void>>();
  const closing = new Set<Promise<void>>();
  const over = Promise.withResolvers<undefined>();
  let ended = false;
  let alarm = { atMs: Infinity, timer: undefined as NodeJS.Timeout | undefined };

  function step(event: UdpEvent): void {
    for (const effect of session.step(event, now())) perform(effect);
    if (!ended && session.dueAtMs() < alarm.atMs) setAlarm();
  }

  function setAlarm(): void {
    clearTimeout(alarm.timer);
    const atMs = session.dueAtMs();
    const timer = setTimeout(() => {
      alarm = { atMs: Infinity, timer: undefined };
      step({ type: 'time' });
    }, Math.max(0, atMs - now()));
    alarm = { atMs, timer };
  }

  function perform(effect: UdpEffect): void {
    switch (effect.type) {
      case 'open': {
        const opened = open(effect.flow).then(() => void opening.delete(opened));
        opening.add(opened);
        return;
      }
      case 'send':
        send(effect.flow, effect.payload);
        return;
      case 'close':
        close(effect.flow, effect.reason);
        return;
      case 'refuse':
        ledger.denied(effect.reason, effect.detail);
        return;
      case 'end':
        end('idle-timeout');
    }
  }

  async function open(flow: UdpFlow): Promise<void> {
    await Promise.all(closing); // of flows that have made room: only then their ports are free
    const dialled = await dialFlow();
    if (ended) {
      if (dialled.ok) dialled.socket.destroy();
    } else if (dialled.ok) {
      const outlet: Outlet = { socket: dialled.socket, record: ledger.child(clientEndpoint).opened(dialled, { channel: 'udp' }), unreachable: false };
      outlets.set(flow, outlet);
      outlet.socket.listen({
        message: (payload) => reply(flow, outlet, payload),
        unreachable: () => (outlet.unreachable = true),
      });
      step({ type: 'opened', flow });
    } else {
      const { reason, detail } = dialled;
      step({ type: 'open-failed', flow, scarce: reason === 'limit-exceeded' || reason === 'snat-ports-exhausted', reason, detail });
    }
  }

  function send(flow: UdpFlow, payload: Buffer): void {
    const { traffic } = flow;
    const lost = (): void => {
      traffic.datagramsSent -= 1;
      traffic.bytesSent -= payload.length;
      traffic.datagramsDropped += 1;
    };
    traffic.datagramsSent += 1;
    traffic.bytesSent += payload.length;
    if (outlets.get(flow)?.socket.send(payload, lost) !== true) lost();
  }

  function reply(flow: UdpFlow, outlet: Outlet, payload: Buffer): void {
    outlet.unreachable = false;
    step({ type: 'reply', flow });
    if (replies.write({ contextId: flow.contextId, payload })) {
      flow.traffic.datagramsReceived += 1;
      flow.traffic.bytesReceived += payload.length;
    } else {
      flow.traffic.datagramsDropped += 1;
    }
  }

  function close(flow: UdpFlow, reason: ConnectionReason): void {
    const outlet = outlets.get(flow);
    if (outlet === undefined) return;
    outlets.delete(flow);
    const closed = new Promise<void>((whenClosed) => outlet.socket.once('close', whenClosed)).then(() => void closing.delete(closed));
    closing.add(closed);
    outlet.socket.destroy();
    outlet.record.closed({ reason: reason === 'idle-timeout' && outlet.unreachable ? 'udp-target-unreachable' : reason, ...flow.traffic });
  }

  function end(reason: ConnectionReason): void {
    if (ended) return;
    ended = true;
    clearTimeout(alarm.timer);
    for (const flow of outlets.keys()) close(flow, reason);
    reset(client);
    void Promise.all([...opening, ...closing]).then(() => over.resolve(undefined));
  }

  setAlarm();
  client.on('data', (chunk: Buffer) => {
    const { datagrams, fault } = decoder.take(chunk);
    for (const { contextId, payload } of datagrams) step({ type: 'datagram', contextId, payload });
    if (fault === undefined || ended) return;
    ledger.denied('udp-capsule-invalid', fault);
    end('udp-capsule-invalid');
  });
  client.once('end', () => end('finished'));
  client.once('close', () => end('client-closed'));
  return { done: over.promise, end };
};
