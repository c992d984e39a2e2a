/**
 * How both ends of a mesh connection are verified: the chain by TLS against the trust bundle, the name by SPIFFE ID.
 * An X509-SVID has no DNS name to compare, so the comparison of host names is replaced, never left out.
 */
import { createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import { credentials, type ChannelCredentials, type ClientOptions } from '@grpc/grpc-js';
import { invariant } from '../core/errors.ts';
import type { SpiffeId, TrustDomain } from '../core/spiffe-id.ts';
import { workloadSpiffeId } from '../core/spiffe-id.ts';
import { parseX509Svid } from '../core/x509/x509-svid.ts';

/** Who the control plane is, unless it was told otherwise. */
export function defaultControlIdentity(trustDomain: TrustDomain, namespace = 'sallyport-system'): SpiffeId {
  return workloadSpiffeId(trustDomain, { namespace, serviceAccount: 'control' });
}

/** What a caller shows to its peers. */
export interface ClientCertificate {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
}

/**
 * TLS 1.3 with the given trust anchors, and with a client certificate where there is one. Costs a key parse: make one per
 * identity, not per connection. Throws where OpenSSL cannot read the PEM.
 */
export function meshSecureContext(trustBundlePem: string, client?: ClientCertificate): SecureContext {
  invariant(trustBundlePem.includes('-----BEGIN CERTIFICATE-----'), 'a trust bundle has a certificate'); // without "ca" Node would trust the public CAs
  return createSecureContext({
    ca: trustBundlePem,
    allowPartialTrustChain: true, // every certificate of a trust bundle is an anchor, self-signed or not
    minVersion: 'TLSv1.3',
    ...(client === undefined ? {} : { cert: client.certificateChainPem, key: client.privateKeyPem }),
  });
}

/**
 * The `checkServerIdentity` of a TLS client that accepts exactly the servers named (secure naming). TLS calls it after the
 * chain has been verified and before anything is sent. It is not called for a resumed session: pass no `session`.
 */
export function serverIdentityCheck(accepted: readonly SpiffeId[]): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (_host, certificate) => {
    const parsed = parseX509Svid(certificate.raw);
    if (!parsed.ok) return new ServerIdentityError(`server certificate is not an X509-SVID: ${parsed.detail}`);
    if (accepted.includes(parsed.svid.spiffeId)) return undefined;
    return new ServerIdentityError(`server is ${JSON.stringify(parsed.svid.spiffeId)}, expected ${accepted.map((id) => JSON.stringify(id)).join(' or ')}`);
  };
}

/** The chain is good, but the server is not who it should be. */
export class ServerIdentityError extends Error {
  override readonly name = 'ServerIdentityError';
}

/** Channel credentials for one connection attempt. An identity is renewed, so make them anew at each. */
export function meshChannelCredentials(accepted: readonly SpiffeId[], trustBundlePem: string, client?: ClientCertificate): ChannelCredentials {
  return credentials.createFromSecureContext(meshSecureContext(trustBundlePem, client), { checkServerIdentity: serverIdentityCheck(accepted) });
}

/** Options that belong with `meshChannelCredentials`. */
export const meshChannelOptions: ClientOptions = {
  // What goes into the SNI, which must not be an IP address (RFC 6066, section 3). Nothing is compared with it.
  'grpc.ssl_target_name_override': 'control.sallyport-system',
  // A connection belongs to its channel alone, and ends with it.
  'grpc.use_local_subchannel_pool': 1,
  // The control plane is not beyond the proxy that HTTPS_PROXY names.
  'grpc.enable_http_proxy': 0,
};
