/**
 * The agent: beside a workload, it holds the workload's identity and takes its connections to the gateways.
 *
 * Lives here: `agent.ts` (what runs), `upstream.ts` (what the control plane says), `upstream-set.ts` and `local-listener.ts` (what
 * is offered to the workload), `connection.ts` and `gateway-dialler.ts` (one connection on its way), `datagram-listener.ts` and
 * `datagram-carrier.ts` (UDP), `upstream-store.ts` and `svid-files.ts` (on disk), `health-listener.ts`, `limits.ts`.
 *
 * Invariants:
 * - It listens on loopback addresses only: whoever can connect there is the workload.
 * - No byte of the workload goes to a peer that has not proved to be one of the upstream's server identities (secure naming).
 * - It decides nothing: the gateway does. What it keeps on disk opens no door.
 * - Renewing the identity or the trust bundle touches no live connection; an upstream that goes away ends its own.
 *
 * Sources: docs/architecture.md; Istio's secure naming, https://istio.io/latest/docs/concepts/security/#secure-naming.
 */
export { runAgent } from './agent.ts';
export type { Agent, AgentOptions, AgentStatus } from './agent.ts';
export { agentLimits } from './limits.ts';
export type { AgentLimits } from './limits.ts';
export type { UpstreamStatus } from './upstream-set.ts';
