import type { Variant } from './stream-state.ts';
import { envoyTypes } from './type-order.ts';

/** A discovery service for one type. Its streams carry requests and responses of the same shape as the aggregated ones. */
export interface DiscoveryService {
  /** For example `envoy.service.cluster.v3.ClusterDiscoveryService`. */
  readonly service: string;
  /** The names of its methods; a variant that is left out is not served. */
  readonly methods: Readonly<Partial<Record<Variant, string>>>;
  readonly typeUrl: string;
}

/** One way in: a method of a service, and the only type that it serves where it is not aggregated. */
export interface DiscoveryMethod {
  readonly name: string;
  readonly path: string;
  readonly variant: Variant;
  readonly onlyType?: string;
}

const PREFIX = 'envoy.service';

/** CDS, EDS, LDS, RDS and SDS. Others are made the same way. */
export const envoyDiscoveryServices: readonly DiscoveryService[] = [
  { service: `${PREFIX}.cluster.v3.ClusterDiscoveryService`, methods: { sotw: 'StreamClusters', delta: 'DeltaClusters' }, typeUrl: envoyTypes.cluster },
  { service: `${PREFIX}.endpoint.v3.EndpointDiscoveryService`, methods: { sotw: 'StreamEndpoints', delta: 'DeltaEndpoints' }, typeUrl: envoyTypes.endpoint },
  { service: `${PREFIX}.listener.v3.ListenerDiscoveryService`, methods: { sotw: 'StreamListeners', delta: 'DeltaListeners' }, typeUrl: envoyTypes.listener },
  { service: `${PREFIX}.route.v3.RouteDiscoveryService`, methods: { sotw: 'StreamRoutes', delta: 'DeltaRoutes' }, typeUrl: envoyTypes.route },
  { service: `${PREFIX}.secret.v3.SecretDiscoveryService`, methods: { sotw: 'StreamSecrets', delta: 'DeltaSecrets' }, typeUrl: envoyTypes.secret },
];

const AGGREGATED = `${PREFIX}.discovery.v3.AggregatedDiscoveryService`;

/** The methods of the aggregated service, and of those for one type. */
export function discoveryMethods(services: readonly DiscoveryService[]): readonly DiscoveryMethod[] {
  return [
    { name: 'StreamAggregatedResources', path: `/${AGGREGATED}/StreamAggregatedResources`, variant: 'sotw' },
    { name: 'DeltaAggregatedResources', path: `/${AGGREGATED}/DeltaAggregatedResources`, variant: 'delta' },
    ...services.flatMap(({ service, methods, typeUrl }) =>
      (['sotw', 'delta'] as const).flatMap((variant) => {
        const name = methods[variant];
        return name === undefined ? [] : [{ name, path: `/${service}/${name}`, variant, onlyType: typeUrl }];
      }),
    ),
  ];
}
