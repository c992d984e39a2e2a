/**
 * An ExternalService as workloads of the cluster find it: a Service without a selector, and an EndpointSlice an address family. The same that
 * `istioctl register` made of Service and Endpoints; Endpoints are mirrored into slices by Kubernetes, which would double them.
 *
 * https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors
 */
import { familyOf, scopeOf, type IpAddress, type IpFamily } from '../../core/ip-address.ts';
import { transportOf, type ExternalService } from '../../core/objects/index.ts';
import { serviceAccountsAnnotation } from '../../core/objects/kubernetes.ts';
import { byText } from '../../core/order.ts';
import { trustDomainOf, workloadOf, type TrustDomain } from '../../core/spiffe-id.ts';
import type { ApiObject } from '../watch/reflection.ts';

/** By which others see that an object is ours, and which marks what we may change. */
export const managedBy = 'sallyport.dev';
export const managedByLabel = 'app.kubernetes.io/managed-by';

/** Whether an object carries the mark, which makes it ours unless other things speak against it. */
export function isMarked({ metadata }: ApiObject): boolean {
  return (metadata as Partial<OwnedObject['metadata']>).labels?.[managedByLabel] === managedBy;
}

/** https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#management */
const sliceManagedByLabel = 'endpointslice.kubernetes.io/managed-by';
const serviceNameLabel = 'kubernetes.io/service-name';
/** The identities that are no service account of the Service's own namespace, as Istio reads them. */
const canonicalAccountsAnnotation = 'alpha.istio.io/canonical-serviceaccounts';

/** Kubernetes refuses more a slice. */
const endpointsMax = 1_000;

/** A field that is not to be there. */
const absent = null;

export interface OwnedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly OwnerReference[];
  };
  readonly [field: string]: unknown;
}

interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** A custom resource, as far as it is named as an owner. */
export interface Owner {
  readonly apiVersion: string;
  readonly name: string;
  readonly uid: string;
}

export interface Registration {
  readonly service: OwnedObject;
  /** One or more for each family that there are addresses of; null: where the service is is not known yet. */
  readonly slices: readonly OwnedObject[] | null;
}

/**
 * @param owner the custom resource, so that Kubernetes deletes what was made of it with it; null where it is of another namespace, which Kubernetes does not allow as an owner
 * @param addresses null: not known yet
 */
export function registrationOf(external: ExternalService, owner: Owner | null, addresses: readonly IpAddress[] | null, trustDomain: TrustDomain): Registration {
  const { name, namespace, labels } = external.metadata;
  const ownership = {
    labels: { ...labels, [managedByLabel]: managedBy },
    ...(owner === null ? {} : { ownerReferences: [{ ...owner, kind: 'ExternalService', controller: true, blockOwnerDeletion: true }] }),
  };
  const ports = external.spec.ports.map(({ name: portName, port, targetPort = port, protocol }) => ({ name: portName, port, targetPort, protocol: transportOf(protocol) }));
  const slice = (family: IpFamily, members: readonly IpAddress[], index: number): OwnedObject => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-${family}${index === 0 ? '' : `-${index + 1}`}`, namespace, ...ownership, labels: { ...ownership.labels, [serviceNameLabel]: name, [sliceManagedByLabel]: managedBy } },
    addressType: addressTypes[family],
    endpoints: members.map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports: ports.map(({ name: portName, targetPort, protocol }) => ({ name: portName, port: targetPort, protocol })),
  });
  return {
    service: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, ...ownership, annotations: annotationsOf(external, trustDomain) },
      // A selector would lead to pods, another type or address from outside to the external service.
      spec: { type: 'ClusterIP', selector: absent, externalIPs: absent, ports },
    },
    slices: addresses === null ? null : membersOfSlices(addresses).map(({ family, members, index }) => slice(family, members, index)),
  };
}

/** Addresses that mean another place wherever they are said, which no slice may have. https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/ */
const placelessScopes: ReadonlySet<string> = new Set(['loopback', 'linkLocal', 'multicast', 'unspecified']);
export const isPlaceless = (address: IpAddress): boolean => placelessScopes.has(scopeOf(address));

const addressTypes = { ipv4: 'IPv4', ipv6: 'IPv6' } as const satisfies Record<IpFamily, string>;

/** In an order that depends on nothing but the addresses. */
function membersOfSlices(addresses: readonly IpAddress[]): readonly { readonly family: IpFamily; readonly members: readonly IpAddress[]; readonly index: number }[] {
  const families = Map.groupBy([...new Set(addresses)].filter((address) => !isPlaceless(address)).sort(byText), familyOf);
  return (['ipv4', 'ipv6'] as const).flatMap((family) => {
    const all = families.get(family) ?? [];
    return Array.from({ length: Math.ceil(all.length / endpointsMax) }, (_, index) => ({ family, members: all.slice(index * endpointsMax, (index + 1) * endpointsMax), index }));
  });
}

/** The name of the Service, and so of the ExternalService, that a slice of ours is named after. */
export function serviceNameOf(sliceName: string): string {
  return sliceName.replace(/-ipv[46](?:-[0-9]+)?$/, '');
}

/** Secure naming, as `istioctl register` wrote it. */
function annotationsOf({ metadata, spec }: ExternalService, trustDomain: TrustDomain): Record<string, string> {
  const identities = spec.subjectAltNames ?? [];
  const own = identities.flatMap((id) => {
    const workload = workloadOf(id);
    return workload?.namespace === metadata.namespace && trustDomainOf(id) === trustDomain ? [workload.serviceAccount] : [];
  });
  const others = identities.filter((id) => workloadOf(id)?.namespace !== metadata.namespace || trustDomainOf(id) !== trustDomain);
  const written = metadata.annotations?.[serviceAccountsAnnotation];
  return {
    ...(own.length === 0 ? (written === undefined ? {} : { [serviceAccountsAnnotation]: written }) : { [serviceAccountsAnnotation]: own.join(',') }),
    ...(others.length === 0 ? {} : { [canonicalAccountsAnnotation]: others.join(',') }),
  };
}
