/** UDP from a source port towards one peer: the kernel lets in what comes from the peer, and nobody else's datagrams. */
import { createSocket } from 'node:dgram';
import { familyOf } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { clientClosed, describeFailure, timedOut, type Connected, type Dialable, type DialTransport, type Failure, type PortTaken } from './dial.ts';

export interface UdpSocketEvents {
  /** A datagram from the peer. */
  message(payload: Buffer): void;
  /** An ICMP error came back (ECONNREFUSED and the like). The socket goes on: RFC 4787 section 9 wants no mapping ended by one. */
  unreachable(): void;
}

/** Connected; hears nothing before `listen`. */
export interface UdpSocket extends Dialable {
  listen(events: UdpSocketEvents): void;
  /** Whether it was handed to the kernel, or soon will be: false while the kernel takes them slower than they come. `lost` is called where the kernel refuses it after all. */
  send(payload: Buffer, lost: () => void): boolean;
  destroy(): void;
}

/** Datagrams that the kernel does not take at once are held up to this. */
const sendQueueBytesMax = 262_144;

/**
 * A source port serves one flow, wherever it goes. The kernel would let a UDP port be bound twice (SO_REUSEADDR), but then also for
 * one four-tuple, and hand a reply to either: without it, threads cannot take each other's ports either.
 */
export const datagrams: DialTransport<UdpSocket> = { attempt: attemptUdp, useOf: () => 'udp' };

function attemptUdp(from: Endpoint, remote: Endpoint, timeoutMs: number, signal: AbortSignal | undefined): Promise<Connected<UdpSocket> | Failure | PortTaken> {
  if (signal?.aborted === true) return Promise.resolve(clientClosed);
  const socket = createSocket(familyOf(remote.address) === 'ipv4' ? { type: 'udp4' } : { type: 'udp6', ipv6Only: true });
  return new Promise((resolve) => {
    const fail = (failure: Failure): void => {
      clearTimeout(timer);
      socket.close();
      resolve(failure);
    };
    const timer = setTimeout(() => fail(timedOut(remote, timeoutMs)), timeoutMs); // of a bind and a connect that ask nobody: never seen
    socket.once('error', (error) => fail(describeFailure(error, from.address, remote)));
    socket.bind({ ...from, exclusive: true }, () => {
      socket.connect(remote.port, remote.address, () => {
        clearTimeout(timer);
        socket.removeAllListeners('error');
        resolve({ ok: true, socket: wrap(), local: from, remote });
      });
    });
  });

  function wrap(): UdpSocket {
    const peer = socket.remoteAddress();
    let events: UdpSocketEvents | undefined;
    let closed = false;
    socket.on('error', () => events?.unreachable());
    // The kernel's queue may still hold what came from others between bind and connect.
    socket.on('message', (payload, { address, port }) => {
      if (address === peer.address && port === peer.port) events?.message(payload);
    });
    socket.once('close', () => (closed = true));
    return {
      listen: (given) => (events = given),
      send(payload, lost) {
        if (closed || socket.getSendQueueSize() > sendQueueBytesMax) return false;
        socket.send(payload, (error) => {
          if (error !== null) lost();
        });
        return true;
      },
      once: (event, listener) => socket.once(event, listener),
      destroy() {
        if (closed) return;
        closed = true;
        socket.close();
      },
    };
  }
}
