/** The two secrets that a proxy asks for by name. */
import { svidSecret, trustBundleSecret } from './names.ts';
import { resourceOf, type EnvoyResource } from './resource.ts';

const inline = (text: string) => ({ specifier: { case: 'inlineString', value: text } }) as const;

/** The proxy's own SVID with its key: for the snapshot of that proxy and no other (docs/decisions/0601). */
export function renderSvidSecret({ certificateChainPem, privateKeyPem }: { readonly certificateChainPem: string; readonly privateKeyPem: string }): EnvoyResource {
  return resourceOf('secret', { name: svidSecret, type: { case: 'tlsCertificate', value: { certificateChain: inline(certificateChainPem), privateKey: inline(privateKeyPem) } } });
}

/** Whom the proxy believes, and of those whom no more: by the certificate revocation list of each CA that issues leaves. */
export function renderTrustBundleSecret({ trustBundlePem, revocationListPem }: { readonly trustBundlePem: string; readonly revocationListPem?: string }): EnvoyResource {
  const revocations = revocationListPem === undefined ? {} : { crl: inline(revocationListPem), onlyVerifyLeafCertCrl: true };
  return resourceOf('secret', { name: trustBundleSecret, type: { case: 'validationContext', value: { trustedCa: inline(trustBundlePem), ...revocations } } });
}
