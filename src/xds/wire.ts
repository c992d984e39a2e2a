import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema, ResourceSchema } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { Resource } from './resource.ts';
import type { StreamResponse, Variant } from './stream-state.ts';

/*
 * A repeated field is a sequence of entries, and entries may stand anywhere in a message: so a response is its header followed
 * by the entries of its resources, each encoded once in the life of the resource and copied from there into every response.
 * https://protobuf.dev/programming-guides/encoding/#last-one-wins
 */

/** The number of the field `resources` in both responses. */
const RESOURCES_FIELD = 2;

const entries: Readonly<Record<Variant, WeakMap<Resource, Uint8Array>>> = { delta: new WeakMap(), sotw: new WeakMap() };

/** Encodes a response of a variant. */
export function encodeResponse(variant: Variant, response: StreamResponse): Buffer {
  return Buffer.concat([encodeHeader(variant, response), ...response.resources.map((resource) => entryOf(variant, resource))]);
}

function encodeHeader(variant: Variant, { typeUrl, version, nonce, removed }: StreamResponse): Uint8Array {
  return variant === 'delta'
    ? toBinary(DeltaDiscoveryResponseSchema, create(DeltaDiscoveryResponseSchema, { systemVersionInfo: version, typeUrl, nonce, removedResources: [...removed] }))
    : toBinary(DiscoveryResponseSchema, create(DiscoveryResponseSchema, { versionInfo: version, typeUrl, nonce }));
}

function entryOf(variant: Variant, resource: Resource): Uint8Array {
  let entry = entries[variant].get(resource);
  if (entry === undefined) entries[variant].set(resource, (entry = encodeEntry(variant, resource)));
  return entry;
}

function encodeEntry(variant: Variant, { name, version, typeUrl, value }: Resource): Uint8Array {
  const any = create(AnySchema, { typeUrl, value });
  const message = variant === 'delta' ? toBinary(ResourceSchema, create(ResourceSchema, { name, version, resource: any })) : toBinary(AnySchema, any);
  return new BinaryWriter().tag(RESOURCES_FIELD, WireType.LengthDelimited).bytes(message).finish();
}
