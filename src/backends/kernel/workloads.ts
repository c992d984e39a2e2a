/** Which address is whose now. Where that comes from is not the plan's: it changes with every pod. */
import { familyOf, type IpAddress, type IpFamily } from '../../core/ip-address.ts';
import { byText } from '../../core/order.ts';
import type { WorkloadName } from '../../core/spiffe-id.ts';

export type AddressOwners = ReadonlyMap<IpAddress, WorkloadName>;

/** An identity, and the addresses of its workloads: at least one, sorted. */
export interface AddressedIdentity extends WorkloadName {
  /** `NAMESPACE/SERVICEACCOUNT`. */
  readonly name: string;
  readonly addresses: Readonly<Record<IpFamily, readonly IpAddress[]>>;
}

/** Sorted by name, whatever the order of addresses. */
export function identitiesOf(workloads: AddressOwners): readonly AddressedIdentity[] {
  const addresses = Map.groupBy([...workloads.keys()].sort(byText), (address) => {
    const { namespace, serviceAccount } = workloads.get(address)!;
    return `${namespace}/${serviceAccount}`;
  });
  return [...addresses]
    .sort(([a], [b]) => byText(a, b))
    .map(([name, own]) => {
      const { namespace, serviceAccount } = workloads.get(own[0]!)!;
      return { name, namespace, serviceAccount, addresses: { ipv4: own.filter((address) => familyOf(address) === 'ipv4'), ipv6: own.filter((address) => familyOf(address) === 'ipv6') } };
    });
}
