/** Custom objects as checks look at them, and what their statuses tell. */
import { describeRef } from '../core/desired-state.ts';
import { customResourceDefinitions } from '../kubernetes/index.ts';
import type { Condition, CustomObject } from './facts.ts';

export const nameOf = ({ kind, metadata: { namespace = '', name } }: CustomObject): string => describeRef({ kind, namespace, name });

/** A BIG-IP that the control plane does not drive. */
export const isOnlyRenderedFor = ({ spec }: CustomObject): boolean => spec?.class === 'bigip' && (spec.bigip?.management ?? []).length === 0;

/** Not of every kind something is told. */
export const hasStatus = ({ kind, apiVersion }: CustomObject): boolean => customResourceDefinitions.some(({ spec }) => spec.names.kind === kind && apiVersion.startsWith(`${spec.group}/`) && spec.versions[0].subresources !== undefined);

export function conditionOf({ status }: CustomObject, type: string): Condition | undefined {
  return status?.conditions?.find((condition) => condition.type === type);
}

export const isTrue = (object: CustomObject, type: string): boolean => whyNot(object, type).length === 0;

/** What is told of an earlier form of the object says nothing of this one. */
export function whyNot(object: CustomObject, type: string): readonly string[] {
  const condition = conditionOf(object, type);
  if (condition === undefined || condition.observedGeneration !== object.metadata.generation) return [`${nameOf(object)}: the control plane has not looked at it yet`];
  return condition.status === 'True' ? [] : [`${nameOf(object)}: ${condition.message} (${condition.reason})`];
}

export function told(object: CustomObject, type: string, status: string): readonly string[] {
  const condition = conditionOf(object, type);
  return condition?.status === status ? [`${nameOf(object)}: ${condition.message} (${condition.reason})`] : [];
}
