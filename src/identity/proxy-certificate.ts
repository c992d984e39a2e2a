/** The certificate that a proxy gets its configuration by, for proxies that make no CSR themselves, such as Envoy (docs/decisions/0600). */
import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { enrol, renew, type ControlPlane } from '../api/enrolment-client.ts';
import { SallyportError } from '../core/errors.ts';
import type { SpiffeId, TrustDomain } from '../core/spiffe-id.ts';
import { createCsr } from '../core/x509/csr.ts';
import { leafPurposes, parseMeshCertificate } from '../core/x509/x509-svid.ts';
import { CertificatePurpose, type SvidResponse } from '../proto/sallyport/v1alpha1/identity_pb.ts';
import type { WorkloadIdentity } from './identity-source.ts';
import { createIdentityStore, type IdentityStore } from './identity-store.ts';
import { acceptSvid, type SvidMaterial } from './svid.ts';

export interface ProxyCertificateOptions {
  /** Where it is kept, as `svid.pem`, `key.pem` and `bundle.pem`. */
  readonly directory: string;
  readonly trustDomain: TrustDomain;
  readonly control: ControlPlane;
  /** Whom it must be for; where nobody is named, whoever the join token is for. */
  readonly spiffeId?: SpiffeId;
  /** Asked only where no valid certificate is there to renew by. */
  readonly joinToken: () => Promise<string | undefined>;
  readonly now: () => number;
}

export interface ProxyCertificate {
  readonly identity: WorkloadIdentity;
  /** How it was bought. */
  readonly by: 'join-token' | 'certificate';
}

const limits = { timeoutMs: 10_000 } as const;
const generateKey = promisify(generateKeyPair);

/**
 * A new proxy certificate in `directory`, durable when it resolves: bought by the valid one that is there, else by a join token.
 * Where it fails, the files stay as they were. Throws SallyportError: `file-unreadable` where the directory cannot be used,
 * `certificate-invalid` where it holds somebody else's identity, `token-invalid` where a good token is needed, and as `enrol` does.
 */
export async function obtainProxyCertificate(options: ProxyCertificateOptions): Promise<ProxyCertificate> {
  const store = createIdentityStore(options.directory);
  const held = await loadHeld(store, options);
  const renewed = held === undefined ? undefined : await renewUnlessRefused(held, options);
  const identity = renewed ?? (await enrolWithToken(store, options));
  await store.save(identity);
  return { identity, by: renewed === undefined ? 'join-token' : 'certificate' };
}

/** What the directory holds, where that can be renewed. */
async function loadHeld(store: IdentityStore, { directory, trustDomain, spiffeId, now }: ProxyCertificateOptions): Promise<WorkloadIdentity | undefined> {
  const material = await unlessInvalid(() => store.load());
  if (material === undefined) return undefined;
  refuseOthers(material, directory, spiffeId);
  return await unlessInvalid(() => acceptSvid(material, { trustDomain, nowMs: now(), purpose: 'proxy' }).identity);
}

/** Whether valid or not, what is another's is not written over. */
function refuseOthers({ chain: [leaf] }: SvidMaterial, directory: string, spiffeId: SpiffeId | undefined): void {
  const parsed = leaf === undefined ? undefined : parseMeshCertificate(Buffer.from(leaf));
  if (parsed?.ok !== true) return;
  const { purpose, svid } = parsed;
  if (purpose === 'proxy' && (spiffeId === undefined || svid.spiffeId === spiffeId)) return;
  throw new SallyportError('certificate-invalid', `"${directory}" holds ${leafPurposes[purpose]} of "${svid.spiffeId}"${spiffeId === undefined ? '' : `, not ${leafPurposes.proxy} of "${spiffeId}"`}`, {
    place: directory,
    value: svid.spiffeId,
    hint: 'name another directory',
  });
}

/** Undefined where the control plane does not let the certificate in: with a new token it may let its holder in again. */
async function renewUnlessRefused(held: WorkloadIdentity, options: ProxyCertificateOptions): Promise<WorkloadIdentity | undefined> {
  const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
  try {
    return accept(await renew(options.control, held, createCsr(privateKey), limits), privateKey, { ...options, spiffeId: held.spiffeId });
  } catch (error) {
    if (error instanceof SallyportError && (error.code === 'identity-revoked' || error.code === 'attestation-failed')) return undefined;
    throw error;
  }
}

async function enrolWithToken(store: IdentityStore, options: ProxyCertificateOptions): Promise<WorkloadIdentity> {
  const token = await options.joinToken();
  if (token === undefined || token === '') {
    throw new SallyportError('token-invalid', `there is no join token, and no certificate in "${options.directory}" that the control plane renews`, { hint: 'make a token: sallyport token create --for proxy SPIFFE-ID' });
  }
  // On disk before the token is sent: to the key that has spent it, a lost answer is given again (docs/decisions/0500).
  const privateKey = (await unlessInvalid(() => store.loadEnrolmentKey())) ?? (await newEnrolmentKey(store));
  return accept(await enrol(options.control, token, createCsr(privateKey), limits, CertificatePurpose.PROXY), privateKey, options);
}

async function newEnrolmentKey(store: IdentityStore): Promise<KeyObject> {
  const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
  await store.saveEnrolmentKey(privateKey);
  return privateKey;
}

function accept({ certificateChain, trustBundle }: SvidResponse, privateKey: KeyObject, { trustDomain, spiffeId, now }: ProxyCertificateOptions): WorkloadIdentity {
  return acceptSvid({ chain: certificateChain, bundle: trustBundle, privateKey }, { trustDomain, nowMs: now(), purpose: 'proxy', ...(spiffeId === undefined ? {} : { spiffeId }) }).identity;
}

/** Damaged or expired is as good as not there. */
async function unlessInvalid<Value>(read: () => Value | Promise<Value>): Promise<Value | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'certificate-invalid') return undefined;
    throw error;
  }
}
