/**
 * The kinds of desired state. One schema per kind; `schemas` is the registry that the manifest reader, the JSON schemas
 * and the reference pages walk.
 */
import { egressGateway, gatewayClasses, type DriftPolicy, type EgressGateway, type GatewayClass } from './egress-gateway.ts';
import { egressPolicy, type EgressPolicy } from './egress-policy.ts';
import { externalService, type ExternalService } from './external-service.ts';
import { kubernetesService, namespaceObject, type KubernetesService, type NamespaceObject } from './kubernetes.ts';
import { referenceGrant, type ReferenceGrant } from './reference-grant.ts';
import { snatBinding, type SnatBinding } from './snat-binding.ts';
import { snatPool, type SnatPool } from './snat-pool.ts';
import { workloadEntry, type WorkloadEntry } from './workload-entry.ts';

export * from './egress-gateway.ts';
export * from './egress-policy.ts';
export * from './external-service.ts';
export * from './kubernetes.ts';
export * from './older-external-service.ts';
export * from './reference-grant.ts';
export * from './snat-binding.ts';
export * from './snat-pool.ts';
export * from './workload-entry.ts';
export { apiGroup, apiVersion, defaultNamespace, quoteText, serverMetadata, type AllowedNamespaces } from './common.ts';

export const schemas = {
  EgressGateway: egressGateway,
  EgressPolicy: egressPolicy,
  ExternalService: externalService,
  Namespace: namespaceObject,
  ReferenceGrant: referenceGrant,
  Service: kubernetesService,
  SnatBinding: snatBinding,
  SnatPool: snatPool,
  WorkloadEntry: workloadEntry,
} as const;

export { gatewayClasses, type DriftPolicy, type GatewayClass };
export type Kind = keyof typeof schemas;
/** Sorted. */
export const kinds = Object.keys(schemas) as readonly Kind[];

/** An object of desired state: validated, defaulted, immutable. */
export type DesiredObject = EgressGateway | EgressPolicy | ExternalService | KubernetesService | NamespaceObject | ReferenceGrant | SnatBinding | SnatPool | WorkloadEntry;
