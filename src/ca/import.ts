/** Takes in an intermediate CA that the organisation made: from PEM, or from PKCS#12. And asks for one, by a CSR. */
import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { signCsr } from '../core/x509/csr.ts';
import { objectIdentifier, sequence, setOf } from '../core/x509/der.ts';
import { SallyportError, type Fault } from '../core/errors.ts';
import { pemBlocks, pemBytes, toPem } from '../core/x509/pem.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import { checkIssuer, type IssuerCheck } from './chain.ts';
import { encodeName, nameFault, type DistinguishedName } from './distinguished-name.ts';
import type { ReadMaterial } from './issuer.ts';
import { openPkcs12 } from './pkcs12-reader.ts';
import { caRights, trustDomainName } from './profiles.ts';

export interface CaMaterial {
  /** Either: PEM texts together, in any order: certificates, and the key unless it was made by `createCaRequest`. */
  readonly pem?: string;
  /** Or: one PKCS#12 file. */
  readonly pkcs12?: Buffer;
  readonly passphrase?: string;
  /** The key of the pending CSR, used when the material holds none. */
  readonly requestKey?: KeyObject;
}

const materialBytesMax = 1_048_576;

/** Reads and checks an intermediate CA. Answers with the issuer, or with every fault at once. Never shows a key or a passphrase. */
export async function importIssuer(material: CaMaterial, context: { readonly trustDomain: TrustDomain; readonly nowMs: number }): Promise<IssuerCheck> {
  const { pem = '', pkcs12 = Buffer.alloc(0), passphrase, requestKey } = material;
  if (pem.length + pkcs12.length > materialBytesMax) return refused({ code: 'too-large', message: `CA material of ${pem.length + pkcs12.length} bytes is larger than ${materialBytesMax}` });
  const read = pkcs12.length > 0 ? await openPkcs12(pkcs12, passphrase ?? '') : readPem(pem, passphrase);
  const privateKey = read.privateKey ?? requestKey;
  if (read.faults.length > 0) return { ok: false, faults: read.faults };
  if (privateKey === undefined) return refused({ code: 'key-missing', message: 'there is no private key, and no CSR of ours is waiting for its certificate', hint: 'give the key too, or make one with "sallyport ca csr"' });
  return checkIssuer({ certificatesDer: read.certificatesDer, privateKey }, context);
}

function readPem(text: string, passphrase: string | undefined): ReadMaterial {
  const faults: Fault[] = [];
  const keys: KeyObject[] = [];
  const certificatesDer: Buffer[] = [];
  for (const block of pemBlocks(text)) {
    if (block.label === 'CERTIFICATE') {
      const der = pemBytes(block);
      if (der === undefined) faults.push({ code: 'certificate-unreadable', message: 'a CERTIFICATE block does not hold base64' });
      else certificatesDer.push(der);
    } else if (/^((RSA|EC|ENCRYPTED) )?PRIVATE KEY$/.test(block.label)) {
      const isEncrypted = block.label.startsWith('ENCRYPTED') || /^Proc-Type: *4, *ENCRYPTED/m.test(block.text);
      if (isEncrypted && passphrase === undefined) {
        faults.push({ code: 'key-passphrase-missing', message: 'the private key is encrypted, and no passphrase was given', hint: 'give the passphrase of the key' });
        continue;
      }
      try {
        keys.push(createPrivateKey({ key: block.text, format: 'pem', ...(isEncrypted ? { passphrase: passphrase! } : {}) }));
      } catch {
        // OpenSSL's reason is left out: it says nothing a user can act on, and it has read the secret.
        faults.push(isEncrypted
          ? { code: 'key-passphrase-wrong', message: 'the private key cannot be decrypted', hint: 'check the passphrase' }
          : { code: 'key-unreadable', message: 'the private key is not readable', hint: 'give it as PKCS#8, PKCS#1 or SEC1 in PEM' });
      }
    }
  }
  if (keys.length > 1) faults.push({ code: 'several-keys', message: `there are ${keys.length} private keys`, hint: 'give the key of the CA only' });
  return { privateKey: keys[0], certificatesDer, faults };
}

const refused = (fault: Fault): IssuerCheck => ({ ok: false, faults: [fault] });

export const caKeyKinds = ['ec-p256', 'ec-p384', 'rsa-2048', 'rsa-3072', 'rsa-4096'] as const;
export type CaKeyKind = (typeof caKeyKinds)[number];

/** A new private key, made on libuv's pool. */
export async function generatePrivateKey(kind: CaKeyKind): Promise<KeyObject> {
  const generate = promisify(generateKeyPair);
  const { privateKey } = kind === 'ec-p256' || kind === 'ec-p384'
    ? await generate('ec', { namedCurve: kind === 'ec-p256' ? 'P-256' : 'P-384' })
    : await generate('rsa', { modulusLength: Number(kind.slice('rsa-'.length)) });
  return privateKey;
}

export interface CaRequest {
  /** Waits for its certificate; kept with the CA's keys. */
  readonly privateKey: KeyObject;
  /** PKCS#10 for the organisation's CA to sign; asks for CA:TRUE with path length 0. */
  readonly csrPem: string;
}

/** Makes a key and a CSR for an intermediate CA. Throws `request-invalid` for a bad subject. */
export async function createCaRequest(request: { readonly subject: DistinguishedName; readonly trustDomain: TrustDomain; readonly keyKind?: CaKeyKind }): Promise<CaRequest> {
  const fault = nameFault(request.subject);
  if (fault !== undefined) throw new SallyportError('request-invalid', `the CA's subject cannot be used: ${fault}`);
  const privateKey = await generatePrivateKey(request.keyKind ?? 'ec-p256');
  const extensionRequest = sequence(objectIdentifier('1.2.840.113549.1.9.14'), setOf(sequence(...caRights(0), trustDomainName(request.trustDomain))));
  const der = signCsr(privateKey, { subject: encodeName(request.subject), attributes: [extensionRequest] });
  return { privateKey, csrPem: toPem('CERTIFICATE REQUEST', der) };
}
