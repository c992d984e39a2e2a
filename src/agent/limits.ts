import { backOffMs } from '../core/back-off.ts';

/** Bounds of an agent. Tests replace them; there is nothing for users to set. */
export const agentLimits = {
  /** Of all upstreams together, without FTP data connections. */
  connectionsMax: 4_096,
  /** FTP data connections of one session, awaited or running. A client has one; the rest is room for those that are just ending. */
  ftpTransfersMax: 8,
  /** For TCP and TLS to one gateway together. */
  dialTimeoutMs: 10_000,
  /** The gateway decides how long a connection may be idle; this only bounds what it forgets. */
  idleTimeoutMs: 24 * 3_600_000,
  /** For the workload's FTP data connection to come. */
  ftpDataTimeoutMs: 60_000,
  /** For the gateway to end the connections of an upstream that is no longer offered. Within a second they have ended in any case. */
  withdrawalGraceMs: 500,
  /** Connections that wait at each gateway for a service to connect: so many may come at once, the next take a round trip more. */
  reverseWaiting: 4,
  /** Clients of one UDP upstream that are told apart; the quietest makes room for another. */
  datagramClientsMax: 4_096,
  /** Datagrams that wait for the connection to a gateway, in bytes; more are dropped. */
  datagramBytesHeldMax: 262_144,
  /** A connection for datagrams that has lasted so long was none that the gateway refused: the next is made without a pause. */
  datagramSteadyMs: 5_000,
  /** Pauses before a listener is tried again, and before the next connection for datagrams. */
  listenBackoffBaseMs: 250,
  listenBackoffMaxMs: 10_000,
};
export type AgentLimits = typeof agentLimits;

/** The pause before the next try after so many failures. */
export function backoffMs({ listenBackoffBaseMs, listenBackoffMaxMs }: Pick<AgentLimits, 'listenBackoffBaseMs' | 'listenBackoffMaxMs'>, failures: number, random: () => number): number {
  return backOffMs({ baseMs: listenBackoffBaseMs, maxMs: listenBackoffMaxMs }, failures, random());
}
