import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { DescMessage, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { status } from '@grpc/grpc-js';
import type { sendUnaryData, ServerDuplexStream, ServerUnaryCall, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { ClientConfigSchema, ClientStatusRequestSchema, ClientStatusResponseSchema, ConfigStatus } from '../proto/envoy/service/status/v3/csds_pb.ts';
import type { ClientConfig, ClientConfig_GenericXdsConfigSchema, ClientStatusRequest, ClientStatusResponse } from '../proto/envoy/service/status/v3/csds_pb.ts';
import type { NodeMatcher } from '../proto/envoy/type/matcher/v3/node_pb.ts';
import type { StringMatcher } from '../proto/envoy/type/matcher/v3/string_pb.ts';
import type { XdsCaller } from './server-stream.ts';
import type { SnapshotCache, StreamResources } from './snapshot-cache.ts';
import type { ResourceStatus, TypeStatus } from './stream-status.ts';
import { envoyTypes } from './type-order.ts';

export interface ClientStatusOptions {
  readonly cache: SnapshotCache;
  readonly mayReadStatus: (caller: XdsCaller) => boolean;
  readonly nodesMax: number;
}

type Answer = { readonly response: ClientStatusResponse } | { readonly code: status; readonly details: string };

const SERVICE = 'envoy.service.status.v3.ClientStatusDiscoveryService';

const configStatus: Readonly<Record<ResourceStatus['state'], ConfigStatus>> = {
  SYNCED: ConfigStatus.SYNCED,
  STALE: ConfigStatus.STALE,
  NOT_SENT: ConfigStatus.NOT_SENT,
  ERROR: ConfigStatus.ERROR,
};

/**
 * The client status discovery service: what each connected client holds of what it subscribes to, as the server knows it.
 * Answers whom `mayReadStatus` allows; a question is by node id. The content of secrets is never told.
 *
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
 */
export function clientStatusMethods({ cache, mayReadStatus, nodesMax }: ClientStatusOptions): { readonly service: ServiceDefinition; readonly handlers: UntypedServiceImplementation } {
  function answer(caller: XdsCaller, request: ClientStatusRequest): Answer {
    if (!mayReadStatus(caller)) return { code: status.PERMISSION_DENIED, details: 'this caller may not ask for the status of clients' };
    const isAsked = nodeFilter(request.nodeMatchers);
    if (isAsked === undefined) return { code: status.UNIMPLEMENTED, details: 'clients are matched by exact, prefix, suffix or contains of their node id only' };
    const config: ClientConfig[] = [];
    for (const { nodeKey, streams } of cache.status()) {
      const ids = new Set(streams.map(({ nodeId }) => nodeId).filter(isAsked));
      if (config.length + ids.size > nodesMax) return { code: status.RESOURCE_EXHAUSTED, details: `more than ${nodesMax} clients match: ask for fewer` };
      const ofKey = ids.size === 0 ? [] : cache.resourceStatus(nodeKey);
      for (const id of ids) config.push(clientConfig(id, ofKey.filter(({ nodeId }) => nodeId === id), request.excludeResourceContents));
    }
    return { response: create(ClientStatusResponseSchema, { config }) };
  }

  const handlers: UntypedServiceImplementation = {
    FetchClientStatus(call: ServerUnaryCall<ClientStatusRequest, ClientStatusResponse>, callback: sendUnaryData<ClientStatusResponse>) {
      const answered = answer(call, call.request);
      if ('response' in answered) callback(null, answered.response);
      else callback(answered);
    },
    StreamClientStatus(call: ServerDuplexStream<ClientStatusRequest, ClientStatusResponse>) {
      call.on('data', (request: ClientStatusRequest) => {
        const answered = answer(call, request);
        if (!('response' in answered)) {
          call.emit('error', answered);
          return;
        }
        // The next question is read once this answer is on its way, so that a client which does not read holds up one answer.
        call.pause();
        call.write(answered.response, () => call.resume());
      });
      call.on('end', () => call.end());
      call.on('error', () => undefined); // the client is gone, or has been told
    },
  };
  return { service: { FetchClientStatus: method('FetchClientStatus', false), StreamClientStatus: method('StreamClientStatus', true) }, handlers };
}

function clientConfig(id: string, streams: readonly StreamResources[], isWithoutContents: boolean): ClientConfig {
  const genericXdsConfigs = streams.flatMap(({ resources, types }) => {
    const byUrl = new Map(types.map((type) => [type.typeUrl, type]));
    return [...resources].map((resource) => genericConfig(resource, byUrl.get(resource.resource.typeUrl), isWithoutContents));
  });
  return create(ClientConfigSchema, { node: { id }, genericXdsConfigs });
}

function genericConfig({ resource, state }: ResourceStatus, type: TypeStatus | undefined, isWithoutContents: boolean): MessageInitShape<typeof ClientConfig_GenericXdsConfigSchema> {
  const { typeUrl, name, version, value } = resource;
  const error = state === 'ERROR' ? type?.lastError : undefined;
  return {
    typeUrl,
    name,
    versionInfo: version,
    configStatus: configStatus[state],
    ...(isWithoutContents || typeUrl === envoyTypes.secret ? {} : { xdsConfig: { typeUrl, value } }),
    ...(error === undefined ? {} : { errorState: { details: error.message, versionInfo: error.version, lastUpdateAttempt: timestampFromMs(error.atMs) } }),
  };
}

/** Which ids are asked for; undefined for a question that is not by id. Without any matcher, all are. */
function nodeFilter(matchers: readonly NodeMatcher[]): ((nodeId: string) => boolean) | undefined {
  if (matchers.length === 0) return () => true;
  const filters: ((nodeId: string) => boolean)[] = [];
  for (const { nodeId, nodeMetadatas } of matchers) {
    const filter = nodeId === undefined || nodeMetadatas.length > 0 ? undefined : stringFilter(nodeId);
    if (filter === undefined) return undefined;
    filters.push(filter);
  }
  return (nodeId) => filters.some((filter) => filter(nodeId));
}

function stringFilter({ matchPattern, ignoreCase }: StringMatcher): ((text: string) => boolean) | undefined {
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text);
  switch (matchPattern.case) {
    case 'exact':
      return (text) => fold(text) === fold(matchPattern.value);
    case 'prefix':
      return (text) => fold(text).startsWith(fold(matchPattern.value));
    case 'suffix':
      return (text) => fold(text).endsWith(fold(matchPattern.value));
    case 'contains':
      return (text) => fold(text).includes(fold(matchPattern.value));
    default:
      return undefined; // a caller's regular expression could keep the server busy
  }
}

function method(name: string, isStream: boolean): ServiceDefinition[string] {
  return {
    path: `/${SERVICE}/${name}`,
    requestStream: isStream,
    responseStream: isStream,
    requestSerialize: serializer(ClientStatusRequestSchema),
    requestDeserialize: (bytes) => fromBinary(ClientStatusRequestSchema, bytes),
    responseSerialize: serializer(ClientStatusResponseSchema),
    responseDeserialize: (bytes) => fromBinary(ClientStatusResponseSchema, bytes),
  };
}

function serializer<Desc extends DescMessage>(schema: Desc): (message: MessageShape<Desc>) => Buffer {
  return (message) => Buffer.from(toBinary(schema, message));
}
