/** What gateways of every class have in common where workloads come by mutual TLS: a control plane with the organisation's CA, its ledger, a place to listen. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import { adminPaths, type ApplyResult, type ProxyStatus, type StatusResult } from '../../src/api/admin.ts';
import type { ObjectRef } from '../../src/core/errors.ts';
import type { PlayedClass } from './classes.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { runGateway } from '../../src/gateway/index.ts';
import { startTestControl, trustDomain, type TestControl, type TestControlOptions } from '../support/control.ts';
import type { ConnectionRecord, DataPlane, DataPlaneOptions } from './data-plane.ts';
import { meshVisits } from './visit.ts';
import { createWardrobe } from './wardrobe.ts';
import { connectAsWorkload } from './workload.ts';
import type { Places, World } from './world.ts';

/** Where a gateway is started. */
export interface GatewaySite {
  readonly control: TestControl;
  /** Goes with the data plane. */
  readonly directory: string;
}

export interface StartedGateways {
  stop(): Promise<void>;
  /** When what was acknowledged is done, where that is later. */
  enforced?(): Promise<void>;
  /** When a change, which revokes certificates of these serial numbers, has reached the connections that live, where that is later than its acknowledgement. */
  settled?(revoked: readonly string[]): Promise<void>;
}

export interface GatewaySiteOptions extends DataPlaneOptions {
  readonly class: Exclude<PlayedClass, 'kernel'>;
  /** The gateway of class sallyport that serves what this class cannot; null for a class that can everything. */
  readonly beside: 'beside' | null;
  readonly start: (site: GatewaySite) => Promise<StartedGateways>;
  /** What its control plane is told beside what all are. */
  readonly control?: Pick<TestControlOptions, 'bigip' | 'syslog'>;
  /** What its EgressGateway says beside class and listeners. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

export const identityOf = (gateway: string): SpiffeId => `spiffe://${trustDomain}/ns/sallyport-system/sa/${gateway}` as SpiffeId;

export async function startEmbedded({ control, directory }: GatewaySite, name: string): Promise<StartedGateways> {
  const { address, trustBundlePem } = await control.mesh();
  const token = await control.token(identityOf(name));
  const gateway = await runGateway({
    name,
    trustDomain,
    enrolmentAddress: address,
    controlAddress: address,
    trustBundle: () => trustBundlePem,
    joinToken: () => Promise.resolve(token),
    stateDirectory: join(directory, name),
    workers: 0, // in this thread a table that was acknowledged is enforced
    now: Date.now,
    random: Math.random,
    version: 'test',
    log: pino({ level: 'silent' }),
  });
  return { stop: () => gateway.stop(0) };
}

/** How many types of resources a proxy subscribes to, by its form. */
const typesOf = { sallyport: 4, envoy: 3, bigip: 1 } as const;
const enforcedWithinMs = 20_000;

/** A box is told of a plan a moment after it is there, and is in step with the one before until then. */
const isLatest = (proxy: ProxyStatus, { revision }: StatusResult): boolean => proxy.class !== 'bigip' || proxy.types.every(({ acknowledged }) => acknowledged === revision);

export async function startDataPlane({ witness, pki, class: gatewayClass, beside, start, control: controlOptions, spec = {} }: GatewaySiteOptions): Promise<DataPlane> {
  const undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-conformance-'));
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const control = await startTestControl(controlOptions);
  undo.defer(() => control.close());
  await control.admin.post(adminPaths.caImport, { certificatesPem: pki.intermediatePem + pki.rootPem, privateKeyPem: pki.intermediateKeyPem });
  const ledger = followLedger(control);
  undo.defer(() => ledger.stop());
  const wardrobe = createWardrobe(pki, control);
  const [gatewayPort, besidePort, ownPort, reversePort] = (await findFreePorts(4)) as [number, number, number, number];
  const { witnessPort, proxyPort, caCertificates } = witness;
  const places: Places = { witnessPort, proxyPort, ownPort, reversePort, caCertificates };
  let applied: readonly ObjectRef[] = [];
  let gateways: StartedGateways | undefined;
  let connections = 0;

  const egressGateway = (name: string, spec: Readonly<Record<string, unknown>>): string => `---\n${JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'EgressGateway', metadata: { name }, spec })}\n`;
  const at = (port: number) => ({ listen: [{ address: '127.0.0.1', port }] });
  const egressGateways = ({ alone, gateway }: Pick<World, 'alone' | 'gateway'>): string =>
    egressGateway('egress-1', { class: gatewayClass, ...spec, ...at(gatewayPort), ...(beside === null || alone === true ? {} : { handOver: beside }), ...gateway }) + (beside === null ? '' : egressGateway(beside, { class: 'sallyport', ...at(besidePort), ...gateway }));

  /** When every gateway has acknowledged everything. */
  const enforced = () =>
    waitFor(`the gateways of class ${gatewayClass}`, enforcedWithinMs, async () => {
      const status = await control.admin.get<StatusResult>(adminPaths.status);
      const types = status.proxies.flatMap((proxy) => proxy.types);
      for (const { error } of types) if (error !== null) throw new Error(`a gateway rejects ${error.resources.join(', ')}: ${error.message}`);
      const ready = status.proxies.filter((proxy) => proxy.connected && proxy.types.length >= typesOf[proxy.class] && proxy.types.every(({ state }) => state === 'SYNCED') && isLatest(proxy, status));
      return ready.length === (beside === null ? 1 : 2) ? status : undefined;
    });

  async function apply(manifests: World['manifests'], form: Pick<World, 'alone' | 'gateway'> = {}): Promise<ApplyResult> {
    const result = await control.apply(`${egressGateways(form)}---\n${manifests(places)}`);
    applied = result.changes.map(({ ref }) => ref).filter(({ kind }) => kind !== 'EgressGateway');
    return result;
  }

  return {
    places,
    visits: meshVisits,
    witness,
    records: ledger.records,
    async enforce(world, credentials) {
      await wardrobe.prepare(credentials);
      if (applied.length > 0) {
        await control.admin.post(adminPaths.remove, { refs: applied });
        await enforced(); // what comes may be the very plan that was there before
      }
      const { revision } = await apply(world.manifests, world);
      gateways ??= await start({ control, directory });
      const { conditions } = await enforced();
      await gateways.enforced?.();
      return { revision, conditions };
    },
    async change({ to, revokes }) {
      const before = applied;
      await apply(to);
      const gone = before.filter((ref) => !applied.some((other) => isDeepStrictEqual(other, ref)));
      if (gone.length > 0) await control.admin.post(adminPaths.remove, { refs: gone });
      const { serialNumbers } = revokes === undefined ? { serialNumbers: [] } : await control.admin.post<{ readonly serialNumbers: readonly string[] }>(adminPaths.revocations, { spiffeId: revokes });
      await enforced();
      await gateways?.settled?.(serialNumbers);
    },
    async connect(credential, { listener, serverName }) {
      connections += 1;
      const address = `127.77.${connections >> 8}.${connections & 0xff}`; // by which the ledger's records are told apart, since ports come again
      return await connectAsWorkload({ address, port: typeof listener === 'number' ? listener : listener === 'own' ? ownPort : gatewayPort, serverName, dress: wardrobe.dress(credential) });
    },
    async stop() {
      await gateways?.stop();
      await undo.disposeAsync();
    },
  };
}

/** @param read what a line says, where the table says it otherwise */
export function followLedger({ admin }: TestControl, read: (line: string) => string = (line) => line) {
  const records: ConnectionRecord[] = [];
  const stopping = new AbortController();
  const following = (async () => {
    for await (const line of admin.lines(adminPaths.ledger, { last: '0', follow: 'true' }, stopping.signal)) {
      const { sequence, ...record } = JSON.parse(read(line)) as ConnectionRecord & { readonly sequence: number };
      if ('connectionId' in record) records.push(record);
    }
  })();
  return {
    records,
    async stop() {
      stopping.abort();
      await following;
    },
  };
}
