/**
 * What a stock Envoy is started with: who it is, where the control plane is, and nothing that the control plane can say later.
 * Plain JSON (which is YAML too), since a person reads it; `envoy --mode validate` holds it.
 */
import type { JsonValue } from '@bufbuild/protobuf';
import { parseAddress } from '../../core/ip-address.ts';
import type { SpiffeId } from '../../core/spiffe-id.ts';
import { controlCluster, logCluster, svidSecret, trustBundleSecret } from './names.ts';

/** Absolute paths of PEM files on Envoy's host, in one directory, where whoever renews the identity replaces them by one rename. */
export interface IdentityFiles {
  readonly certificateChain: string;
  readonly privateKey: string;
  readonly trustBundle: string;
}

/** Absolute paths of the two files by which Envoy finds the identity files again when they change: one secret a file. */
export interface SecretFiles {
  readonly svid: string;
  readonly trustBundle: string;
}

export interface EnvoyBootstrapOptions {
  /** What the proxy is called; the control plane compares it with the certificate. */
  readonly nodeId: string;
  readonly controlPlane: { readonly host: string; readonly port: number };
  /** Who must answer there. */
  readonly controlIdentity: SpiffeId;
  /** By which the proxy proves to the control plane who it is, and the control plane to it. */
  readonly identity: SecretFiles;
  /** Where Envoy's own administration listens. Whoever reaches it can stop the proxy. */
  readonly admin: { readonly address: string; readonly port: number } | { readonly socketPath: string };
}

/** Tells the control plane that Envoy's resources are wanted, not our own proxies'. */
export const proxyHeader = { key: 'x-sallyport-proxy', value: 'envoy' } as const;

/** As our own proxies do; Envoy's own longest pause of 30 s would keep a revocation waiting after the control plane is back. */
const reconnection = { base_interval: '0.25s', max_interval: '10s' } as const;

export function renderEnvoyBootstrap({ nodeId, controlPlane, controlIdentity, identity, admin }: EnvoyBootstrapOptions): JsonValue {
  const fromAds = { ads: {}, resource_api_version: 'V3' };
  return {
    node: { id: nodeId, cluster: 'sallyport' },
    admin: { address: 'socketPath' in admin ? { pipe: { path: admin.socketPath, mode: 0o600 } } : { socket_address: { address: admin.address, port_value: admin.port } } },
    bootstrap_extensions: [{ name: 'envoy.bootstrap.internal_listener', typed_config: { '@type': 'type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener' } }],
    // A cluster counts some hundred things, most of them never: with thousands of clusters half of the memory.
    deferred_stat_options: { enable_deferred_creation_stats: true },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: controlCluster, retry_policy: { retry_back_off: reconnection } }, initial_metadata: [proxyHeader] }],
      },
      cds_config: fromAds,
      lds_config: fromAds,
    },
    static_resources: { clusters: [controlPlaneCluster(controlPlane, controlIdentity, identity), toItself(logCluster)], listeners: [logListener] },
  };
}

const overHttp2 = {
  'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: '30s', timeout: '10s' } } },
  },
} as const;

/**
 * Half a minute. Envoy keeps what gathers meanwhile in memory, without a bound of its own; when it gives up, it is lost, which
 * `cluster.sallyport-control.upstream_cx_connect_attempts_exceeded` counts.
 */
const logAttemptsMax = 60;

/**
 * The access log's way to the control plane. A stream that cannot be opened loses what was to be logged by it, and nothing
 * counts that (seen with 1.40); so the log's stream is opened to a listener of Envoy's own, which is always there, and which
 * waits for the control plane (docs/decisions/0614).
 */
const logListener = {
  name: logCluster,
  internal_listener: {},
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.tcp_proxy',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy',
            stat_prefix: logCluster,
            cluster: controlCluster,
            idle_timeout: '0s',
            max_connect_attempts: logAttemptsMax,
            backoff_options: { base_interval: '0.25s', max_interval: '1s' },
          },
        },
      ],
    },
  ],
};

const toItself = (listener: string) => ({
  name: listener,
  type: 'STATIC',
  load_assignment: { cluster_name: listener, endpoints: [{ lb_endpoints: [{ endpoint: { address: { envoy_internal_address: { server_listener_name: listener } } } }] }] },
  typed_extension_protocol_options: overHttp2,
});

function controlPlaneCluster({ host, port }: EnvoyBootstrapOptions['controlPlane'], controlIdentity: SpiffeId, identity: SecretFiles): JsonValue {
  return {
    name: controlCluster,
    type: parseAddress(host) === undefined ? 'LOGICAL_DNS' : 'STATIC',
    connect_timeout: '5s',
    load_assignment: { cluster_name: controlCluster, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: host, port_value: port } } } }] }] },
    typed_extension_protocol_options: overHttp2,
    transport_socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext',
        max_session_keys: 0,
        common_tls_context: {
          alpn_protocols: ['h2'],
          tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_3' },
          ...identityFields(identity, { match_typed_subject_alt_names: [{ san_type: 'URI', matcher: { exact: controlIdentity } }] }),
        },
      },
    },
  };
}

function identityFields(identity: SecretFiles, naming: Record<string, JsonValue>): Record<string, JsonValue> {
  const fromFile = (name: string, path: string) => ({ name, sds_config: { path_config_source: { path }, resource_api_version: 'V3' } });
  return {
    tls_certificate_sds_secret_configs: [fromFile(svidSecret, identity.svid)],
    combined_validation_context: { default_validation_context: naming, validation_context_sds_secret_config: fromFile(trustBundleSecret, identity.trustBundle) },
  };
}

/** The contents of `SecretFiles`. Of files that a secret of a file of its own names, and of no others, Envoy watches the directory and reads them again. */
export function renderEnvoySecretFiles({ certificateChain, privateKey, trustBundle }: IdentityFiles): Record<keyof SecretFiles, JsonValue> {
  const secretFile = (secret: Record<string, JsonValue>) => ({ resources: [{ '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret', ...secret }] });
  return {
    svid: secretFile({ name: svidSecret, tls_certificate: { certificate_chain: { filename: certificateChain }, private_key: { filename: privateKey } } }),
    trustBundle: secretFile({ name: trustBundleSecret, validation_context: { trusted_ca: { filename: trustBundle } } }),
  };
}
