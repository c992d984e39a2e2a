import type { KeyObject } from 'node:crypto';
import { parseCertificate, type Certificate } from '../core/x509/certificate.ts';
import { invariant } from '../core/errors.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import { encodeName } from './distinguished-name.ts';
import { generatePrivateKey, type CaKeyKind } from './import.ts';
import { caChain, type Issuer } from './issuer.ts';
import { authorityKeyId, caRights, createSigner, keyIdOf, publicKeyDerOf, serialNumber, subjectKeyId, trustDomainName, writeCertificate } from './profiles.ts';

/** A root and an intermediate CA as an organisation would have them; certs/README.md has the same as an OpenSSL recipe. */
export interface DemoPki {
  readonly root: { readonly certificate: Certificate; readonly privateKey: KeyObject };
  /** Signed by the root; ready to be the CA's issuer. */
  readonly intermediate: Issuer;
}

const yearMs = 365 * 86_400_000;
const backdateMs = 5 * 60_000;

/** Makes a root for ten years and an intermediate CA for one, from `nowMs` on. For demonstrations, tests, and trying things out. */
export async function createDemoPki({ trustDomain, nowMs, randomBytes, keyKind = 'ec-p256' }: { readonly trustDomain: TrustDomain; readonly nowMs: number; readonly randomBytes: (size: number) => Buffer; readonly keyKind?: CaKeyKind }): Promise<DemoPki> {
  const rootKey = await generatePrivateKey(keyKind);
  const rootKeyDer = publicKeyDerOf(rootKey);
  const rootName = encodeName({ commonName: `${trustDomain.slice(0, 40)} demo root`, organization: 'Sallyport demo' });
  const signer = createSigner(rootKey);
  const root = read(await writeCertificate(signer, {
    serial: serialNumber(randomBytes),
    issuer: rootName,
    subject: rootName,
    notBeforeMs: nowMs - backdateMs,
    notAfterMs: nowMs + 10 * yearMs,
    publicKeyDer: rootKeyDer,
    extensions: [...caRights(null), subjectKeyId(keyIdOf(rootKeyDer))],
  }));
  return { root: { certificate: root, privateKey: rootKey }, intermediate: await createIntermediate({ root, signer, trustDomain, nowMs, randomBytes, keyKind }) };
}

/** Another intermediate CA under the same demo root: what a rotation takes in. */
export const renewDemoIntermediate = ({ root }: DemoPki, context: { readonly trustDomain: TrustDomain; readonly nowMs: number; readonly randomBytes: (size: number) => Buffer; readonly keyKind?: CaKeyKind }): Promise<Issuer> =>
  createIntermediate({ ...context, root: root.certificate, signer: createSigner(root.privateKey), keyKind: context.keyKind ?? 'ec-p256' });

async function createIntermediate({ root, signer, trustDomain, nowMs, randomBytes, keyKind }: {
  readonly root: Certificate;
  readonly signer: ReturnType<typeof createSigner>;
  readonly trustDomain: TrustDomain;
  readonly nowMs: number;
  readonly randomBytes: (size: number) => Buffer;
  readonly keyKind: CaKeyKind;
}): Promise<Issuer> {
  const privateKey = await generatePrivateKey(keyKind);
  const publicKeyDer = publicKeyDerOf(privateKey);
  const serial = serialNumber(randomBytes);
  const certificate = read(await writeCertificate(signer, {
    serial,
    issuer: root.subject,
    // The serial keeps the names of several intermediates apart, which chain building goes by.
    subject: encodeName({ commonName: `${trustDomain.slice(0, 30)} demo intermediate ${serial.toString('hex').slice(2, 10)}`, organization: 'Sallyport demo' }),
    notBeforeMs: nowMs - backdateMs,
    notAfterMs: nowMs + yearMs,
    publicKeyDer,
    extensions: [...caRights(0), subjectKeyId(keyIdOf(publicKeyDer)), authorityKeyId(keyIdOf(root.publicKey)), trustDomainName(trustDomain)],
  }));
  return { chain: caChain([certificate, root]), privateKey };
}

function read(der: Buffer): Certificate {
  const parsed = parseCertificate(der);
  invariant(parsed.ok, 'a certificate of ours can be read');
  return parsed.certificate;
}
