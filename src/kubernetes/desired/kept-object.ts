/** What is kept of the custom resources that desired state is made of, of which there are many. */
import { asBefore } from '../watch/as-before.ts';
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
 * Who has written which field, and what kubectl notes of it, are of no use here, and often the larger part. Much of the rest others say too, and
 * most of it the object itself before: what changes most often is its status.
 */
export function keepOfDesired({ apiVersion, kind, metadata, status, ...content }: DesiredApiObject, known: DesiredApiObject | undefined): DesiredApiObject {
  const { managedFields: _, annotations, creationTimestamp, ...own } = metadata;
  const { [lastApplied]: _lastApplied, ...others } = annotations ?? {};
  const kept = {
    apiVersion: shared(apiVersion),
    kind: shared(kind),
    metadata: { ...own, ...(creationTimestamp === undefined ? {} : { creationTimestamp: shared(creationTimestamp) }), ...(Object.keys(others).length === 0 ? {} : { annotations: others }) },
    ...content,
    ...(status === undefined ? {} : { status: withSharedValues(status) }),
  };
  return asBefore(kept, known);
}
