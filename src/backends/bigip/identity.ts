/**
 * What a BIG-IP shows, and whom it believes: a slot of the declaration that no plan fills, for a plan has no private keys.
 *
 * A workload accepts a server by secure naming: one URI in its certificate, which is the gateway's SPIFFE ID. So the certificate is an
 * X509-SVID of the gateway's own identity, as every gateway has one.
 */
import type { PlannedGateway } from '../../core/plan/plan.ts';
import type { As3Objects, Json } from './as3-object.ts';
import { fixedNames, objectName } from './names.ts';

/** Each as AS3 has it: PEM, or `{ bigip: PATH }` of a file that is on the box. */
export interface BoxIdentity {
  readonly certificate: Json;
  readonly privateKey: Json;
  /** From the certificate's issuer upwards; null where the certificate's file has it too. */
  readonly chain: Json | null;
  readonly trustBundle: Json;
}

/** PEM each. */
export interface IssuedIdentity {
  /** The leaf first. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
}

/** An identity that is declared with all else. AS3 gives the key back to whoever may read the declaration. */
export function issuedIdentity({ certificateChainPem, privateKeyPem, trustBundlePem }: IssuedIdentity): BoxIdentity {
  const [certificate = '', ...issuers] = certificateChainPem.match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----\n?/g) ?? [];
  return { certificate, privateKey: privateKeyPem, chain: issuers.length === 0 ? null : issuers.join(''), trustBundle: trustBundlePem };
}

/** Files that a person has imported by these names, each as `sys file ssl-cert` or `ssl-key`: AS3 refuses the declaration where they are missing. */
export function importedIdentity({ name }: Pick<PlannedGateway, 'name'>): Readonly<Record<keyof BoxIdentity, { readonly bigip: string }>> {
  const file = (extension: 'crt' | 'key', ...parts: readonly string[]) => ({ bigip: `/Common/${objectName('sallyport', name, ...parts)}.${extension}` });
  return { certificate: file('crt'), privateKey: file('key'), chain: file('crt', 'chain'), trustBundle: file('crt', 'ca') };
}

export function identityObjects({ certificate, privateKey, chain, trustBundle }: BoxIdentity): As3Objects {
  return {
    [fixedNames.certificate]: { class: 'Certificate', certificate, privateKey, ...(chain === null ? {} : { chainCA: chain }) },
    [fixedNames.caBundle]: { class: 'CA_Bundle', bundle: trustBundle },
  };
}
