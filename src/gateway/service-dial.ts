/** From one connection to its service: dials the targets of the moment, and knows whether where it went is still one of them. */
import { formatEndpoint } from '../core/ip-address.ts';
import type { Endpoint, Target } from '../core/plan/plan.ts';
import type { Dialled, DialOutcome } from './dial.ts';

export interface ServiceDial {
  /** Fails with `target-removed` where the target that it reached has gone meanwhile. */
  readonly dial: () => Promise<DialOutcome>;
  /** To another port of a server that was dialled. */
  readonly dialBeside: (server: Endpoint) => Promise<DialOutcome>;
  /** Whether `targets` still name where it went; true while that is nowhere. */
  readonly keepsTo: (targets: readonly Target[]) => boolean;
}

export interface ServiceDialOptions {
  readonly dialTargets: (targets: readonly Target[]) => Promise<DialOutcome>;
  /** As the table has them now. */
  readonly targets: () => readonly Target[];
}

export function createServiceDial({ dialTargets, targets }: ServiceDialOptions): ServiceDial {
  let dialled: Dialled | undefined;
  return {
    async dial() {
      const outcome = await dialTargets(targets());
      if (!outcome.ok) return outcome;
      if (!nameDialled(targets(), outcome)) {
        outcome.socket.destroy();
        return { ok: false, reason: 'target-removed', detail: `${formatEndpoint(outcome.remote)} was removed from the service while it was dialled` };
      }
      dialled = outcome;
      return outcome;
    },
    dialBeside: (server) => dialTargets([{ kind: 'address', ...server }]),
    keepsTo: (next) => dialled === undefined || nameDialled(next, dialled),
  };
}

/** A host is compared by its name: what this resolves to by now says nothing of what is wanted. */
function nameDialled(targets: readonly Target[], { remote, target }: Dialled): boolean {
  return targets.some((next) => next.port === remote.port && (next.kind === 'address' ? next.address === remote.address : target.kind === 'host' && next.host === target.host));
}
