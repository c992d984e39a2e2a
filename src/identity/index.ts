/**
 * Identity: how a gateway or an agent comes to an X509-SVID and keeps it valid.
 *
 * Lives here: `identity.ts` (the shell that enrols, renews and tells; when is `core/renewal.ts`), `svid.ts` (whether an answer
 * is believed), `identity-store.ts` and `file-set.ts` (on disk), `token-file.ts`, `pod-token.ts` (what a pod's token says of itself), `trust-bundle-secret.ts` (new trust anchors by SDS),
 * `proxy-certificate.ts` (once a call, for proxies that cannot enrol themselves).
 *
 * Invariants:
 * - A token goes only to a server whose chain leads to the trust bundle and whose SPIFFE ID is the control plane's.
 * - A private key is made here, one for every certificate (but for an enrolment that is repeated), and leaves only by the files that the user asked for (0600).
 * - What is held is always whole: certificate, key and bundle change together, in memory and on disk.
 * - A renewal never changes who we are.
 *
 * Source: the SPIFFE standards, "X.509-SVID" and "SPIFFE Workload API" (https://github.com/spiffe/spiffe/tree/main/standards).
 */
export type { IdentitySource, WorkloadIdentity } from './identity-source.ts';
export { createIdentity } from './identity.ts';
export type { Identity, IdentityOptions, IdentityStatus } from './identity.ts';
export { readFileSet, replaceFileSet } from './file-set.ts';
export type { FileSet } from './file-set.ts';
export { obtainProxyCertificate } from './proxy-certificate.ts';
export type { ProxyCertificate, ProxyCertificateOptions } from './proxy-certificate.ts';
export { tokenFile } from './token-file.ts';
export { readTrustBundleSecret, trustBundleSubscription } from './trust-bundle-secret.ts';
