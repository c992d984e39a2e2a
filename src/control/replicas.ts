/** What replicas of the control plane tell each other: one that does not lead tells the leader what the gateways hold that are connected to it. */
import { Client } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { callUnary, grpcServiceDefinition, unaryHandler } from '../api/grpc-service.ts';
import { meshChannelCredentials, meshChannelOptions } from '../api/mesh-credentials.ts';
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
        onReport(replica, new Map(gateways.map(({ gateway, revision, connected }) => [gateway, { held: revision === '' ? null : (revision as Revision), connected }])));
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
  readonly log: Logger;
}

/** How soon a change is reported. */
const lookEveryMs = 100;
/** That nothing has changed is said too. */
const repeatMs = 2_000;
const answerWithinMs = 2_000;

/** Reports to whoever leads. */
export function startLeaderReporter({ replica, identity, reports, leader, credentials, now, log }: LeaderReporterOptions): { close(): void } {
  let connection: { readonly address: string; readonly shown: ControlIdentity; readonly client: Client } | undefined;
  let said = '';
  let saidAtMs = -Infinity;
  let isBusy = false;

  function clientFor(address: string, shown: ControlIdentity): Client {
    if (connection?.address === address && connection.shown === shown) return connection.client;
    connection?.client.close();
    connection = { address, shown, client: new Client(address, meshChannelCredentials([identity], shown.trustBundlePem, shown), meshChannelOptions) };
    return connection.client;
  }

  async function report(address: string, shown: ControlIdentity): Promise<void> {
    const gateways = Array.from(reports(), ([gateway, { held, connected }]) => ({ gateway, revision: held ?? '', connected }));
    const text = JSON.stringify([address, gateways]);
    if (text === said && now() - saidAtMs < repeatMs) return;
    said = text;
    saidAtMs = now();
    await callUnary(clientFor(address, shown), ReplicaService.method.report, { replica, gateways }, { timeoutMs: answerWithinMs });
  }

  const timer = setInterval(() => {
    const [address, shown] = [leader(), credentials()];
    if (address === null || shown === undefined || isBusy) return;
    isBusy = true;
    report(address, shown)
      .catch((error: unknown) => {
        log.warn({ err: error, leader: address }, 'the leader cannot be told what gateways hold');
        saidAtMs = now(); // again when it is to be repeated, however much it changes
      })
      .finally(() => (isBusy = false));
  }, lookEveryMs);
  return {
    close() {
      clearInterval(timer);
      connection?.client.close();
    },
  };
}
