import { constants } from 'node:fs';
import type { KeyObject } from 'node:crypto';
import { access, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SallyportError } from '../core/errors.ts';
import { certificatesOfPem } from '../core/x509/pem.ts';
import { readFileSet, replaceFileSet } from './file-set.ts';
import type { WorkloadIdentity } from './identity-source.ts';
import { privateKeyToPem, readPrivateKey, type SvidMaterial } from './svid.ts';

/** Where an identity outlives its process. */
export interface IdentityStore {
  /** What was saved last, not believed yet; undefined for nothing. Throws SallyportError `file-unreadable`, or `certificate-invalid` for contents that make no sense. */
  load(): Promise<SvidMaterial | undefined>;
  /** Durable when it resolves. Forgets the enrolment key: what it was for is here. */
  save(identity: WorkloadIdentity): Promise<void>;
  /** The key of an enrolment that has brought no identity yet; undefined for none. Throws SallyportError `certificate-invalid`, and what the file system throws. */
  loadEnrolmentKey(): Promise<KeyObject | undefined>;
  /** Durable when it resolves. */
  saveEnrolmentKey(key: KeyObject): Promise<void>;
}

const names = { chain: 'svid.pem', key: 'key.pem', bundle: 'bundle.pem' } as const;

/** `svid.pem`, `key.pem` and `bundle.pem` in one directory, 0600, replaced as one; in its directory `enrolment`, while there is one, the `key.pem` of that. */
export function createIdentityStore(directory: string): IdentityStore {
  const enrolmentDirectory = join(directory, 'enrolment');
  return {
    async load() {
      const files = await readOrMake(directory);
      if (files === undefined) return undefined;
      return { chain: certificatesOfPem(files[names.chain]), bundle: certificatesOfPem(files[names.bundle]), privateKey: readPrivateKey(files[names.key]) };
    },
    async save(identity) {
      await replaceFileSet(directory, { [names.chain]: identity.certificateChainPem, [names.key]: identity.privateKeyPem, [names.bundle]: identity.trustBundlePem });
      await rm(enrolmentDirectory, { recursive: true, force: true });
    },
    async loadEnrolmentKey() {
      const files = await readFileSet(enrolmentDirectory, [names.key]);
      return files === undefined ? undefined : readPrivateKey(files[names.key]);
    },
    async saveEnrolmentKey(key) {
      await replaceFileSet(enrolmentDirectory, { [names.key]: privateKeyToPem(key) });
    },
  };
}

/** Asks for a directory that can be written too, so that a join token is not spent on an identity that cannot be kept. */
async function readOrMake(directory: string) {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await access(directory, constants.W_OK);
    return await readFileSet(directory, Object.values(names));
  } catch (error) {
    throw new SallyportError('file-unreadable', `state directory "${directory}" cannot be used`, { place: directory, hint: 'give it to the user that runs this program', cause: error });
  }
}
