/** What is to be done for a namespace to have the trust bundle: a ConfigMap that its pods mount, and know the control plane by before they enrol. */
import { isDeepStrictEqual } from 'node:util';
import { trustBundleConfigMap } from '../../core/pod-identity.ts';
import { managedBy, managedByLabel } from '../registration/registration.ts';
import type { ApiObject } from '../watch/reflection.ts';

/** The part of a `ConfigMap` that is looked at. */
export interface ConfigMapFacts extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

export type TrustBundleAction =
  | { readonly type: 'create'; readonly body: object }
  /** A merge patch, which fails where the object has changed meanwhile. */
  | { readonly type: 'change'; readonly body: object };

/** Null: nothing is to be done. `taken`: there is a ConfigMap of that name which is not ours, and stays as it is. */
export function planTrustBundle(namespace: ApiObject | undefined, existing: ConfigMapFacts | undefined, pem: string): TrustBundleAction | 'taken' | null {
  if (namespace === undefined || namespace.metadata.deletionTimestamp !== undefined) return null; // one that is going takes nothing new
  const data = { [trustBundleConfigMap.key]: pem };
  if (existing === undefined) return { type: 'create', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: trustBundleConfigMap.name, labels: { [managedByLabel]: managedBy } }, data } };
  if (existing.metadata.deletionTimestamp !== undefined) return null; // its name is free once it is gone
  if (existing.metadata.labels?.[managedByLabel] !== managedBy) return 'taken';
  if (isDeepStrictEqual(existing.data, data) && existing.binaryData === undefined) return null;
  const others = Object.fromEntries(Object.keys(existing.data ?? {}).map((key) => [key, null]));
  return { type: 'change', body: { metadata: { resourceVersion: existing.metadata.resourceVersion }, data: { ...others, ...data }, binaryData: null } };
}
