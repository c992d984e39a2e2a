import { replaceFileSet, type WorkloadIdentity } from '../identity/index.ts';

/**
 * Writes an identity for programs that read files, 0600 and as one set: once by the names of Kubernetes' TLS secrets and once
 * by those of SPIFFE's helper (https://github.com/spiffe/spiffe-helper). Throws what the file system throws.
 */
export async function writeSvidFiles(directory: string, { certificateChainPem, privateKeyPem, trustBundlePem }: WorkloadIdentity): Promise<void> {
  await replaceFileSet(directory, {
    'tls.crt': certificateChainPem,
    'tls.key': privateKeyPem,
    'ca.crt': trustBundlePem,
    'svid.pem': certificateChainPem,
    'svid_key.pem': privateKeyPem,
    'svid_bundle.pem': trustBundlePem,
  });
}
