/** Which connections are logged where. Together the logs tell of each connection that came: once when it is refused, twice when it was let out. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AccessLogFilterSchema, AccessLogSchema } from '../../proto/envoy/config/accesslog/v3/accesslog_pb.ts';
import { ApiVersion } from '../../proto/envoy/config/core/v3/config_source_pb.ts';
import { ExpressionFilterSchema } from '../../proto/envoy/extensions/access_loggers/filters/cel/v3/cel_pb.ts';
import { TcpGrpcAccessLogConfigSchema } from '../../proto/envoy/extensions/access_loggers/grpc/v3/als_pb.ts';
import { accessLogName, logCluster, stateKeys } from './names.ts';
import { milliseconds } from './places.ts';
import { pack } from './resource.ts';

type AccessLogInit = MessageInitShape<typeof AccessLogSchema>;
type FilterInit = MessageInitShape<typeof AccessLogFilterSchema>;

/** How long a record waits for company. */
const flushIntervalMs = 250;

/** What Envoy's log entries do not have of themselves, by the tag that carries it. */
export const logTags = {
  /** The address that was reached. The field for it has the first address of a host, also where another one was reached. */
  target: '%UPSTREAM_REMOTE_ADDRESS%',
  /** Why Envoy ended the connection, where it did. */
  closed: '%DOWNSTREAM_LOCAL_CLOSE_REASON%',
  /** The URIs of the client's certificate, joined by commas, also where it was refused. */
  claimed: '%DOWNSTREAM_PEER_URI_SAN%',
} as const;

/** The same in every place: Envoy opens a stream for each configuration that differs. */
const toControlPlane = pack(TcpGrpcAccessLogConfigSchema, {
  commonConfig: {
    logName: accessLogName,
    transportApiVersion: ApiVersion.V3,
    grpcService: { targetSpecifier: { case: 'envoyGrpc', value: { clusterName: logCluster } } },
    bufferFlushInterval: milliseconds(flushIntervalMs),
    filterStateObjectsToLog: [stateKeys.identity, stateKeys.serialNumber, stateKeys.client, stateKeys.connection],
    customTags: Object.entries(logTags).map(([tag, operator]) => ({ tag, type: { case: 'value', value: operator } })),
  },
});

const logWhere = (filter?: FilterInit): readonly AccessLogInit[] => [{ name: 'envoy.access_loggers.tcp_grpc', configType: { case: 'typedConfig', value: toControlPlane }, ...(filter === undefined ? {} : { filter }) }];

const withFlags = (...flags: string[]): FilterInit => ({ filterSpecifier: { case: 'responseFlagFilter', value: { flags } } });

const withoutIdentity: FilterInit = {
  filterSpecifier: {
    case: 'extensionFilter',
    value: { name: 'envoy.access_loggers.extension_filters.cel', configType: { case: 'typedConfig', value: pack(ExpressionFilterSchema, { expression: `!('${stateKeys.identity}' in filter_state || '${stateKeys.handedOver}' in filter_state)` }) } },
  },
};

/** Of an outer listener: whoever did not prove an identity, and whoever asked for no service there is. What becomes of others the inner listener logs. */
export const entranceLog = logWhere({ filterSpecifier: { case: 'orFilter', value: { filters: [withoutIdentity, withFlags('NC', 'UH')] } } });

/** Of an inner listener: whoever has no grant. */
export const refusalLog = logWhere(withFlags('NR'));

/** Of a grant's filter chain: everyone, when the target is reached and at the end. */
export const grantLog = logWhere();
