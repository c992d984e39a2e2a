/**
 * What Envoy's resources refer to. Messages are read by the numbers of their fields (Envoy 1.40), without a definition of them,
 * so that the library depends on no version of Envoy's hundreds of files; what is not listed here is not looked at.
 */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import type { Reference, ReferenceTable } from './reference.ts';
import { envoyTypes } from './type-order.ts';

type Finder = (message: Uint8Array) => Iterable<Reference>;

const EXTENSIONS = 'type.googleapis.com/envoy.extensions';

/** Extensions that refer to something, by the type of their `typed_config`. */
const extensions: Readonly<Record<string, Finder>> = {
  [`${EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy`]: function* (proxy) {
    yield* named(envoyTypes.cluster, at(proxy, 2)); // cluster
    yield* named(envoyTypes.cluster, at(proxy, 10, 1, 1)); // weighted_clusters.clusters.name
  },
  [`${EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager`]: function* (manager) {
    for (const rds of at(manager, 3)) if (isServedByUs(at(rds, 1))) yield* named(envoyTypes.route, at(rds, 2)); // route_config_name
    for (const inline of at(manager, 4)) yield* ofRoutes(inline); // route_config
  },
  [`${EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext`]: function* (context) {
    yield* ofTls(context);
    yield* ofSecrets(at(context, 5)); // session_ticket_keys_sds_secret_config
  },
  [`${EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext`]: (context) => ofTls(context),
  [`${EXTENSIONS}.transport_sockets.internal_upstream.v3.InternalUpstreamTransport`]: (transport) => ofExtensions(at(transport, 3, 3)), // transport_socket.typed_config
};

/** References of listeners, clusters and routes: to internal listeners, routes, clusters, endpoints and secrets that come from the same server. */
export const envoyReferences: ReferenceTable = {
  [envoyTypes.listener]: function* (listener) {
    for (const chain of [...at(listener, 3), ...at(listener, 25)]) { // filter_chains, default_filter_chain
      yield* ofExtensions(at(chain, 3, 4)); // filters.typed_config
      yield* ofExtensions(at(chain, 6, 3)); // transport_socket.typed_config
    }
  },
  [envoyTypes.cluster]: function* (cluster) {
    for (const eds of at(cluster, 3)) { // eds_cluster_config
      const [serviceName] = at(eds, 2);
      if (isServedByUs(at(eds, 1))) yield* named(envoyTypes.endpoint, serviceName === undefined ? at(cluster, 1) : [serviceName]);
    }
    yield* named(envoyTypes.listener, at(cluster, 33, 2, 2, 1, 1, 3, 1)); // load_assignment.endpoints.lb_endpoints.endpoint.address.envoy_internal_address.server_listener_name
    yield* ofExtensions(at(cluster, 24, 3)); // transport_socket.typed_config
    yield* ofExtensions(at(cluster, 43, 3, 3)); // transport_socket_matches.transport_socket.typed_config
  },
  [envoyTypes.route]: ofRoutes,
};

function* ofRoutes(route: Uint8Array): Iterable<Reference> {
  for (const action of at(route, 2, 3, 2)) { // virtual_hosts.routes.route
    yield* named(envoyTypes.cluster, at(action, 1)); // cluster
    yield* named(envoyTypes.cluster, at(action, 3, 1, 1)); // weighted_clusters.clusters.name
  }
}

function* ofTls(context: Uint8Array): Iterable<Reference> {
  yield* ofSecrets(at(context, 1, 6)); // common_tls_context.tls_certificate_sds_secret_configs
  yield* ofSecrets(at(context, 1, 7)); // common_tls_context.validation_context_sds_secret_config
  yield* ofSecrets(at(context, 1, 8, 2)); // common_tls_context.combined_validation_context.validation_context_sds_secret_config
}

/** A secret without a source stands in the bootstrap. */
function* ofSecrets(secrets: Iterable<Uint8Array>): Iterable<Reference> {
  for (const secret of secrets) if (isServedByUs(at(secret, 2))) yield* named(envoyTypes.secret, at(secret, 1));
}

function* ofExtensions(anys: Iterable<Uint8Array>): Iterable<Reference> {
  for (const any of anys) {
    const [typeUrl] = at(any, 1);
    const [value = new Uint8Array()] = at(any, 2);
    yield* extensions[text(typeUrl)]?.(value) ?? [];
  }
}

/** Whether a ConfigSource is `ads` or `self`: what comes from files or other servers we cannot know. */
function isServedByUs(sources: Iterable<Uint8Array>): boolean {
  for (const source of sources) for (const field of [3, 5]) for (const _ of at(source, field)) return true;
  return false;
}

function* named(typeUrl: string, names: Iterable<Uint8Array>): Iterable<Reference> {
  for (const name of names) yield { typeUrl, name: text(name) };
}

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

/** Every text, bytes or message at a path of field numbers. Throws a RangeError, or another error, for what is no message. */
function* at(message: Uint8Array, field: number, ...rest: readonly number[]): Iterable<Uint8Array> {
  const [next, ...further] = rest;
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (number !== field || type !== WireType.LengthDelimited) {
      reader.skip(type, number);
      continue;
    }
    const bytes = reader.bytes();
    if (next === undefined) yield bytes;
    else yield* at(bytes, next, ...further);
  }
}
