import { createHash } from 'node:crypto';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { LeafPurpose } from '../core/x509/x509-svid.ts';

/**
 * Join tokens: 256 bits, good for enrolling one SPIFFE ID with one key within a short time, for an SVID or for a proxy certificate
 * (docs/decisions/0600). Kept only as a SHA-256, which is
 * enough for a secret of full entropy; a store that leaks tells nobody how to enrol. The first key to come spends the token; an
 * answer that is lost on the way is had again with the same key, and with no other.
 */
export interface JoinToken {
  readonly spiffeId: SpiffeId;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
  /** Of the proxy certificate that it buys; absent where it buys an SVID. */
  readonly proxyLifetimeMs?: number;
  /** The `publicKeyHash` of the key that has spent it; absent while it is unspent. */
  readonly spentBy?: string;
}

const prefix = 'sallyport-join-';
export const tokenLifetimeMs = { byDefault: 10 * 60_000, max: 24 * 3_600_000 } as const;

/** What a token buys: what its maker decided, never what its bearer asks for. */
export const purposeOf = ({ proxyLifetimeMs }: JoinToken): LeafPurpose => (proxyLifetimeMs === undefined ? 'svid' : 'proxy');

/** A new token's text. It is shown once and kept nowhere. */
export function makeTokenText(randomBytes: (count: number) => Buffer): string {
  return prefix + randomBytes(32).toString('base64url');
}

/** The key under which a token is stored; undefined for what cannot be one, so that nothing long or odd is hashed. */
export function tokenKey(text: string): string | undefined {
  if (!/^sallyport-join-[A-Za-z0-9_-]{43}$/.test(text)) return undefined;
  return createHash('sha256').update(text).digest('hex');
}

/** SHA-256, hexadecimal, of a SubjectPublicKeyInfo. */
export function publicKeyHash(publicKeyDer: Buffer): string {
  return createHash('sha256').update(publicKeyDer).digest('hex');
}

/** The token as spent by a key, the same object where it was already; undefined where it gives this key nothing. */
export function redeem(token: JoinToken | undefined, keyHash: string, nowMs: number): JoinToken | undefined {
  if (token === undefined || token.expiresAtMs <= nowMs) return undefined;
  if (token.spentBy === undefined) return { ...token, spentBy: keyHash };
  return token.spentBy === keyHash ? token : undefined;
}
