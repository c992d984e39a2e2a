/**
 * Rotation of the issuing CA, as a reducer: slots *prepared*, *active* and *old* (SPIRE's words).
 *
 * Invariants: nothing is signed by a CA that relying parties do not hold yet; a CA stays in the trust bundle until the last
 * certificate that it signed has ended. The private key of an old CA is dropped at once.
 *
 * Time is in the events. The shell (authority.ts) saves the new state before anything else sees it.
 */
import type { CaRotated } from '../core/ledger-record.ts';
import { trustAnchorOf, type CaChain, type Issuer } from './issuer.ts';
import type { CaRequest } from './import.ts';

export interface RotationState {
  /** A key of ours that waits for its certificate. */
  readonly requested: CaRequest | null;
  /** In the bundle, signs nothing. */
  readonly prepared: PreparedSlot | null;
  /** Signs. Null until the CA is initialised. */
  readonly active: ActiveSlot | null;
  /** In the bundle, signs nothing any more. Oldest first. */
  readonly old: readonly OldSlot[];
}

export interface PreparedSlot {
  readonly issuer: Issuer;
  /** When the bundle with it was published; null until then. */
  readonly publishedAtMs: number | null;
  /** Every relying party is known to hold its trust anchor. */
  readonly acknowledged: boolean;
}

export interface ActiveSlot {
  readonly issuer: Issuer;
  /** No certificate of this CA ends later. Raised before a certificate that would is signed. */
  readonly issuedUntilMs: number;
}

export interface OldSlot {
  readonly chain: CaChain;
  readonly retireAtMs: number;
}

export type RotationEvent =
  | { readonly type: 'requested'; readonly request: CaRequest }
  /** The first CA: nobody relies on anything yet, so it signs at once. */
  | { readonly type: 'initialize'; readonly issuer: Issuer; readonly nowMs: number }
  | { readonly type: 'prepare'; readonly issuer: Issuer }
  /** The bundle with the prepared CA went out. */
  | { readonly type: 'published'; readonly fingerprint: string; readonly nowMs: number }
  /** Every relying party has acknowledged that bundle. */
  | { readonly type: 'acknowledged'; readonly fingerprint: string }
  | { readonly type: 'activate'; readonly nowMs: number }
  /** Gives the prepared CA up. */
  | { readonly type: 'discard' }
  /** A certificate that ends at `untilMs` is about to be signed. */
  | { readonly type: 'reserve'; readonly fingerprint: string; readonly untilMs: number }
  /** Time passes: retires what has ended. */
  | { readonly type: 'tick'; readonly nowMs: number };

/** What goes into the ledger. Whether the trust bundle changed, `trustBundle` says. */
export type RotationEffect = Readonly<{ type: 'record'; step: CaRotated['step']; fingerprint: string }>;

export type RotationStep =
  | { readonly ok: true; readonly state: RotationState; readonly effects: readonly RotationEffect[] }
  | { readonly ok: false; readonly reason: RotationRefusal; readonly message: string; readonly hint: string };

export type RotationRefusal = 'already-initialized' | 'already-prepared' | 'known-issuer' | 'not-initialized' | 'not-prepared' | 'not-published' | 'not-valid' | 'too-many-old' | 'unknown-issuer';

export const noSlots: RotationState = { requested: null, prepared: null, active: null, old: [] };

/** How long a published bundle takes to reach everyone who does not acknowledge it: agents that poll, a BIG-IP that is updated by hand. */
export const propagationMs = 10 * 60_000;
/** Reserving ahead by so much makes the state's file change once an hour, not once a certificate. */
const reserveAheadMs = 3_600_000;
const oldSlotsMax = 16;

/** One step. Returns the same state object when nothing changes. */
export function rotate(state: RotationState, event: RotationEvent, { waitMs = propagationMs } = {}): RotationStep {
  switch (event.type) {
    case 'requested':
      return done({ ...state, requested: event.request });

    case 'initialize': {
      if (state.active !== null) return refuse('already-initialized', 'the CA is initialized already', 'prepare the new CA and activate it: "sallyport ca rotate"');
      return done(
        { ...fulfil(state, event.issuer), active: { issuer: event.issuer, issuedUntilMs: event.nowMs } },
        record('initialized', event.issuer.chain),
      );
    }

    case 'prepare': {
      const { fingerprint } = event.issuer.chain;
      if (state.active === null) return refuse('not-initialized', 'the CA is not initialized', 'initialize it first: "sallyport ca init"');
      if (state.prepared !== null) return refuse('already-prepared', `the CA "${state.prepared.issuer.chain.fingerprint}" is prepared already`, 'let it sign, or take it back: "sallyport ca rotate", "sallyport ca discard"');
      if (chainsOf(state).some((chain) => chain.fingerprint === fingerprint)) return refuse('known-issuer', `the CA "${fingerprint}" is in use already`, 'import a new CA certificate');
      // A new CA under the same root changes nothing for those who rely on the root.
      const acknowledged = trustBundle(state).some((anchor) => anchor.equals(trustAnchorOf(event.issuer.chain).der));
      return done({ ...fulfil(state, event.issuer), prepared: { issuer: event.issuer, publishedAtMs: null, acknowledged } }, record('prepared', event.issuer.chain));
    }

    case 'published': {
      const { prepared } = state;
      // A late answer about a CA that was discarded since says nothing about this one.
      if (prepared?.issuer.chain.fingerprint !== event.fingerprint || prepared.publishedAtMs !== null) return done(state);
      return done({ ...state, prepared: { ...prepared, publishedAtMs: event.nowMs } });
    }

    case 'acknowledged': {
      const { prepared } = state;
      if (prepared?.issuer.chain.fingerprint !== event.fingerprint || prepared.acknowledged) return done(state);
      return done({ ...state, prepared: { ...prepared, acknowledged: true } });
    }

    case 'activate': {
      const { active, prepared } = state;
      if (active === null || prepared === null) return refuse('not-prepared', 'no CA is prepared', 'import one first: "sallyport ca import"');
      if (!prepared.acknowledged) {
        if (prepared.publishedAtMs === null) return refuse('not-published', 'the prepared CA is not in the published trust bundle yet', 'wait until the bundle is published');
        const readyAtMs = prepared.publishedAtMs + waitMs;
        if (event.nowMs < readyAtMs) return refuse('not-published', `the prepared CA may not have reached everyone before ${new Date(readyAtMs).toISOString()}`, 'try again then');
      }
      const { notBeforeMs, notAfterMs, fingerprint } = prepared.issuer.chain;
      if (event.nowMs < notBeforeMs || event.nowMs > notAfterMs) return refuse('not-valid', `the prepared CA "${fingerprint}" is not valid now`, 'import another in its place: "sallyport ca discard", then "sallyport ca import"');
      if (state.old.length === oldSlotsMax) return refuse('too-many-old', `${oldSlotsMax} old CAs still have certificates out`, 'wait until one has ended');
      const old = { chain: active.issuer.chain, retireAtMs: active.issuedUntilMs };
      return done(
        { ...state, prepared: null, active: { issuer: prepared.issuer, issuedUntilMs: event.nowMs }, old: [...state.old, old] },
        record('activated', prepared.issuer.chain),
      );
    }

    case 'discard': {
      if (state.prepared === null) return refuse('not-prepared', 'no CA is prepared', 'there is nothing to discard');
      return done({ ...state, prepared: null }, record('discarded', state.prepared.issuer.chain));
    }

    case 'reserve': {
      const { active } = state;
      const { fingerprint, untilMs } = event;
      if (active?.issuer.chain.fingerprint === fingerprint) {
        if (untilMs <= active.issuedUntilMs) return done(state);
        return done({ ...state, active: { ...active, issuedUntilMs: Math.min(untilMs + reserveAheadMs, Math.max(untilMs, active.issuer.chain.notAfterMs)) } });
      }
      // The CA was rotated out while the certificate was being made: it may still be signed if the CA stays as long.
      const slot = state.old.find(({ chain }) => chain.fingerprint === fingerprint);
      if (slot === undefined) return refuse('unknown-issuer', `the CA "${fingerprint}" is retired`, 'ask again');
      if (untilMs <= slot.retireAtMs) return done(state);
      return done({ ...state, old: state.old.map((each) => (each === slot ? { ...slot, retireAtMs: untilMs } : each)) });
    }

    case 'tick': {
      const ended = state.old.filter(({ retireAtMs }) => retireAtMs <= event.nowMs);
      if (ended.length === 0) return done(state);
      return done({ ...state, old: state.old.filter((slot) => !ended.includes(slot)) }, ...ended.map(({ chain }) => record('retired', chain)));
    }
  }
}

const done = (state: RotationState, ...effects: readonly RotationEffect[]): RotationStep => ({ ok: true, state, effects });
const record = (step: CaRotated['step'], { fingerprint }: CaChain): RotationEffect => ({ type: 'record', step, fingerprint });
const refuse = (reason: RotationRefusal, message: string, hint: string): RotationStep => ({ ok: false, reason, message, hint });

const fulfil = (state: RotationState, issuer: Issuer): RotationState =>
  state.requested?.privateKey.equals(issuer.privateKey) === true ? { ...state, requested: null } : state;

const chainsOf = ({ prepared, active, old }: RotationState): readonly CaChain[] => [
  ...(active === null ? [] : [active.issuer.chain]),
  ...(prepared === null ? [] : [prepared.issuer.chain]),
  ...old.map(({ chain }) => chain),
];

/** The trust bundle: the trust anchor of every slot, DER, without duplicates, the active slot's first. */
export function trustBundle(state: RotationState): readonly Buffer[] {
  const anchors: Buffer[] = [];
  for (const { der } of chainsOf(state).map(trustAnchorOf)) if (!anchors.some((known) => known.equals(der))) anchors.push(der);
  return anchors;
}
