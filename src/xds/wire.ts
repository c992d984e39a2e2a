import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { AnySchema, durationFromMs } from '@bufbuild/protobuf/wkt';
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema, ResourceSchema } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { Resource } from './resource.ts';
import type { StreamResponse, Variant } from './stream-state.ts';

/*
 * A repeated field is a sequence of entries, and entries may stand anywhere in a message: so a response is its header followed
 * by the entries of its resources, each encoded once in the life of the resource. Streams that are sent the same resources one
 * after the other share the very bytes of these: a push to many costs memory for one.
 * https://protobuf.dev/programming-guides/encoding/#last-one-wins
 */

/** The number of the field `resources` in both responses. */
const RESOURCES_FIELD = 2;

const WRAPPER_TYPE = `type.googleapis.com/${ResourceSchema.typeName}`;

/** What stands for a resource in a response. SotW has a place for a time to live only where the resource is wrapped. */
type EntryKind = Variant | 'refresh';

const entries: Readonly<Record<EntryKind, WeakMap<Resource, Uint8Array>>> = { delta: new WeakMap(), sotw: new WeakMap(), refresh: new WeakMap() };

/** An encoded message, as pieces that follow one another. They may be shared, so nobody may write to them. */
export type MessageParts = readonly Uint8Array[];

/** Encodes a response of a variant. */
export function encodeResponse(variant: Variant, response: StreamResponse): MessageParts {
  return [encodeHeader(variant, response), bodyOf(variant, response)];
}

/** The content of the latest response of a variant. Held as long as somebody is sent it, or until memory is wanted. */
interface Joined {
  readonly resources: readonly Resource[];
  readonly refreshed: readonly Resource[];
  readonly body: Buffer;
}

const latest: Record<Variant, WeakRef<Joined> | undefined> = { delta: undefined, sotw: undefined };

function bodyOf(variant: Variant, { resources, refreshed }: StreamResponse): Buffer {
  const known = latest[variant]?.deref();
  if (known !== undefined && areSame(known.resources, resources) && areSame(known.refreshed, refreshed)) return known.body;
  const body = Buffer.concat([...resources.map((resource) => entryOf(variant, resource)), ...refreshed.map((resource) => entryOf('refresh', resource))]);
  latest[variant] = new WeakRef({ resources, refreshed, body });
  return body;
}

function areSame(one: readonly Resource[], other: readonly Resource[]): boolean {
  return one.length === other.length && one.every((resource, index) => resource === other[index]);
}

function encodeHeader(variant: Variant, { typeUrl, version, nonce, removed }: StreamResponse): Uint8Array {
  return variant === 'delta'
    ? toBinary(DeltaDiscoveryResponseSchema, create(DeltaDiscoveryResponseSchema, { systemVersionInfo: version, typeUrl, nonce, removedResources: [...removed] }))
    : toBinary(DiscoveryResponseSchema, create(DiscoveryResponseSchema, { versionInfo: version, typeUrl, nonce }));
}

function entryOf(kind: EntryKind, resource: Resource): Uint8Array {
  let entry = entries[kind].get(resource);
  if (entry === undefined) entries[kind].set(resource, (entry = encodeEntry(kind, resource)));
  return entry;
}

function encodeEntry(kind: EntryKind, resource: Resource): Uint8Array {
  return new BinaryWriter().tag(RESOURCES_FIELD, WireType.LengthDelimited).bytes(encodeMessage(kind, resource)).finish();
}

function encodeMessage(kind: EntryKind, resource: Resource): Uint8Array {
  if (kind !== 'sotw') return encodeWrapper(resource, kind === 'delta');
  if (resource.ttlMs === undefined) return encodeAny(resource);
  return encodeAny({ typeUrl: WRAPPER_TYPE, value: encodeWrapper(resource, true) });
}

function encodeWrapper(wrapped: Resource, hasBody: boolean): Uint8Array {
  const { name, version, ttlMs } = wrapped;
  const resource = hasBody ? { resource: create(AnySchema, { typeUrl: wrapped.typeUrl, value: wrapped.value }) } : {};
  const ttl = ttlMs === undefined ? {} : { ttl: durationFromMs(ttlMs) };
  return toBinary(ResourceSchema, create(ResourceSchema, { name, version, ...resource, ...ttl }));
}

function encodeAny({ typeUrl, value }: Pick<Resource, 'typeUrl' | 'value'>): Uint8Array {
  return toBinary(AnySchema, create(AnySchema, { typeUrl, value }));
}
