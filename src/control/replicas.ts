/** What replicas of the control plane tell each other: one that does not lead tells the leader what the gateways hold that are connected to it. */
import type { Logger } from 'pino';
import { conditionMessage, readCondition } from '../api/gateway-state.ts';
import { grpcServiceDefinition, unaryHandler } from '../api/grpc-service.ts';
import { meshChannelCredentials, meshChannelOptions } from '../api/mesh-credentials.ts';
import { startRepeatedReport } from '../api/repeated-report.ts';
import { SallyportError } from '../core/errors.ts';
import type { Revision } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { ReplicaService } from '../proto/sallyport/v1alpha1/replica_pb.ts';
import type { ControlIdentity } from './control-identity.ts';
import type { GatewayReports } from './gateway-reports.ts';
import type { MeshPeer, MeshService } from './mesh-listener.ts';

export interface ReplicaServiceOptions {
  readonly authenticate: (call: Parameters<Parameters<typeof unaryHandler<typeof ReplicaService.method.report.input, typeof ReplicaService.method.report.output>>[1]>[1]) => MeshPeer;
  /** The control plane's own. */
  readonly identity: SpiffeId;
  readonly onReport: (replica: string, reports: GatewayReports) => void;
}

export function createReplicaService({ authenticate, identity, onReport }: ReplicaServiceOptions): MeshService {
  return {
    definition: grpcServiceDefinition(ReplicaService),
    handlers: {
      report: unaryHandler(ReplicaService.method.report, async ({ replica, gateways }, call) => {
        const { spiffeId, purpose } = authenticate(call);
        if (spiffeId !== identity || purpose !== 'svid') throw new SallyportError('attestation-failed', `${spiffeId} is no replica of the control plane`);
        onReport(replica, new Map(gateways.map(({ gateway, revision, connected, conditions }) => [gateway, { held: revision === '' ? null : (revision as Revision), connected, conditions: conditions.map(readCondition) }])));
        return await Promise.resolve({});
      }),
    },
  };
}

export interface LeaderReporterOptions {
  readonly replica: string;
  readonly identity: SpiffeId;
  /** What is to be reported. */
  readonly reports: () => GatewayReports;
  /** Where the leader is, `HOST:PORT`; null while this replica leads, or nobody does. */
  readonly leader: () => string | null;
  /** What this replica shows; undefined while it has none. */
  readonly credentials: () => ControlIdentity | undefined;
  readonly now: () => number;
  readonly log: Pick<Logger, 'warn'>;
}

/** Reports to whoever leads. */
export function startLeaderReporter({ replica, identity, reports, leader, credentials, now, log }: LeaderReporterOptions): { close(): void } {
  return startRepeatedReport({
    method: ReplicaService.method.report,
    listener() {
      const [address, shown] = [leader(), credentials()];
      return address === null || shown === undefined ? undefined : { address, shown, endpoint: () => ({ address, credentials: meshChannelCredentials([identity], shown.trustBundlePem, shown), options: meshChannelOptions }) };
    },
    report: () => ({ replica, gateways: Array.from(reports(), ([gateway, { held, connected, conditions }]) => ({ gateway, revision: held ?? '', connected, conditions: conditions.map(conditionMessage) })) }),
    onFailure: (error, { address }) => log.warn({ err: error, leader: address }, 'the leader cannot be told what gateways hold'),
    now,
  });
}
