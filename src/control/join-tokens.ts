import { createHash } from 'node:crypto';
import { SallyportError } from '../core/errors.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';

/**
 * Join tokens: 256 bits, good for one enrolment of one SPIFFE ID within a short time. Kept only as a SHA-256, which is
 * enough for a secret of full entropy; a store that leaks tells nobody how to enrol.
 */
export interface JoinToken {
  readonly spiffeId: SpiffeId;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

const prefix = 'sallyport-join-';
export const tokenLifetimeMs = { byDefault: 10 * 60_000, max: 24 * 3_600_000 } as const;

/** A new token's text. It is shown once and kept nowhere. */
export function makeTokenText(randomBytes: (count: number) => Buffer): string {
  return prefix + randomBytes(32).toString('base64url');
}

/** The key under which a token is stored; undefined for what cannot be one, so that nothing long or odd is hashed. */
export function tokenKey(text: string): string | undefined {
  if (!/^sallyport-join-[A-Za-z0-9_-]{43}$/.test(text)) return undefined;
  return createHash('sha256').update(text).digest('hex');
}

/** The SPIFFE ID that the token proves. One wording for unknown, spent and expired: a guesser learns nothing. */
export function redeem(token: JoinToken | undefined, nowMs: number): SpiffeId {
  if (token === undefined || token.expiresAtMs <= nowMs) {
    throw new SallyportError('token-invalid', 'the join token is unknown, spent or expired', { hint: 'make a new one: sallyport token create SPIFFE-ID' });
  }
  return token.spiffeId;
}
