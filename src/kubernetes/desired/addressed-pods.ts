/**
 * The addresses that pods have to themselves. From the pods and not from EndpointSlices: a slice names no service account, and has only pods that
 * some Service selects (docs/decisions/0840-who-is-behind-an-address.md).
 */
import { parseAddress, type IpAddress } from '../../core/ip-address.ts';
import type { AddressedPod } from '../../core/plan/workload-addresses.ts';
import type { ApiObject, ObjectChange } from '../watch/reflection.ts';

/** The part of a `v1 Pod` that is looked at. */
export interface PodObject extends ApiObject {
  readonly spec?: { readonly serviceAccountName?: string; readonly hostNetwork?: boolean };
  readonly status?: { readonly phase?: string; readonly podIPs?: readonly { readonly ip: string }[] };
}

const noAddresses: readonly { readonly ip: string }[] = [];

/**
 * `status.podIPs` of a pod that can send from them, and nobody else: one that has ended, or is being deleted, is about to give them back, and one of the
 * host's network shares its node's. Before it runs, in its init containers, a pod is who it is already. In their canonical form, so that thousands
 * need not be read with each that changes.
 */
export function ownPodIps({ metadata, spec, status }: PodObject): readonly { readonly ip: string }[] {
  const isAlive = metadata.deletionTimestamp === undefined && ['Running', 'Pending'].includes(status?.phase ?? '');
  return isAlive && spec?.hostNetwork !== true && status?.podIPs !== undefined ? status.podIPs.flatMap(canonical).slice() : noAddresses; // a copy has room for itself only
}

function canonical({ ip }: { readonly ip: string }): readonly { readonly ip: string }[] {
  const address = parseAddress(ip);
  return address === undefined ? [] : [{ ip: address }];
}

/** Of pods as they are kept. */
export function* addressedPods(pods: Iterable<PodObject>): Generator<AddressedPod, undefined> {
  for (const { metadata, spec, status } of pods) {
    if (status?.podIPs === undefined || status.podIPs.length === 0) continue;
    yield { namespace: metadata.namespace ?? '', name: metadata.name, serviceAccount: spec?.serviceAccountName ?? 'default', addresses: status.podIPs.map(({ ip }) => ip as IpAddress) };
  }
}

/** Whether pods have addresses that they had not, or the other way round; of pods as they are kept. */
export function changesAddresses(changes: readonly ObjectChange<PodObject>[]): boolean {
  return changes.some(({ before, after }) => claimOf(before) !== claimOf(after));
}

function claimOf(pod: PodObject | null): string {
  const addresses = pod?.status?.podIPs ?? noAddresses;
  return addresses.length === 0 ? '' : [pod?.spec?.serviceAccountName, ...addresses.map(({ ip }) => ip)].join(' ');
}
