/**
 * A data plane under test: a gateway of some class, told what to do by a control plane of its own and by nothing else, and used as
 * workloads use it. A class joins the table by an entry of `dataPlanes`.
 */
import type { Socket } from 'node:net';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { GatewayClass } from '../../src/core/objects/index.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { startEnvoyAs } from '../support/envoy.ts';
import { requirePeer } from '../support/peers.ts';
import type { Pki } from '../support/pki.ts';
import { identityOf, startDataPlane, startEmbedded } from './gateway-site.ts';
import type { ConformanceWitness } from './witness.ts';
import type { Credential, Door, World } from './world.ts';

export interface DataPlane {
  /** Makes this world all there is, and resolves when that is enforced. */
  enforce(world: World): Promise<Enforced>;
  /** Connects as a workload does that has this credential. */
  connect(credential: Credential, door: Door): Promise<WorkloadConnection>;
  /** What the ledger has of connections, as it grows. */
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
  readonly socket: Socket;
  /** Its own end, `address:port`. */
  readonly client: string;
}

export type ConnectionRecord = Extract<LedgerRecord, { readonly connectionId: string }>;

export interface DataPlaneOptions {
  readonly witness: ConformanceWitness;
  /** The organisation's CA, the same for all of them. */
  readonly pki: Pki;
}

/** Every class there is: the compiler asks for the one that is missing. Skips the test where its program is not installed. */
export const dataPlanes: Readonly<Record<GatewayClass, (test: Mocha.Context, options: DataPlaneOptions) => Promise<DataPlane>>> = {
  sallyport: (_test, options) => startDataPlane({ ...options, class: 'sallyport', beside: null, start: (site) => startEmbedded(site, 'egress-1') }),
  envoy(test, options) {
    const program = requirePeer(test, 'envoy');
    return startDataPlane({
      ...options,
      class: 'envoy',
      beside: 'beside',
      async start(site) {
        const [envoy, beside] = await Promise.all([startEnvoyAs(site.control, program, identityOf('egress-1')), startEmbedded(site, 'beside')]);
        return async () => {
          await Promise.all([envoy.stop(), beside()]);
        };
      },
    });
  },
};
