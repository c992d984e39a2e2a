/**
 * A data plane under test: a gateway of some class, told what to do by a control plane of its own and by nothing else, and used as
 * workloads use it. A class joins the table by an entry of `dataPlanes`.
 */
import type { Duplex } from 'node:stream';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { PlayedClass } from './classes.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { startEnvoyAs, type Envoy } from '../support/envoy.ts';
import { requireNetwork } from '../support/network-namespaces.ts';
import { requirePeer } from '../support/peers.ts';
import type { Pki } from '../support/pki.ts';
import { startBigIpPlane } from './bigip-plane.ts';
import { identityOf, startDataPlane, startEmbedded } from './gateway-site.ts';
import { startKernelPlane } from './kernel-plane.ts';
import type { Visits } from './visit.ts';
import type { ConformanceWitness } from './witness.ts';
import type { Change, Credential, Door, Places, World } from './world.ts';

export interface DataPlane {
  /** Makes this all there is, and resolves when it is enforced. The credentials are those that will be used. */
  enforce(world: Pick<World, 'manifests' | 'alone' | 'gateway'>, credentials: readonly Credential[]): Promise<Enforced>;
  /** Changes what is enforced, while connections live, and resolves when all that ends by it has ended. */
  change(change: Pick<Change, 'to' | 'revokes'>): Promise<void>;
  /** Connects as a workload does that has this credential. */
  connect(credential: Credential, door: Door): Promise<WorkloadConnection>;
  readonly places: Places;
  /** As workloads use it. */
  readonly visits: Visits;
  /** Whom they come to. */
  readonly witness: ConformanceWitness;
  /** What the ledger has of connections, as it grows, of those types that the class tells of at once (`isTold`). */
  readonly records: readonly ConnectionRecord[];
  stop(): Promise<void>;
}

export interface Enforced {
  readonly revision: Revision;
  /** What the control plane says that gateways cannot do. */
  readonly conditions: readonly string[];
}

export interface WorkloadConnection {
  /** Watch `close`: an error listener is there. */
  readonly socket: Duplex;
  /** Its own end, `address:port`. */
  readonly client: string;
}

/** Of connections, and of what goes on within them. */
export type ConnectionRecord = Extract<LedgerRecord, { readonly connectionId: string }>;

export interface DataPlaneOptions {
  readonly witness: ConformanceWitness;
  /** The organisation's CA, the same for all of them. */
  readonly pki: Pki;
}

/** Every class there is: the compiler asks for the one that is missing. Skips the test where its program is not installed. */
export const dataPlanes: Readonly<Record<PlayedClass, (test: Mocha.Context, options: DataPlaneOptions) => Promise<DataPlane>>> = {
  sallyport: (_test, options) => startDataPlane({ ...options, class: 'sallyport', beside: null, start: (site) => startEmbedded(site, 'egress-1') }),
  envoy(test, options) {
    const program = requirePeer(test, 'envoy');
    return startDataPlane({
      ...options,
      class: 'envoy',
      beside: 'beside',
      async start(site) {
        const [envoy, beside] = await Promise.all([startEnvoyAs(site.control, program, identityOf('egress-1')), startEmbedded(site, 'beside')]);
        return {
          async stop() {
            await Promise.all([envoy.stop(), beside.stop()]);
          },
          settled: () => drained(envoy),
        };
      },
    });
  },
  bigip: (test, options) => startBigIpPlane(requirePeer(test, 'tclsh'), options),
  kernel(test) {
    requireNetwork(test);
    for (const peer of ['nft', 'conntrack'] as const) requirePeer(test, peer);
    return startKernelPlane();
  },
};

/** Connections of a listener or filter chain that has gone live until its time of draining is over. */
async function drained(envoy: Envoy): Promise<void> {
  const draining = async () => [...(await envoy.admin('/stats?filter=^listener_manager.*draining$')).matchAll(/: ([0-9]+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  await waitFor('what is draining', 5_000, async () => (await draining()) === 0 || undefined);
}
