/**
 * Two Kubernetes kinds that manifests may hold beside ours, since policies refer to them. Without Kubernetes they are
 * applied like any other object; with it they are watched. Only the fields named here are read.
 */
import * as z from 'zod';
import { clusterMetadata, namespacedMetadata } from './common.ts';

/** `v1 Namespace`: its labels are what a `namespaceSelector` matches. */
export const namespaceObject = z.object({ apiVersion: z.literal('v1'), kind: z.literal('Namespace'), metadata: clusterMetadata });
export type NamespaceObject = z.output<typeof namespaceObject>;

/** The annotation by which `istioctl register` named the service accounts behind a Service, comma-separated. */
export const serviceAccountsAnnotation = 'alpha.istio.io/kubernetes-serviceaccounts';

/** `v1 Service`: the workloads behind it are the service accounts of the annotation. */
export const kubernetesService = z.object({ apiVersion: z.literal('v1'), kind: z.literal('Service'), metadata: namespacedMetadata });
export type KubernetesService = z.output<typeof kubernetesService>;
