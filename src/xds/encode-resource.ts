import { create, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { createResource } from './resource.ts';
import type { Resource } from './resource.ts';

/**
 * Makes a resource of a message of protobuf-es: its type is the schema's, and its name, where none is given, the message's own
 * (`name`, or `clusterName` of endpoints). Throws a RangeError where there is none.
 *
 *     encodeResource(ClusterSchema, { name: 'web', connectTimeout: { seconds: 1n, nanos: 0 } })
 */
export function encodeResource<Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>, given: Partial<Pick<Resource, 'name' | 'version' | 'ttlMs'>> = {}): Resource {
  const { name: ownName, clusterName } = message as { readonly name?: unknown; readonly clusterName?: unknown };
  const name = given.name ?? ownName ?? clusterName;
  if (typeof name !== 'string' || name === '') throw new RangeError(`a resource of type "${schema.typeName}" has no name`);
  return createResource({ ...given, name, typeUrl: `type.googleapis.com/${schema.typeName}`, value: toBinary(schema, create(schema, message)) });
}
