/**
 * What every replica of the control plane must know: who may join, and what is revoked. As values: sections of small entries, and the one text
 * that replicas keep them in.
 */
import * as z from 'zod';
import { SallyportError } from '../core/errors.ts';
import type { AttestedPod } from '../core/ledger-record.ts';
import type { JoinToken } from './join-tokens.ts';

/** A certificate that is not to be accepted any more. */
export interface Revocation {
  readonly spiffeId: string;
  readonly notAfterMs: number;
  /** Whose token began the chain of renewals that led to it, where that was a pod's. */
  readonly pod?: AttestedPod;
}

/** Who has issued what it is about revokes that: others do not know of it. */
export interface RevocationOrder {
  readonly orderedAtMs: number;
  /** No certificate that it is about lives longer. */
  readonly expiresAtMs: number;
}

export interface SharedSections {
  /** By the hash of the token; gone some time after it has expired, and once spent where its identity is revoked. */
  readonly tokens: JoinToken;
  /** By serial number; gone some time after the certificate would have expired. A pod's stay for as long as it lives: its token would let it in again. */
  readonly revocations: Revocation;
  /** By SPIFFE ID, for all that was issued to it before, or by serial number. */
  readonly orders: RevocationOrder;
}

/**
 * How far clocks may be apart before one that is ahead takes for expired what is accepted elsewhere: an hour, which is what a wrong time zone
 * makes of a clock, and as much again.
 */
export const clockErrorMaxMs = 2 * 3_600_000;
/** A token that is forgotten too soon lets nobody in, and there may be many. */
const tokenGraceMs = 5 * 60_000;

const revocationEndMs = ({ notAfterMs }: Revocation): number => notAfterMs + clockErrorMaxMs;

/** When an entry may be forgotten, by a clock that may be ahead of those to whom it still counts. */
export const sharedExpiry: { readonly [Name in keyof SharedSections]: (entry: SharedSections[Name]) => number } = {
  tokens: ({ expiresAtMs }) => expiresAtMs + tokenGraceMs,
  revocations: (revocation) => (revocation.pod === undefined ? revocationEndMs(revocation) : Infinity),
  orders: ({ expiresAtMs }) => expiresAtMs + clockErrorMaxMs,
};

/** By key; null removes. */
export type SharedPut = { readonly [Name in keyof SharedSections]?: Readonly<Record<string, SharedSections[Name] | null>> };

export type SharedEntries = { readonly [Name in keyof SharedSections]: ReadonlyMap<string, SharedSections[Name]> };

export const noEntries: SharedEntries = { tokens: new Map(), revocations: new Map(), orders: new Map() };
const names = Object.keys(noEntries) as (keyof SharedSections)[];

type AnyEntry = SharedSections[keyof SharedSections];

/** Applies `section` to each section. The types of sections and their entries go together, which a loop over names cannot say. */
function mapSections(entries: SharedEntries, section: (before: ReadonlyMap<string, AnyEntry>, name: keyof SharedSections) => ReadonlyMap<string, AnyEntry>): SharedEntries {
  const mapped = Object.fromEntries(names.map((name) => [name, section(entries[name], name)])) as unknown as SharedEntries;
  return names.every((name) => mapped[name] === entries[name]) ? entries : mapped;
}

/** The same object where nothing changes. */
export function withPut(entries: SharedEntries, put: SharedPut): SharedEntries {
  return mapSections(entries, (before, name) => {
    const changed = Object.entries(put[name] ?? {}).filter(([key, entry]) => (entry === null ? before.has(key) : before.get(key) !== entry));
    if (changed.length === 0) return before;
    const after = new Map(before);
    for (const [key, entry] of changed) {
      if (entry === null) after.delete(key);
      else after.set(key, entry as AnyEntry);
    }
    return after;
  });
}

/**
 * Without what may be forgotten; the same object where there is nothing of that.
 *
 * @param isPodGone whether the pod of a revocation is not there any more
 */
export function withoutExpired(entries: SharedEntries, nowMs: number, isPodGone: (revocation: Revocation) => boolean): SharedEntries {
  return mapSections(entries, (before, name) => {
    const expiry = sharedExpiry[name] as (entry: AnyEntry) => number;
    const isForgotten = (entry: AnyEntry): boolean => expiry(entry) <= nowMs || ('pod' in entry && revocationEndMs(entry) <= nowMs && isPodGone(entry));
    const after = new Map([...before].filter(([, entry]) => !isForgotten(entry)));
    return after.size === before.size ? before : after;
  });
}

/** What leads from one to the other. */
export function differenceOf(before: SharedEntries, after: SharedEntries): SharedPut {
  return Object.fromEntries(
    names.map((name) => {
      const [old, young]: readonly ReadonlyMap<string, AnyEntry>[] = [before[name], after[name]];
      const put = [...young!].filter(([key, entry]) => old!.get(key) !== entry && JSON.stringify(old!.get(key)) !== JSON.stringify(entry));
      const removed = [...old!.keys()].filter((key) => !young!.has(key)).map((key) => [key, null] as const);
      return [name, Object.fromEntries<AnyEntry | null>([...put, ...removed])];
    }),
  );
}

const milliseconds = z.int().min(0);
const shared = z.strictObject({
  version: z.literal(1),
  tokens: z.record(z.string(), z.strictObject({ spiffeId: z.string(), expiresAtMs: milliseconds, proxyLifetimeMs: milliseconds.optional(), spentBy: z.string().optional() })),
  revocations: z.record(z.string(), z.strictObject({ spiffeId: z.string(), notAfterMs: milliseconds, pod: z.strictObject({ name: z.string(), uid: z.string(), node: z.string().nullable() }).optional() })),
  orders: z.record(z.string(), z.strictObject({ orderedAtMs: milliseconds, expiresAtMs: milliseconds })),
});

/** A Secret holds 1 MiB, and who reads is told of another's write only when all of it has come. */
export const textBytesMax = 1_000_000;
/** Of it, join tokens when another one is made: they are not to be what a revocation has no room for. */
export const tokensBytesMax = 400_000;

export function encodeShared(entries: SharedEntries): string {
  return JSON.stringify({ version: 1, ...Object.fromEntries(names.map((name) => [name, Object.fromEntries<AnyEntry>(entries[name])])) });
}

/** @param place as messages name it. @param text undefined where nothing was written yet */
export function decodeShared(text: string | undefined, place: string): SharedEntries {
  if (text === undefined) return noEntries;
  const parsed = shared.safeParse(parseJson(text));
  if (!parsed.success) throw new SallyportError('unavailable', `what is in ${place} is not what was written there`, { place, hint: 'empty it, and revoke again what is to stay revoked' });
  return mapSections(noEntries, (_, name) => new Map(Object.entries<AnyEntry>(parsed.data[name] as Readonly<Record<string, AnyEntry>>)));
}

/** Why a change cannot be kept, where it makes the text too long: what is taken away, or spent, always can be. */
export function refusalForSize(before: SharedEntries, after: SharedEntries, place: string): SallyportError | undefined {
  const isNew = (name: keyof SharedSections): boolean => [...after[name].keys()].some((key) => !before[name].has(key));
  if (isNew('tokens') && Buffer.byteLength(encodeShared({ ...noEntries, tokens: after.tokens })) > tokensBytesMax) {
    return new SallyportError('unavailable', `${place} has no room for another join token: there are ${before.tokens.size}`, { place, hint: 'each goes when it expires: wait, and give them a shorter --ttl' });
  }
  if ((isNew('revocations') || isNew('orders')) && Buffer.byteLength(encodeShared(after)) > textBytesMax) {
    return new SallyportError('unavailable', `${place} has no room for another revocation: there are ${before.revocations.size}`, { place, hint: 'each goes when its certificate would have expired; at once, nothing is trusted that an old CA has signed: sallyport ca import, sallyport ca rotate' });
  }
  return undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // refused by the schema; the parser's message would quote the text
  }
}
