/** What is kept of the custom resources that desired state is made of, of which there are many. */
import type { ApiObject } from '../watch/reflection.ts';
import { shared, withSharedValues } from '../watch/shared-values.ts';

const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/** An object that desired state is made of, as far as it is kept. */
export interface DesiredApiObject extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { readonly managedFields?: unknown; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec?: unknown;
  readonly status?: object;
}

/**
 * Who has written which field, and what kubectl notes of it, are of no use here, and often the larger part; much of the rest others say too,
 * and the object itself before, of which most changes are those of its status.
 */
export function keepOfDesired({ apiVersion, kind, metadata, status, ...content }: DesiredApiObject, known: DesiredApiObject | undefined): DesiredApiObject {
  const { managedFields: _, annotations, creationTimestamp, ...own } = metadata;
  const { [lastApplied]: _lastApplied, ...others } = annotations ?? {};
  return {
    apiVersion: shared(apiVersion),
    kind: shared(kind),
    metadata: { ...own, ...(creationTimestamp === undefined ? {} : { creationTimestamp: shared(creationTimestamp) }), ...(Object.keys(others).length === 0 ? {} : { annotations: others }) },
    ...content,
    ...(known !== undefined && isOfSameGeneration(metadata, known.metadata) ? { spec: known.spec } : {}),
    ...(status === undefined ? {} : { status: withSharedValues(status) }),
  };
}

/** The generation grows with each change of `spec`, https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#status-subresource */
function isOfSameGeneration({ uid, generation }: ApiObject['metadata'], known: ApiObject['metadata']): boolean {
  return generation !== undefined && known.uid === uid && known.generation === generation;
}
