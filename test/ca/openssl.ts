/** The machine's openssl as the judge of what we write, and as the maker of what we must refuse. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, createDemoPki, noSlots, type Authority, type AuthorityOptions, type CaKeyKind, type DemoPki } from '../../src/ca/index.ts';
import { pemBlocks, pemBytes } from '../../src/core/x509/pem.ts';
import type { SpiffeId, TrustDomain } from '../../src/core/spiffe-id.ts';

export const trustDomain = 'cluster.local' as TrustDomain;
export const productpage = 'spiffe://cluster.local/ns/bookinfo/sa/productpage' as SpiffeId;
export const reviews = 'spiffe://cluster.local/ns/bookinfo/sa/reviews' as SpiffeId;

/** A directory that `dispose` removes. */
export function workspace(): { readonly path: (name: string) => string; readonly write: (name: string, content: string | Buffer) => string; readonly read: (name: string) => string; readonly openssl: (...args: string[]) => string; readonly dispose: () => void } {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-ca-'));
  const path = (name: string): string => join(directory, name);
  return {
    path,
    write: (name, content) => {
      writeFileSync(path(name), content, { mode: 0o600 });
      return path(name);
    },
    read: (name) => readFileSync(path(name), 'utf8'),
    openssl: (...args) => {
      const { status, stdout, stderr } = spawnSync('openssl', args, { cwd: directory, encoding: 'utf8', timeout: 20_000 });
      assert.equal(status, 0, `openssl ${args.join(' ')}: ${stderr}`);
      return stdout + stderr;
    },
    dispose: () => rmSync(directory, { recursive: true, force: true }),
  };
}
export type Workspace = ReturnType<typeof workspace>;

export const derOf = (pem: string): Buffer => pemBytes(pemBlocks(pem)[0]!)!;

export const keyOf = (kind: 'P-256' | 'P-384' | 'P-521' | 'secp256k1' | number): KeyObject =>
  (typeof kind === 'number' ? generateKeyPairSync('rsa', { modulusLength: kind }) : generateKeyPairSync('ec', { namedCurve: kind })).privateKey;

export const pkcs8Pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

/** An authority with a demo PKI active, and a clock that the test turns. */
export async function demoAuthority(options: Partial<AuthorityOptions> & { readonly keyKind?: CaKeyKind } = {}): Promise<{ readonly authority: Authority; readonly pki: DemoPki; readonly clock: { nowMs: number } }> {
  const clock = { nowMs: Date.now() };
  const { keyKind = 'ec-p256', ...rest } = options;
  const pki = await createDemoPki({ trustDomain, nowMs: clock.nowMs, randomBytes, keyKind });
  const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: () => clock.nowMs, randomBytes, ...rest });
  await authority.rotate({ type: 'initialize', issuer: pki.intermediate, nowMs: clock.nowMs });
  return { authority, pki, clock };
}
