/**
 * The SVIDs of proxies that cannot ask for one themselves: Envoy makes no key and no CSR. So their keys are made here, held in
 * memory only, and sent to nobody but the proxy that proved the identity (docs/decisions/0601).
 */
import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import type { Authority } from '../ca/index.ts';
import { attemptIsDue, startEnrolling, stepRenewal, wakeAtMs, type Renewal } from '../core/renewal.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { createCsr } from '../core/x509/csr.ts';
import { certificatesToPem } from '../core/x509/pem.ts';
import type { IssuedToLedger } from './issuance.ts';

export interface ProxySvid {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  readonly expiresAtMs: number;
}

export interface ProxySvids {
  /** The SVID of an identity as it stands; undefined where none is kept, or there is none yet. */
  get(identity: SpiffeId): ProxySvid | undefined;
  /** Whether the first one is being issued, so that there will be one in a moment. */
  isPending(identity: SpiffeId): boolean;
  /** Issues one and renews it at about half of its life, until `drop`. */
  keep(identity: SpiffeId): void;
  /** Forgets it, and its key. */
  drop(identity: SpiffeId): void;
  close(): void;
}

export interface ProxySvidsOptions {
  readonly authority: Pick<Authority, 'issueSvid'>;
  readonly issue: IssuedToLedger;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** There is a new one for this identity, or none could be issued. */
  readonly onAttempt: (identity: SpiffeId) => void;
  readonly log: Pick<Logger, 'warn'>;
}

interface Kept {
  renewal: Renewal;
  svid: ProxySvid | undefined;
  isPending: boolean;
  timer: NodeJS.Timeout | undefined;
}

const generateKey = promisify(generateKeyPair);

export function createProxySvids({ authority, issue, now, random, onAttempt, log }: ProxySvidsOptions): ProxySvids {
  const kept = new Map<SpiffeId, Kept>();

  async function certify(identity: SpiffeId): Promise<ProxySvid> {
    const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
    const issued = await issue('certificate', () => authority.issueSvid({ spiffeId: identity, csr: createCsr(privateKey) }));
    return { certificateChainPem: certificatesToPem(issued.chainDer), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string, expiresAtMs: issued.notAfterMs };
  }

  async function attempt(identity: SpiffeId, entry: Kept): Promise<void> {
    entry.renewal = stepRenewal(entry.renewal, { type: 'woken', nowMs: now() });
    if (attemptIsDue(entry.renewal, now())) {
      const heldSinceMs = now();
      try {
        const svid = await certify(identity);
        entry.svid = svid;
        entry.renewal = stepRenewal(entry.renewal, { type: 'issued', heldSinceMs, expiresAtMs: svid.expiresAtMs, random: random() });
      } catch (error) {
        entry.renewal = stepRenewal(entry.renewal, { type: 'failed', nowMs: now(), random: random() });
        log.warn({ err: error, spiffeId: identity }, 'no certificate could be issued for a proxy; it keeps the one that it has');
      }
      entry.isPending = false;
      if (kept.get(identity) === entry) onAttempt(identity);
    }
    if (kept.get(identity) === entry) entry.timer = setTimeout(() => void attempt(identity, entry), Math.max(0, wakeAtMs(entry.renewal, now()) - now()));
  }

  function drop(identity: SpiffeId): void {
    clearTimeout(kept.get(identity)?.timer);
    kept.delete(identity);
  }

  return {
    get: (identity) => kept.get(identity)?.svid,
    isPending: (identity) => kept.get(identity)?.isPending === true,
    keep(identity) {
      if (kept.has(identity)) return;
      const entry: Kept = { renewal: startEnrolling(now()), svid: undefined, isPending: true, timer: undefined };
      kept.set(identity, entry);
      void attempt(identity, entry);
    },
    drop,
    close() {
      for (const identity of [...kept.keys()]) drop(identity);
    },
  };
}
