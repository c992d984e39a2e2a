/**
 * The certificate authority: the organisation's intermediate CA, taken in, kept, rotated, and issuing X509-SVIDs and server
 * certificates (RFC 5280, SPIFFE X509-SVID). Does no network and keeps no list of what it issued: the control plane proves who
 * asks, and writes the ledger.
 *
 * Invariants: an identity never comes from a CSR; nothing is signed before it can be trusted, and everything signed stays
 * trusted until its end (rotation.ts); keys leave only by an export that a user asked for.
 */
export { createAuthority, defaultLifetimes, type Authority, type AuthorityOptions, type IssuedCertificate, type IssuedServerCertificate, type Lifetimes, type ServerCertificateRequest, type SvidRequest } from './authority.ts';
export type { IssuerCheck } from './chain.ts';
export { createDemoPki, renewDemoIntermediate, type DemoPki } from './demo-pki.ts';
export type { DistinguishedName } from './distinguished-name.ts';
export { caKeyKinds, createCaRequest, importIssuer, type CaKeyKind, type CaMaterial, type CaRequest } from './import.ts';
export { trustAnchorOf, type CaChain, type Issuer } from './issuer.ts';
export { openCaDirectory, openCaStore, type CaStorage, type CaStore } from './key-store.ts';
export { exportPkcs12, type Pkcs12Content } from './pkcs12.ts';
export { noSlots, propagationMs, trustBundle, type RotationEffect, type RotationEvent, type RotationState } from './rotation.ts';
