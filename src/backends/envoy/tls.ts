/** The two ends of mesh TLS, as transport sockets: whom they show, and whom they believe. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { SpiffeId } from '../../core/spiffe-id.ts';
import type { TransportSocketSchema } from '../../proto/envoy/config/core/v3/base_pb.ts';
import { ApiVersion } from '../../proto/envoy/config/core/v3/config_source_pb.ts';
import { SubjectAltNameMatcher_SanType as SanType, TlsParameters_TlsProtocol as TlsProtocol, type SubjectAltNameMatcherSchema } from '../../proto/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import type { SdsSecretConfigSchema } from '../../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from '../../proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts';
import { svidSecret, trustBundleSecret } from './names.ts';
import { pack } from './resource.ts';

type TransportSocketInit = MessageInitShape<typeof TransportSocketSchema>;

const tlsSocket = (value: ReturnType<typeof pack>): TransportSocketInit => ({ name: 'envoy.transport_sockets.tls', configType: { case: 'typedConfig', value } });

/** A secret that comes, and is renewed, by the stream of everything else. */
const fromAds = (name: string): MessageInitShape<typeof SdsSecretConfigSchema> => ({ name, sdsConfig: { resourceApiVersion: ApiVersion.V3, configSourceSpecifier: { case: 'ads', value: {} } } });

/**
 * A workload must prove who it is. Every connection does so anew: a resumed session would skip the verification against a
 * bundle that may have changed.
 */
export const workloadFacing: TransportSocketInit = tlsSocket(
  pack(DownstreamTlsContextSchema, {
    requireClientCertificate: true,
    sessionTicketKeysType: { case: 'disableStatelessSessionResumption', value: true },
    disableStatefulSessionResumption: true,
    commonTlsContext: {
      tlsParams: { tlsMinimumProtocolVersion: TlsProtocol.TLSv1_2 },
      tlsCertificateSdsSecretConfigs: [fromAds(svidSecret)],
      validationContextType: { case: 'validationContextSdsSecretConfig', value: fromAds(trustBundleSecret) },
    },
  }),
);

/** Towards a gateway, which must prove to be one of `serverIdentities` (secure naming). */
export function gatewayFacing(serverName: string, serverIdentities: readonly SpiffeId[]): TransportSocketInit {
  const matchTypedSubjectAltNames = serverIdentities.map((identity): MessageInitShape<typeof SubjectAltNameMatcherSchema> => ({ sanType: SanType.URI, matcher: { matchPattern: { case: 'exact', value: identity } } }));
  return tlsSocket(
    pack(UpstreamTlsContextSchema, {
      sni: serverName,
      maxSessionKeys: 0,
      commonTlsContext: {
        tlsParams: { tlsMinimumProtocolVersion: TlsProtocol.TLSv1_3, tlsMaximumProtocolVersion: TlsProtocol.TLSv1_3 },
        tlsCertificateSdsSecretConfigs: [fromAds(svidSecret)],
        validationContextType: { case: 'combinedValidationContext', value: { defaultValidationContext: { matchTypedSubjectAltNames }, validationContextSdsSecretConfig: fromAds(trustBundleSecret) } },
      },
    }),
  );
}
