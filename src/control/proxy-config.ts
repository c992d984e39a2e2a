/** What a proxy was sent, readable, and where each part of it stands. Private keys are shown by their hash. */
import { createRegistry, fromBinary, toJson, type JsonValue } from '@bufbuild/protobuf';
import { hash } from 'node:crypto';
import type { ProxyConfigResult, ProxyResource } from '../api/admin.ts';
import { resourceToJson } from '../backends/envoy/index.ts';
import { SallyportError } from '../core/errors.ts';
import type { PlannedGateway } from '../core/plan/plan.ts';
import { SecretSchema } from '../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { file_sallyport_v1alpha1_table } from '../proto/sallyport/v1alpha1/table_pb.ts';
import type { Resource, ResourceStatus, SnapshotCache } from '../xds/index.ts';
import { envoyResourceOf } from './publisher.ts';
import { proxyOf } from './proxy.ts';

const registry = createRegistry(file_sallyport_v1alpha1_table, SecretSchema);

/** Of the proxy that calls itself `name`, or of the gateway or the identity of that name. Throws `not-found` where no such proxy is connected, with those that are. */
export function proxyConfig(cache: SnapshotCache, gateways: readonly PlannedGateway[], name: string): ProxyConfigResult {
  const connected = cache.status().filter(({ streams }) => streams.length > 0);
  const identity = gateways.find((gateway) => gateway.name === name)?.identity ?? name;
  for (const { nodeKey, snapshotVersion } of connected) {
    const stream = cache.resourceStatus(nodeKey).find(({ nodeId }) => nodeId === name || nodeId === identity || (proxyOf(nodeKey).identity as string) === identity);
    if (stream === undefined) continue;
    const resources = Array.from(stream.resources, readable).sort((a, b) => (a.typeUrl === b.typeUrl ? compare(a.name, b.name) : compare(a.typeUrl, b.typeUrl)));
    return { node: stream.nodeId, class: proxyOf(nodeKey).form, revision: snapshotVersion ?? null, resources };
  }
  const known = connected.flatMap(({ streams }) => streams.map(({ nodeId }) => nodeId));
  throw new SallyportError('not-found', `no proxy ${JSON.stringify(name.slice(0, 256))} is connected`, { value: name.slice(0, 256), hint: known.length === 0 ? 'none is' : `connected are ${known.slice(0, 10).join(', ')}; see sallyport proxy-status` });
}

function readable({ resource, state }: ResourceStatus): ProxyResource {
  return { typeUrl: resource.typeUrl, name: resource.name, version: resource.version, state, content: redacted(contentOf(resource)) };
}

function contentOf(resource: Resource): JsonValue {
  const rendered = envoyResourceOf(resource);
  if (rendered !== undefined) return resourceToJson(rendered);
  const schema = registry.getMessage(resource.typeUrl.slice(resource.typeUrl.lastIndexOf('/') + 1));
  return schema === undefined ? null : toJson(schema, fromBinary(schema, resource.value), { registry, useProtoFieldName: true });
}

/** Private keys as their SHA-256, so that two can be compared. */
function redacted(content: JsonValue): JsonValue {
  if (Array.isArray(content)) return content.map(redacted);
  if (typeof content !== 'object' || content === null) return content;
  return Object.fromEntries(Object.entries(content).map(([key, value]) => [key, key === 'private_key' ? `sha256 ${hash('sha256', JSON.stringify(value), 'hex')}` : redacted(value)]));
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
