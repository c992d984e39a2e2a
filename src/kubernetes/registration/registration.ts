/**
 * An ExternalService as workloads of the cluster find it: a Service without a selector, and an EndpointSlice an address family. The same that
 * `istioctl register` made of Service and Endpoints; Endpoints are mirrored into slices by Kubernetes, which would double them.
 *
 * https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors
 */
import { isDeepStrictEqual } from 'node:util';
import { familyOf, type IpAddress, type IpFamily } from '../../core/ip-address.ts';
import { apiVersion, transportOf, type ExternalService } from '../../core/objects/index.ts';
import { serviceAccountsAnnotation } from '../../core/objects/kubernetes.ts';
import { byText } from '../../core/order.ts';
import { trustDomainOf, workloadOf, type TrustDomain } from '../../core/spiffe-id.ts';

/** By which others see that an object is ours, and which marks what we may change. */
export const managedBy = 'sallyport.dev';
const managedByLabel = 'app.kubernetes.io/managed-by';
/** https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#management */
const sliceManagedByLabel = 'endpointslice.kubernetes.io/managed-by';
const serviceNameLabel = 'kubernetes.io/service-name';
/** The identities that are no service account of the Service's own namespace, as Istio reads them. */
const canonicalAccountsAnnotation = 'alpha.istio.io/canonical-serviceaccounts';

/** Kubernetes refuses more a slice. Hosts of a service may have many addresses; whoever resolves them is told of these. */
const endpointsMax = 1_000;

export interface OwnedObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly apiVersion: string; readonly kind: string; readonly name: string; readonly uid: string; readonly controller?: boolean; readonly blockOwnerDeletion?: boolean }[];
  };
  readonly [field: string]: unknown;
}

export interface Registration {
  readonly service: OwnedObject;
  /** One for each family that there are addresses of. */
  readonly slices: readonly OwnedObject[];
}

/** @param owner the custom resource, so that Kubernetes deletes what was made of it with it; null where it is of another namespace, which Kubernetes does not allow as an owner */
export function registrationOf(external: ExternalService, owner: { readonly apiVersion: string; readonly name: string; readonly uid: string } | null, addresses: readonly IpAddress[], trustDomain: TrustDomain): Registration {
  const { name, namespace, labels } = external.metadata;
  const ownership = {
    labels: { ...labels, [managedByLabel]: managedBy },
    ...(owner === null ? {} : { ownerReferences: [{ apiVersion: owner.apiVersion, kind: 'ExternalService', name: owner.name, uid: owner.uid, controller: true, blockOwnerDeletion: true }] }),
  };
  const ports = external.spec.ports.map(({ name: portName, port, targetPort = port, protocol }) => ({ name: portName, port, targetPort, protocol: transportOf(protocol) }));
  const annotations = annotationsOf(external, trustDomain);
  const families = Map.groupBy([...new Set(addresses)].sort(byText), familyOf);
  const slice = (family: IpFamily, members: readonly IpAddress[]): OwnedObject => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: `${name}-${family}`, namespace, ...ownership, labels: { ...ownership.labels, [serviceNameLabel]: name, [sliceManagedByLabel]: managedBy } },
    addressType: family === 'ipv4' ? 'IPv4' : 'IPv6',
    endpoints: members.slice(0, endpointsMax).map((address) => ({ addresses: [address], conditions: { ready: true } })),
    ports: ports.map(({ name: portName, targetPort, protocol }) => ({ name: portName, port: targetPort, protocol })),
  });
  return {
    service: { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace, ...ownership, ...(Object.keys(annotations).length === 0 ? {} : { annotations }) }, spec: { ports } },
    slices: [...families].sort(([a], [b]) => byText(a, b)).map(([family, members]) => slice(family, members)),
  };
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

/** Whose an object of the wanted name is: ours to change, or somebody else's, who is never overwritten. */
export function isOurs(existing: OwnedObject, wanted: OwnedObject): boolean {
  if (existing.metadata.labels?.[managedByLabel] !== managedBy) return false;
  const [owner] = wanted.metadata.ownerReferences ?? [];
  const controller = existing.metadata.ownerReferences?.find((reference) => reference.controller === true);
  return controller === undefined || controller.uid === owner?.uid || (controller.kind === 'ExternalService' && controller.apiVersion === apiVersion && controller.name === owner?.name); // of one that was deleted and made anew
}

/** Whether an object says already all that is wanted: what Kubernetes fills in is not looked at, so that a settled system writes nothing. */
export function saysAlready(existing: unknown, wanted: unknown): boolean {
  if (Array.isArray(wanted)) return Array.isArray(existing) && existing.length === wanted.length && wanted.every((item, index) => saysAlready(existing[index], item));
  if (typeof wanted !== 'object' || wanted === null) return isDeepStrictEqual(existing, wanted);
  return typeof existing === 'object' && existing !== null && Object.entries(wanted).every(([field, value]) => saysAlready((existing as Readonly<Record<string, unknown>>)[field], value));
}
