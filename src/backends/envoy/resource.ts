/** Rendered resources: messages with their names, and the two forms in which they leave. */
import { create, createRegistry, toBinary, toJson, type DescMessage, type JsonValue, type Message, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack, StringValueSchema, type Any } from '@bufbuild/protobuf/wkt';
import { ClusterSchema } from '../../proto/envoy/config/cluster/v3/cluster_pb.ts';
import { ListenerSchema } from '../../proto/envoy/config/listener/v3/listener_pb.ts';
import { ExpressionFilterSchema } from '../../proto/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.ts';
import { TcpGrpcAccessLogConfigSchema } from '../../proto/envoy/extensions/access_loggers/grpc/v3/als_pb.ts';
import { TlsInspectorSchema } from '../../proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts';
import { ConfigSchema } from '../../proto/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.ts';
import { TcpProxySchema } from '../../proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { FilterStateInputSchema } from '../../proto/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.ts';
import { InternalUpstreamTransportSchema } from '../../proto/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream_pb.ts';
import { RawBufferSchema } from '../../proto/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { SecretSchema } from '../../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '../../proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';

/** The kinds of resource that we render. */
const resourceSchemas = { cluster: ClusterSchema, listener: ListenerSchema, secret: SecretSchema } as const;

/** What stands in a resource as an `Any`. */
const packedSchemas = [
  ConfigSchema,
  DownstreamTlsContextSchema,
  ExpressionFilterSchema,
  FilterStateInputSchema,
  InternalUpstreamTransportSchema,
  RawBufferSchema,
  StringValueSchema,
  TcpGrpcAccessLogConfigSchema,
  TcpProxySchema,
  TlsInspectorSchema,
  UpstreamTlsContextSchema,
] as const;

const registry = createRegistry(...Object.values(resourceSchemas), ...packedSchemas);

/** One named message. Immutable; the same object for as long as what it was rendered from stays the same. */
export interface EnvoyResource {
  /** Unique among the resources of its type for one proxy. */
  readonly name: string;
  readonly typeUrl: string;
  readonly message: Message;
}

/** Makes a resource out of a message that carries its own name. */
export function resourceOf<Kind extends keyof typeof resourceSchemas>(kind: Kind, message: MessageInitShape<(typeof resourceSchemas)[Kind]> & { readonly name: string }): EnvoyResource {
  const schema: DescMessage = resourceSchemas[kind];
  return { name: message.name, typeUrl: typeUrlOf(schema), message: create(schema, message) };
}

/** A message as Envoy's extensions take it. */
export function pack<Schema extends (typeof packedSchemas)[number]>(schema: Schema, message: MessageInitShape<Schema>): Any {
  return anyPack<Schema>(schema, create<Schema>(schema, message));
}

const encoded = new WeakMap<EnvoyResource, Uint8Array>();

/** The bytes of a resource, which must not be written to: encoded once for each resource. */
export function encodeResource(resource: EnvoyResource): Uint8Array {
  const known = encoded.get(resource);
  if (known !== undefined) return known;
  const bytes = toBinary(schemaOf(resource), resource.message);
  encoded.set(resource, bytes);
  return bytes;
}

/** A resource as Envoy's own files have it, with `@type` first. */
export function resourceToJson(resource: EnvoyResource): JsonValue {
  const fields = toJson(schemaOf(resource), resource.message, { registry, useProtoFieldName: true });
  return { '@type': resource.typeUrl, ...(fields as Record<string, JsonValue>) };
}

const typeUrlOf = ({ typeName }: DescMessage): string => `type.googleapis.com/${typeName}`;

function schemaOf({ message }: EnvoyResource): DescMessage {
  return registry.getMessage(message.$typeName)!;
}
