/** A real Envoy as the gateway of a plan made by hand, and workloads that connect to it. */
import type { JsonValue } from '@bufbuild/protobuf';
import net from 'node:net';
import tls from 'node:tls';
import { renderEnvoyGateway, type EnvoyGatewayOptions, type Rendered } from '../../../src/backends/envoy/index.ts';
import type { Plan, PlannedGateway, Revision, ServicePort } from '../../../src/core/plan/plan.ts';
import { findFreePorts } from '../../../src/demo/processes.ts';
import type { TCPAccessLogEntry } from '../../../src/proto/envoy/data/accesslog/v3/accesslog_pb.ts';
import { startEnvoy, type Envoy } from '../../support/envoy.ts';
import { loopback, readAll, revisionOne, settings, spiffeIdOf, trustDomain, until } from '../../support/gateway.ts';
import { makePki, type Issued, type Pki } from '../../support/pki.ts';
import { startControlPlane, type TestControlPlane } from './control-plane.ts';

export const serverName = 'outbound_.3128_._.partner.egress.svc.cluster.local';

export interface EnvoyGateway {
  readonly pki: Pki;
  readonly port: number;
  readonly envoy: Envoy;
  readonly control: TestControlPlane;
  readonly entries: readonly TCPAccessLogEntry[];
  /** Makes this the plan, and resolves when Envoy has acknowledged it. */
  apply(servicePorts: readonly ServicePort[]): Promise<Rendered>;
  connect(identity: Issued | undefined, options?: tls.ConnectionOptions): tls.TLSSocket;
  connectPlain(): net.Socket;
  /** Gives the gateway a new certificate of its own, and these to believe. */
  rotate(trustBundlePem: string): Promise<void>;
  /** Everything that a workload is sent when it connects and says nothing but `line`. Empty where it is refused. */
  ask(identity: Issued | undefined, line?: string, options?: tls.ConnectionOptions): Promise<string>;
  stop(): Promise<void>;
}

export function plannedGateway(port: number, more: Partial<PlannedGateway> = {}): PlannedGateway {
  const listen = [{ address: loopback, port }];
  const { ftpPassivePorts, limits, name, identity } = settings;
  return { name, class: 'envoy', identity, listen, advertise: listen, ftpPassivePorts, localPorts: { first: 32_768, last: 60_999 }, handOver: null, limits, bigip: null, kernel: null, ...more };
}

export function planOf(servicePorts: readonly ServicePort[], gateways: readonly PlannedGateway[], revision: Revision = revisionOne): Plan {
  return { revision, trustDomain, gateways, servicePorts };
}

export interface TestGatewayOptions extends EnvoyGatewayOptions {
  readonly pki?: Pki;
  readonly beside?: readonly PlannedGateway[];
  /** What Envoy is started with instead of the bootstrap. */
  readonly adjust?: (bootstrap: JsonValue) => JsonValue;
}

export async function startEnvoyGateway(program: string, servicePorts: readonly ServicePort[], gateway: Partial<PlannedGateway> = {}, { pki = makePki(), beside = [], adjust = (bootstrap) => bootstrap, ...options }: TestGatewayOptions = {}): Promise<EnvoyGateway> {
  const control = await startControlPlane(pki);
  const [port] = (await findFreePorts(1)) as [number];
  const own = pki.issue(settings.identity);
  const planned = plannedGateway(port, gateway);

  let rendered = renderEnvoyGateway(planOf(servicePorts, [planned, ...beside]), planned, options);

  async function apply(next: readonly ServicePort[]): Promise<Rendered> {
    rendered = renderEnvoyGateway(planOf(next, [planned, ...beside]), planned, options);
    control.publish(own, rendered.resources);
    await control.settled(own);
    return rendered;
  }

  control.publish(own, rendered.resources);
  const envoy = await startEnvoy(program, (adminSocketPath) => adjust(control.bootstrap(own, adminSocketPath)));
  const connect: EnvoyGateway['connect'] = (identity, more = {}) => {
    const shown = identity === undefined ? {} : { cert: identity.certificateChainPem, key: identity.privateKeyPem };
    const socket = tls.connect({ host: loopback, port, ca: pki.rootPem, servername: serverName, checkServerIdentity: () => undefined, ...shown, ...more });
    socket.on('error', () => undefined);
    return socket;
  };
  const gatewayOf = {
    pki,
    port,
    envoy,
    control,
    entries: control.entries,
    apply,
    connect,
    connectPlain: () => net.connect(port, loopback).on('error', () => undefined),
    async rotate(trustBundlePem) {
      control.publish({ ...pki.issue(settings.identity), trustBundlePem }, rendered.resources);
      await control.settled(own);
    },
    async ask(identity, line = '', more = {}) {
      const socket = connect(identity, more);
      socket.write(line);
      const said = await readAll(socket);
      socket.destroy();
      return said;
    },
    async stop() {
      await envoy.stop();
      control.stop();
    },
  } satisfies EnvoyGateway;
  try {
    await control.settled(own);
  } catch (error) {
    await gatewayOf.stop();
    throw error;
  }
  return gatewayOf;
}

/** The log entries that fit, once there is one. */
export async function logged(gateway: EnvoyGateway, fits: (entry: TCPAccessLogEntry) => boolean): Promise<readonly TCPAccessLogEntry[]> {
  await until(() => gateway.entries.some(fits), () => `no such entry among ${gateway.entries.length}`);
  return gateway.entries.filter(fits);
}

export const workload = (pki: Pki, namespace: string, account = 'default'): Issued => pki.issue(spiffeIdOf(namespace, account));
