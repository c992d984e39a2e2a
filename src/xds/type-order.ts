const PREFIX = 'type.googleapis.com/envoy';

/** The type URLs of Envoy's usual resources. The server serves any other type as well. */
export const envoyTypes = {
  cluster: `${PREFIX}.config.cluster.v3.Cluster`,
  endpoint: `${PREFIX}.config.endpoint.v3.ClusterLoadAssignment`,
  listener: `${PREFIX}.config.listener.v3.Listener`,
  route: `${PREFIX}.config.route.v3.RouteConfiguration`,
  secret: `${PREFIX}.extensions.transport_sockets.tls.v3.Secret`,
} as const;

/**
 * Stages of types, what is referred to before what refers to it. On one stream, what a stage adds or changes is sent before
 * anything of a later stage, and is acknowledged first (or the wait for that is over); what it removes is sent last, when the
 * later stages have been acknowledged. Within a stage the order is one of sending only. Types that are in no stage wait for none.
 */
export type TypeOrder = readonly (readonly string[])[];

/**
 * Make before break for Envoy (xds_protocol, "Eventual consistency considerations"). Clusters and endpoints are one stage
 * because Envoy acknowledges clusters only once they are warm, for which it needs their endpoints; secrets are in none because
 * both clusters and listeners wait for them.
 */
export const envoyTypeOrder: TypeOrder = [
  [envoyTypes.cluster, envoyTypes.endpoint],
  [envoyTypes.listener, envoyTypes.route],
];

/** In SotW a response of these types lists all that there is, and what is missing in it is gone (xds_protocol, "Deleting Resources"). */
export const envoyFullStateTypes: readonly string[] = [envoyTypes.cluster, envoyTypes.listener];

/** The stage of a type, or undefined. */
export function stageOf(order: TypeOrder, typeUrl: string): number | undefined {
  const stage = order.findIndex((types) => types.includes(typeUrl));
  return stage === -1 ? undefined : stage;
}
