/** The control plane's part in enrolment, over the network: its services of identity, with what they keep in a directory. */
import { join } from 'node:path';
import { pino, type Logger } from 'pino';
import type { ControlPlane } from '../../../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../../../src/api/mesh-credentials.ts';
import { issueControlIdentity } from '../../../src/control/control-identity.ts';
import { createEnrolment, type EnrolmentOptions } from '../../../src/control/enrolment.ts';
import { createIssuance, type Issuance } from '../../../src/control/issuance.ts';
import { listenForMesh, type MeshAdmission } from '../../../src/control/mesh-listener.ts';
import { sectionExpiry, type ControlSections } from '../../../src/control/sections.ts';
import { stateOfStore } from '../../../src/control/shared-state.ts';
import type { LedgerRecord } from '../../../src/core/ledger-record.ts';
import { openLedger, openStateStore, type StateStore } from '../../../src/store/index.ts';
import { trustDomain } from '../../ca/openssl.ts';

export interface EnrolmentServer {
  readonly port: number;
  readonly control: ControlPlane;
  readonly store: StateStore<ControlSections>;
  readonly issuance: Issuance;
  records<Type extends LedgerRecord['type']>(type: Type): Promise<readonly Extract<LedgerRecord, { readonly type: Type }>[]>;
  close(): Promise<void>;
}

export interface EnrolmentServerOptions extends Pick<EnrolmentOptions, 'authority' | 'attestPod'> {
  /** Holds `state` and `ledger`. */
  readonly directory: string;
  readonly now?: () => number;
  readonly log?: Logger;
}

export async function startEnrolmentServer({ directory, authority, attestPod, now = Date.now, log = pino({ level: 'silent' }) }: EnrolmentServerOptions): Promise<EnrolmentServer> {
  const opened = new AsyncDisposableStack();
  const store = await openStateStore<ControlSections>({ directory: join(directory, 'state'), now, expiresAt: sectionExpiry });
  opened.defer(() => store.close());
  const ledger = await openLedger({ directory: join(directory, 'ledger'), now });
  opened.defer(() => ledger.close());
  const shared = stateOfStore(store);
  const issuance = createIssuance({ store, shared, ledger, now, random: Math.random, onRevoked: () => undefined, log });
  opened.defer(() => issuance.close());
  const admission: MeshAdmission = { trustDomain, isRevoked: (svid) => issuance.isRevokedAsShown(svid), now };
  const services = createEnrolment({ shared, authority, issuance, admission, ...(attestPod === undefined ? {} : { attestPod }), now, log });
  const identity = await issueControlIdentity(authority, issuance.issue, defaultControlIdentity(trustDomain));
  const listener = await listenForMesh({ host: '127.0.0.1', port: 0, identity, services, log });
  opened.defer(() => listener.close());
  return {
    port: listener.port,
    control: { address: `127.0.0.1:${listener.port}`, identity: defaultControlIdentity(trustDomain), trustBundlePem: identity.trustBundlePem },
    store,
    issuance,
    async records(type) {
      const isOfType = (record: LedgerRecord): record is Extract<LedgerRecord, { readonly type: typeof type }> => record.type === type;
      const records: LedgerRecord[] = [];
      for await (const { record } of ledger.tail()) records.push(record);
      return records.filter(isOfType);
    },
    close: () => opened.disposeAsync(),
  };
}
