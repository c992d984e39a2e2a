/** The certificates that workloads show: good ones, and every kind of bad one. */
import type { ConnectionOptions } from 'node:tls';
import { adminPaths } from '../../src/api/admin.ts';
import { clientAuth, serverAuth } from '../../src/core/x509/certificate.ts';
import type { TestControl } from '../support/control.ts';
import { makePki, type Issued, type LeafOptions, type Pki } from '../support/pki.ts';
import type { Credential, MalformedForm } from './world.ts';

export interface Wardrobe {
  /** Has the control plane issue those that it must know, and revoke those that are to be. Once for each. */
  prepare(credentials: readonly Credential[]): Promise<void>;
  /** What it says of itself in TLS; undefined for no TLS. */
  dress(credential: Credential): ConnectionOptions | undefined;
}

const minuteMs = 60_000;

const malformations: Readonly<Record<MalformedForm, (spiffeId: string) => LeafOptions>> = {
  'ca': () => ({ ca: true }),
  'for-clients-only': () => ({ extendedKeyUsage: [clientAuth] }),
  'for-servers-only': () => ({ extendedKeyUsage: [serverAuth] }),
  'in-dns-name': (value) => ({ names: [{ type: 'dns', value }] }),
  'in-dns-name-too': (value) => ({ names: [{ type: 'uri', value }, { type: 'dns', value }] }),
  'without-uri': () => ({ names: [{ type: 'dns', value: 'workload.example' }] }),
};

/** `pki` is the one that the control plane issues by. */
export function createWardrobe(pki: Pki, control: TestControl): Wardrobe {
  const stranger = makePki();
  /** Issued by the control plane, by kind and SPIFFE ID. */
  const known = new Map<string, ConnectionOptions>();

  return {
    async prepare(credentials) {
      for (const credential of credentials) {
        if (!isIssuedByControl(credential) || known.has(keyOf(credential))) continue;
        const { kind, spiffeId } = credential;
        known.set(keyOf(credential), shows(await (kind === 'proxy' ? control.proxyCertificate(spiffeId) : control.svid(spiffeId))));
        if (kind === 'revoked') await control.admin.post(adminPaths.revocations, { spiffeId });
      }
    },
    dress(credential) {
      switch (credential.kind) {
        case 'svid':
          return shows(pki.issue(credential.spiffeId));
        case 'expired':
          return shows(pki.issue(credential.spiffeId, { notAfterMs: Date.now() - minuteMs }));
        case 'not-yet-valid':
          return shows(pki.issue(credential.spiffeId, { notBeforeMs: Date.now() + minuteMs }));
        case 'untrusted':
          return shows(stranger.issue(credential.spiffeId));
        case 'several':
          return shows(pki.issue(credential.spiffeIds[0]!, { names: credential.spiffeIds.map((value) => ({ type: 'uri', value })) }));
        case 'malformed':
          return shows(pki.issue(credential.spiffeId, malformations[credential.form](credential.spiffeId)));
        case 'enrolled':
        case 'proxy':
        case 'revoked':
          return known.get(keyOf(credential))!;
        case 'none':
          return {};
        case 'old-tls':
          return { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' };
        case 'plain':
          return undefined;
      }
    },
  };
}

type IssuedByControl = Extract<Credential, { readonly kind: 'enrolled' | 'revoked' | 'proxy' }>;

const isIssuedByControl = (credential: Credential): credential is IssuedByControl => ['enrolled', 'proxy', 'revoked'].includes(credential.kind);
const keyOf = ({ kind, spiffeId }: { readonly kind: string; readonly spiffeId: string }): string => `${kind} ${spiffeId}`;
const shows = ({ certificateChainPem, privateKeyPem }: Pick<Issued, 'certificateChainPem' | 'privateKeyPem'>): ConnectionOptions => ({ cert: certificateChainPem, key: privateKeyPem });
