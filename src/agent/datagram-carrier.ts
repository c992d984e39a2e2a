/**
 * Datagrams of the workload on their way to a gateway and back: one mTLS connection carries those of all clients, made when there is
 * something to carry, and made again when it was lost. What cannot go at once waits a little, or is dropped.
 */
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { createCapsuleDecoder, type Datagram } from '../core/udp/capsule.ts';
import { createClientContexts, type ClientEndpoint } from '../core/udp/client-contexts.ts';
import { createDatagramWriter, type DatagramWriter } from '../relay/datagram-writer.ts';
import { reset } from '../relay/reset.ts';
import type { Connection } from './connection.ts';
import { dialFirst } from './dial-for.ts';
import type { DialGateway } from './gateway-dialler.ts';
import { backoffMs, type AgentLimits } from './limits.ts';

export interface DatagramCarrierOptions {
  /** Of the upstream, for the log. */
  readonly service: string;
  /** Whom to dial now, and in which order. */
  readonly way: () => { readonly upstream: AgentUpstream; readonly gateways: readonly Endpoint[] };
  readonly dial: DialGateway;
  /** A reply for a client. */
  readonly deliver: (payload: Buffer, client: ClientEndpoint) => void;
  /** Told of each connection to a gateway. */
  readonly onConnection: (connection: Connection) => void;
  readonly limits: AgentLimits;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
}

export interface DatagramCarrier {
  /** Something from a client. */
  take(payload: Buffer, client: ClientEndpoint): void;
  /** Takes nothing more. The gateway may end the connection first, so that its ledger has the reason: what is left ends a little later. */
  close(): void;
}

/** Between two lines in the log about datagrams that were dropped. */
const dropLogPauseMs = 10_000;

export function createDatagramCarrier({ service, way, dial, deliver, onConnection, limits, now, random, log }: DatagramCarrierOptions): DatagramCarrier {
  const contexts = createClientContexts({ clientsMax: limits.datagramClientsMax, idleTimeoutMs: limits.idleTimeoutMs });
  const closing = new AbortController();
  let link: { readonly writer: DatagramWriter; readonly connection: Connection } | undefined;
  let dialling = false;
  let failures = 0;
  let dialAgainAtMs = -Infinity;
  let held: Datagram[] = [];
  let heldBytes = 0;
  let drops = { count: 0, loggedAtMs: -Infinity };

  function drop(count = 1): void {
    drops.count += count;
    if (drops.count === 0 || now() - drops.loggedAtMs < dropLogPauseMs) return;
    log.warn({ service, datagrams: drops.count }, 'datagrams were dropped');
    drops = { count: 0, loggedAtMs: now() };
  }

  function hold(datagram: Datagram): void {
    if ((!dialling && now() < dialAgainAtMs) || heldBytes + datagram.payload.length > limits.datagramBytesHeldMax) {
      drop();
      return;
    }
    held.push(datagram);
    heldBytes += datagram.payload.length;
    if (!dialling) void connect();
  }

  function letGo(): readonly Datagram[] {
    const waiting = held;
    held = [];
    heldBytes = 0;
    return waiting;
  }

  async function connect(): Promise<void> {
    dialling = true;
    const { upstream, gateways } = way();
    const gateway = await dialFirst(gateways, { upstream, dial, signal: closing.signal, log });
    dialling = false;
    if (gateway === undefined || gateway.destroyed) {
      pause();
      drop(letGo().length);
      return;
    }
    const connection = carry(gateway);
    const writer = createDatagramWriter(gateway);
    link = { writer, connection };
    onConnection(connection);
    for (const datagram of letGo()) if (!writer.write(datagram)) drop();
  }

  function pause(): void {
    failures += 1;
    dialAgainAtMs = now() + backoffMs(limits, failures, random);
  }

  /** Hands replies to their clients until the gateway ends the connection. */
  function carry(gateway: TLSSocket): Connection {
    const decoder = createCapsuleDecoder();
    const beganAtMs = now();
    let heard = false;
    gateway.on('data', (chunk: Buffer) => {
      const { datagrams, fault } = decoder.take(chunk);
      for (const { contextId, payload } of datagrams) {
        heard = true;
        const client = contexts.clientOf(contextId, now());
        if (client !== undefined) deliver(payload, client);
      }
      if (fault === undefined) return;
      log.warn({ service, fault }, 'gateway has sent what are no capsules');
      reset(gateway);
    });
    gateway.once('end', () => reset(gateway));
    const done = new Promise<void>((resolve) => {
      gateway.once('close', () => {
        link = undefined;
        if (heard || now() - beganAtMs >= limits.datagramSteadyMs) failures = 0;
        else pause();
        log.debug({ service }, 'connection for datagrams has ended');
        resolve();
      });
    });
    return { done, end: () => reset(gateway) };
  }

  return {
    take(payload, client) {
      if (closing.signal.aborted) return;
      const datagram = { contextId: contexts.contextOf(client, now()), payload };
      if (link === undefined) hold(datagram);
      else if (!link.writer.write(datagram)) drop();
    },
    close() {
      closing.abort(new Error('datagrams are not taken any more'));
      letGo();
      setTimeout(() => link?.connection.end('policy-revoked'), limits.withdrawalGraceMs).unref();
    },
  };
}
