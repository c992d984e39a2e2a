/** The filters that our chains are made of. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { FilterSchema } from '../../proto/envoy/config/listener/v3/listener_components_pb.ts';
import { formatEndpoint } from '../../core/ip-address.ts';
import { FilterStateValue_SharedWithUpstream as SharedWithUpstream, type FilterStateValueSchema } from '../../proto/envoy/extensions/filters/common/set_filter_state/v3/value_pb.ts';
import { ConfigSchema } from '../../proto/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.ts';
import { TcpProxySchema } from '../../proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { pack } from './resource.ts';

export type FilterInit = MessageInitShape<typeof FilterSchema>;
type StateInit = MessageInitShape<typeof FilterStateValueSchema>;

const formatted = (key: string, text: string): StateInit => ({ key: { case: 'objectKey', value: key }, value: { case: 'formatString', value: { format: { case: 'textFormatSource', value: { specifier: { case: 'inlineString', value: text } } } } } });

/** State that stays with this listener, under a key that Envoy itself reads. */
export const ownState = formatted;

/**
 * State that the inner listener sees too. It must be hashable: connections between listeners are pooled by what of it can be
 * hashed, and with plain text two identities that come at one moment are taken for each other (seen with Envoy 1.40).
 */
export const sharedState = (key: string, text: string): StateInit => ({ ...formatted(key, text), factoryKey: 'envoy.hashable_string', sharedWithUpstream: SharedWithUpstream.TRANSITIVE });

/** Where a cluster of type ORIGINAL_DST connects to. */
export const originalDestination = (endpoint: { readonly address: string; readonly port: number }): StateInit => ownState('envoy.network.transport_socket.original_dst_address', formatEndpoint(endpoint));

export function setFilterState(states: MessageInitShape<typeof ConfigSchema>): FilterInit {
  return { name: 'envoy.filters.network.set_filter_state', configType: { case: 'typedConfig', value: pack(ConfigSchema, states) } };
}

/** The filter that ends each chain. All of them count in the same place: by chain there would be thousands of counters. */
export function tcpProxy(cluster: string, options: Omit<MessageInitShape<typeof TcpProxySchema>, '$typeName'>): FilterInit {
  return { name: 'envoy.filters.network.tcp_proxy', configType: { case: 'typedConfig', value: pack(TcpProxySchema, { statPrefix: 'sallyport', clusterSpecifier: { case: 'cluster', value: cluster }, ...options }) } };
}
