/** What a gateway of class kernel is sent, as it enforces it. */
import { decodeGatewaySettings, decodeServicePort, decodeWorkloadAddress, type GatewaySettings } from '../api/table-codec.ts';
import { typeUrls } from '../api/type-urls.ts';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { Revision, ServicePort } from '../core/plan/plan.ts';
import type { WorkloadName } from '../core/spiffe-id.ts';
import { holdUpdate, type HeldTable } from '../gateway/index.ts';
import type { DeltaUpdate } from '../xds/index.ts';

/** The types that make up a table. Workloads show no certificates here, so there are none to be revoked. */
export const kernelTableTypes = [typeUrls.gatewaySettings, typeUrls.servicePort, typeUrls.workloadAddress] as const;

export interface KernelTable {
  readonly revision: Revision;
  readonly settings: GatewaySettings;
  readonly servicePorts: readonly ServicePort[];
  readonly addresses: ReadonlyMap<IpAddress, WorkloadName>;
}

/**
 * Takes a response into what is held. Settings that are removed (the gateway's object is deleted) stay: service ports and addresses, which go with
 * them, say that nothing is allowed.
 */
export function holdKernelUpdate(held: HeldTable, update: DeltaUpdate): HeldTable {
  return holdUpdate(held, update.typeUrl === typeUrls.gatewaySettings ? { ...update, removed: [] } : update).table;
}

/**
 * The table out of what is held; undefined until the control plane has answered for every type: only then is it known what is *not* allowed.
 * Throws SallyportError `request-invalid` for what cannot be read, or is for a gateway of another class.
 */
export function readKernelTable({ revision, types }: HeldTable): KernelTable | undefined {
  const [settingsOf, servicePortsOf, addressesOf] = kernelTableTypes.map((typeUrl) => types.get(typeUrl));
  const [encodedSettings] = settingsOf?.values() ?? [];
  if (encodedSettings === undefined || servicePortsOf === undefined || addressesOf === undefined) return undefined;
  const settings = decodeGatewaySettings(encodedSettings.value);
  if (settings.kernel === null) throw new SallyportError('request-invalid', `EgressGateway ${settings.name} is not of class kernel`, { hint: 'run what serves its class: sallyport gateway --name' });
  return {
    revision,
    settings,
    servicePorts: Array.from(servicePortsOf.values(), ({ value }) => servicePortIn(value)).sort((a, b) => (a.id < b.id ? -1 : 1)),
    addresses: new Map(Array.from(addressesOf.values(), ({ value }) => addressIn(value))),
  };
}

const servicePortIn = readOnce(decodeServicePort);
const addressIn = readOnce((bytes: Uint8Array): readonly [IpAddress, WorkloadName] => {
  const { address, workload } = decodeWorkloadAddress(bytes);
  return [address, workload];
});

/** A change is of a few among thousands; the others are the very same bytes. */
function readOnce<Value extends object>(decode: (bytes: Uint8Array) => Value): (bytes: Uint8Array) => Value {
  const known = new WeakMap<Uint8Array, Value>();
  return (bytes) => {
    const value = known.get(bytes) ?? decode(bytes);
    known.set(bytes, value);
    return value;
  };
}
