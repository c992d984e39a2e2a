/** The control plane's own X509-SVID: issued by its own CA, renewed at half its life. */
import { generateKeyPairSync } from 'node:crypto';
import { createCsr } from '../core/x509/csr.ts';
import { certificatesToPem } from '../core/x509/pem.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { Authority } from '../ca/index.ts';
import type { IssuedToLedger } from './issuance.ts';

export interface ControlIdentity {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
  readonly notAfterMs: number;
}

/** Makes a new key and certifies it. The key stays in memory. */
export async function issueControlIdentity(authority: Authority, issue: IssuedToLedger, spiffeId: SpiffeId): Promise<ControlIdentity> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issued = await issue('operator', () => authority.issueSvid({ spiffeId, csr: createCsr(privateKey) }));
  return {
    certificateChainPem: certificatesToPem(issued.chainDer),
    privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    trustBundlePem: certificatesToPem(authority.trustBundle),
    notAfterMs: issued.notAfterMs,
  };
}
