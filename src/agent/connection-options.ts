import type { Logger } from 'pino';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import type { DialGateway } from './gateway-dialler.ts';
import type { AgentLimits } from './limits.ts';

/** What a connection of the workload is carried with. */
export interface ConnectionOptions {
  readonly upstream: AgentUpstream;
  /** Tried in this order. */
  readonly gateways: readonly Endpoint[];
  readonly dial: DialGateway;
  readonly limits: AgentLimits;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
}

/** What becomes of a connection for a reason of the agent's own. */
export type EndReason = Extract<ConnectionReason, 'policy-revoked' | 'gateway-stopping'>;
