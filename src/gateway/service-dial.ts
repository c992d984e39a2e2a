/** From one connection to its service: dials the targets of the moment, and knows whether where it went is still one of them. */
import { formatEndpoint } from '../core/ip-address.ts';
import type { Endpoint, Target } from '../core/plan/plan.ts';
import type { Dialable, Dialled, DialOutcome } from './dial.ts';
import type { UdpSocket } from './udp-socket.ts';

export interface ServiceDial {
  /** Fails with `target-removed` where the target that it reached has gone meanwhile. */
  readonly dial: () => Promise<DialOutcome>;
  /** The same for one flow of datagrams. */
  readonly dialFlow: () => Promise<DialOutcome<UdpSocket>>;
  /** To another port of a server that was dialled. */
  readonly dialBeside: (server: Endpoint) => Promise<DialOutcome>;
  /** Whether `targets` still name every place where it is connected; true while that is nowhere. */
  readonly keepsTo: (targets: readonly Target[]) => boolean;
}

export interface ServiceDialOptions {
  readonly dialTargets: (targets: readonly Target[]) => Promise<DialOutcome>;
  readonly dialFlowTargets: (targets: readonly Target[]) => Promise<DialOutcome<UdpSocket>>;
  /** As the table has them now. */
  readonly targets: () => readonly Target[];
}

type Place = Pick<Dialled, 'remote' | 'target'>;

export function createServiceDial({ dialTargets, dialFlowTargets, targets }: ServiceDialOptions): ServiceDial {
  const connected = new Set<Place>();

  async function reach<Socket extends Dialable>(dial: (targets: readonly Target[]) => Promise<DialOutcome<Socket>>): Promise<DialOutcome<Socket>> {
    const outcome = await dial(targets());
    if (!outcome.ok) return outcome;
    if (!nameDialled(targets(), outcome)) {
      outcome.socket.destroy();
      return { ok: false, reason: 'target-removed', detail: `${formatEndpoint(outcome.remote)} was removed from the service while it was dialled` };
    }
    connected.add(outcome);
    outcome.socket.once('close', () => connected.delete(outcome));
    return outcome;
  }

  return {
    dial: () => reach(dialTargets),
    dialFlow: () => reach(dialFlowTargets),
    dialBeside: (server) => dialTargets([{ kind: 'address', ...server }]),
    keepsTo: (next) => [...connected].every((place) => nameDialled(next, place)),
  };
}

/** A host is compared by its name: what this resolves to by now says nothing of what is wanted. */
function nameDialled(targets: readonly Target[], { remote, target }: Place): boolean {
  return targets.some((next) => next.port === remote.port && (next.kind === 'address' ? next.address === remote.address : target.kind === 'host' && next.host === target.host));
}
