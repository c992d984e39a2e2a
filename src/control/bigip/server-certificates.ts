/**
 * The certificates that BIG-IPs show workloads. A box is the only one that keeps the key of its certificate (docs/decisions/0811): what it was
 * declared is read back, and taken again for as long as it is good, so that a control plane that starts anew changes nothing.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import type { Authority, IssuedServerCertificate } from '../../ca/index.ts';
import { certificatesToPem } from '../../core/x509/pem.ts';
import type { SpiffeId } from '../../core/spiffe-id.ts';
import type { IssuedToLedger } from '../issuance.ts';

export interface KeyPair {
  /** Leaf first, without the root. */
  readonly certificateChainPem: string;
  /** PKCS#8. */
  readonly privateKeyPem: string;
}

export interface HeldKeyPair extends KeyPair {
  /** From then on it is to be replaced; what it is replaced in is good for as long again. */
  readonly renewAtMs: number;
}

export interface ServerCertificatesOptions {
  readonly authority: Pick<Authority, 'slots' | 'issueServerCertificate'>;
  readonly issue: IssuedToLedger;
  readonly isRevoked: (serialNumber: string) => boolean;
  readonly now: () => number;
}

/** What a box has is good for some days without a control plane; whoever gets at its key, has it for no longer. */
const lifetimeMs = 7 * 86_400_000;

/** The key pair that a gateway shows: what it has, where that is good, or a new one. */
export type ServerCertificate = (gateway: { readonly name: string; readonly identity: SpiffeId }, found: KeyPair | undefined) => Promise<HeldKeyPair>;

export function createServerCertificates({ authority, issue, isRevoked, now }: ServerCertificatesOptions): ServerCertificate {
  /** Undefined where it is not, or not any more, what this CA gives to this identity. */
  function good(found: KeyPair, identity: SpiffeId): HeldKeyPair | undefined {
    const leaf = leafOf(found);
    const issuer = authority.slots.active?.issuer.chain.certificates[0];
    if (leaf === undefined || issuer === undefined || !leaf.checkPrivateKey(createPrivateKey(found.privateKeyPem))) return undefined;
    if (!leaf.verify(new X509Certificate(issuer.der).publicKey) || !(leaf.subjectAltName ?? '').split(', ').includes(`URI:${identity}`)) return undefined;
    const renewAtMs = (leaf.validFromDate.getTime() + leaf.validToDate.getTime()) / 2;
    return renewAtMs <= now() || isRevoked(leaf.serialNumber.toLowerCase()) ? undefined : { ...found, renewAtMs };
  }

  return async ({ name, identity }, found) => {
    const held = found === undefined ? undefined : good(found, identity);
    if (held !== undefined) return held;
    // F5's lists show certificates by their subject, which is the DNS name's.
    const issued = await issue('operator', () => authority.issueServerCertificate({ spiffeId: identity, dnsNames: [name], lifetimeMs }));
    return keyPairOf(issued);
  };
}

function keyPairOf({ chainDer, privateKey, notBeforeMs, notAfterMs }: IssuedServerCertificate): HeldKeyPair {
  return { certificateChainPem: certificatesToPem(chainDer), privateKeyPem: privateKey!.export({ type: 'pkcs8', format: 'pem' }) as string, renewAtMs: (notBeforeMs + notAfterMs) / 2 };
}

/** Undefined where nothing can be read: somebody may have put in something else by hand. */
function leafOf({ certificateChainPem, privateKeyPem }: KeyPair): X509Certificate | undefined {
  try {
    createPrivateKey(privateKeyPem);
    return new X509Certificate(certificateChainPem);
  } catch {
    return undefined;
  }
}
