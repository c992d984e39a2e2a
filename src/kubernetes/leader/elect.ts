/** The shell of the reducer in election.ts: a Lease at the API server, and timers. */
import type { Logger } from 'pino';
import { ApiRefusal, readIfThere, type ApiClient } from '../client.ts';
import { beginElection, leaderOf, leaseDurationMs, lookEveryMs, renewWithinMs, stepElection, type Election, type ElectionEffect, type ElectionEvent, type LeaseState } from './election.ts';

export interface LeaderElection {
  readonly isLeader: boolean;
  /** Who leads, as far as is known here; empty: nobody, or it has not been heard of for too long. */
  readonly leader: string;
  /** As it has given them at the Lease. */
  readonly leaderAnnotations: Readonly<Record<string, string>>;
  /** Lets go of the Lease, so that another need not wait for its end. */
  close(): Promise<void>;
}

export interface LeaderElectionOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly lease: string;
  /** This replica's name. */
  readonly self: string;
  /** Others see them at the Lease. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly onElected: () => void;
  readonly onDeposed: () => void;
  /** Of the wall, for people who look at the Lease. */
  readonly now: () => number;
  /** Of a clock that only goes forward. */
  readonly monotonicNow: () => number;
  readonly log: Logger;
}

/** `coordination.k8s.io/v1 Lease`, as far as it is looked at. */
interface LeaseObject {
  readonly apiVersion: 'coordination.k8s.io/v1';
  readonly kind: 'Lease';
  readonly metadata: { readonly name: string; readonly namespace: string; readonly resourceVersion?: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly holderIdentity?: string; readonly leaseDurationSeconds?: number; readonly acquireTime?: string; readonly renewTime?: string; readonly leaseTransitions?: number };
}

/** What is answered later is of no use: who leads must have renewed by then. */
const answerWithin = { withinMs: renewWithinMs } as const;

export function electLeader({ client, namespace, lease, self, annotations = {}, onElected, onDeposed, now, monotonicNow, log }: LeaderElectionOptions): LeaderElection {
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`;
  let state: Election = beginElection(self);
  let acquiredAt = '';
  let seenAnnotations: Readonly<Record<string, string>> = {};
  let underWay: Promise<void> = Promise.resolve();
  let closed = false;

  function handle(event: ElectionEvent): void {
    const step = stepElection(state, event);
    state = step.state;
    for (const effect of step.effects) perform(effect);
  }

  function perform(effect: ElectionEffect): void {
    switch (effect.type) {
      case 'read':
        underWay = ask(async () => {
          const found = await readIfThere<LeaseObject>(client, `${folder}/${lease}`, answerWithin);
          seenAnnotations = found?.metadata.annotations ?? {};
          handle({ type: 'read', lease: found === undefined ? null : stateOf(found), nowMs: monotonicNow() });
        });
        break;
      case 'write':
        if (closed) break;
        underWay = ask(async () => handle({ type: 'written', lease: stateOf(await write(self, effect)), nowMs: monotonicNow() }));
        break;
      case 'elected':
        log.info({ lease, replica: self }, 'this replica leads: it writes');
        onElected();
        break;
      case 'deposed':
        log.warn({ lease, replica: self, leader: state.seen?.lease.holder ?? '' }, 'this replica leads no more');
        onDeposed();
    }
  }

  async function ask(request: () => Promise<void>): Promise<void> {
    try {
      await request();
    } catch (error) {
      // That another was faster is how it is meant.
      if (!(error instanceof ApiRefusal && error.status === 409)) log.warn({ err: error, lease }, 'the Lease could not be looked at or renewed');
      handle({ type: 'failed', nowMs: monotonicNow() });
    }
  }

  function write(holder: string, { transitions, resourceVersion }: Extract<ElectionEffect, { type: 'write' }>): Promise<LeaseObject> {
    const renewTime = new Date(now()).toISOString().replace('Z', '000Z'); // microseconds, as the API server wants them
    if (state.leadsUntilMs === null) acquiredAt = renewTime;
    const body: LeaseObject = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: lease, namespace, annotations, ...(resourceVersion === null ? {} : { resourceVersion }) },
      spec: { holderIdentity: holder, leaseDurationSeconds: leaseDurationMs / 1000, acquireTime: acquiredAt, renewTime, leaseTransitions: transitions },
    };
    return client.request({ ...(resourceVersion === null ? { method: 'POST', path: folder } : { method: 'PUT', path: `${folder}/${lease}` }), body, ...answerWithin });
  }

  const wake = (): void => handle({ type: 'woken', nowMs: monotonicNow() });
  const timer = setInterval(wake, lookEveryMs);
  wake();
  return {
    get isLeader() {
      return state.leadsUntilMs !== null && monotonicNow() < state.leadsUntilMs;
    },
    get leader() {
      return leaderOf(state, monotonicNow());
    },
    get leaderAnnotations() {
      return seenAnnotations;
    },
    async close() {
      closed = true;
      clearInterval(timer);
      await underWay;
      const { leadsUntilMs, seen } = state;
      if (leadsUntilMs === null || seen === null) return;
      onDeposed();
      await write('', { type: 'write', transitions: seen.lease.transitions, resourceVersion: seen.lease.resourceVersion }).catch((error: unknown) => log.warn({ err: error, lease }, 'the Lease could not be let go; another replica takes it when it has run out'));
    },
  };
}

function stateOf({ metadata, spec }: LeaseObject): LeaseState {
  return { holder: spec.holderIdentity ?? '', transitions: spec.leaseTransitions ?? 0, resourceVersion: metadata.resourceVersion ?? '', durationMs: (spec.leaseDurationSeconds ?? leaseDurationMs / 1000) * 1000 };
}
