import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { transportOf } from '../core/objects/index.ts';
import { reset } from '../relay/reset.ts';
import { carryConnection, type Connection } from './connection.ts';
import type { EndReason } from './connection-options.ts';
import type { DialGateway } from './gateway-dialler.ts';
import type { AgentLimits } from './limits.ts';
import { openDatagramListener } from './datagram-listener.ts';
import { listenForStreams, openLocalListener, type ListenerState, type LocalListener } from './local-listener.ts';
import { openReverseOffer } from './reverse-offer.ts';
import { formatEndpoint } from '../core/ip-address.ts';

export interface UpstreamStatus {
  readonly id: string;
  readonly protocol: string;
  readonly listen: string;
  readonly listener: ListenerState;
  readonly connections: number;
}

/** What the agent offers its workload: a listener for each upstream, and the connections through them. */
export interface UpstreamSet {
  /**
   * Makes `upstreams` what is offered. A changed upstream keeps its connections, and its listener where the place is the same.
   * Those of one that has gone are ended within `withdrawalGraceMs`.
   */
  apply(upstreams: readonly AgentUpstream[]): void;
  /** Sorted by id. */
  status(): readonly UpstreamStatus[];
  /** Offers nothing any more; resolves when every connection has ended. */
  stop(): Promise<void>;
}

export interface UpstreamSetOptions {
  readonly dial: DialGateway;
  readonly limits: AgentLimits;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Pick<Logger, 'debug' | 'info' | 'warn'>;
}

/** One offered upstream; `upstream` is what new connections go by. */
interface Offered {
  upstream: AgentUpstream;
  listener: LocalListener;
  /** Which gateway the next connection begins with. */
  turn: number;
  readonly connections: Set<Connection>;
}

export function createUpstreamSet({ dial, limits, now, random, log }: UpstreamSetOptions): UpstreamSet {
  const offered = new Map<string, Offered>();
  const connections = new Set<Connection>();

  function accept(id: string, socket: Socket): void {
    const entry = offered.get(id);
    if (entry === undefined || connections.size >= limits.connectionsMax) {
      if (entry !== undefined) log.warn({ service: id, connections: connections.size }, 'connection is refused: too many are open');
      socket.on('error', () => undefined); // the peer may be faster in resetting
      reset(socket);
      return;
    }
    adopt(entry, carryConnection(socket, { ...wayOf(entry), dial, limits, log }));
  }

  /** Where the next connection goes: to the gateways in turn. */
  function wayOf(entry: Pick<Offered, 'upstream' | 'turn'>): { readonly upstream: AgentUpstream; readonly gateways: readonly Endpoint[] } {
    const { upstream } = entry;
    const first = entry.turn++ % upstream.gateways.length;
    return { upstream, gateways: [...upstream.gateways.slice(first), ...upstream.gateways.slice(0, first)] };
  }

  function adopt(entry: Offered, connection: Connection): void {
    connections.add(connection);
    entry.connections.add(connection);
    void connection.done.then(() => {
      connections.delete(connection);
      entry.connections.delete(connection);
    });
  }

  function open(upstream: AgentUpstream): LocalListener {
    const onConnection = (connection: Connection): void => acceptCarried(upstream.id, connection);
    if (upstream.protocol === 'Reverse') return openReverseOffer({ upstream, dial, limits, random, log, onConnection });
    if (upstream.protocol === 'UDP') return openDatagramListener({ endpoint: upstream.listen, service: upstream.id, way: () => wayOf(offered.get(upstream.id) ?? { upstream, turn: 0 }), onConnection, dial, limits, now, random, log });
    return openLocalListener({ endpoint: upstream.listen, open: listenForStreams((socket) => accept(upstream.id, socket)), limits, random, log });
  }

  /** One that is there already, since it is no connection of the workload's that began it. */
  function acceptCarried(id: string, connection: Connection): void {
    const entry = offered.get(id);
    if (entry === undefined || connections.size >= limits.connectionsMax) connection.end('gateway-stopping');
    else adopt(entry, connection);
  }

  /** What a listener was opened with that it cannot change: its place, and for the way back all of it. */
  const placeOf = (upstream: AgentUpstream): string => (upstream.protocol === 'Reverse' ? JSON.stringify(upstream) : `${transportOf(upstream.protocol)} ${formatEndpoint(upstream.listen)}`);

  /** The gateway hears of it at the same time and ends the connections, with the reason in its ledger: it goes first. What is left ends here. */
  function withdraw(entry: Offered): void {
    entry.listener.close();
    offered.delete(entry.upstream.id);
    setTimeout(() => endAll(entry.connections, 'policy-revoked'), limits.withdrawalGraceMs).unref();
  }

  function endAll(ending: Iterable<Connection>, reason: EndReason): void {
    for (const connection of ending) connection.end(reason);
  }

  function apply(upstreams: readonly AgentUpstream[]): void {
    const wanted = new Map(upstreams.map((upstream) => [upstream.id as string, upstream]));
    // Everything is closed before anything is opened: two upstreams may have swapped their ports.
    for (const entry of [...offered.values()]) {
      const next = wanted.get(entry.upstream.id);
      if (next === undefined) withdraw(entry);
      else if (placeOf(next) !== placeOf(entry.upstream)) entry.listener.close();
    }
    for (const [id, upstream] of wanted) {
      const entry = offered.get(id);
      if (entry === undefined) {
        offered.set(id, { upstream, listener: open(upstream), turn: Math.floor(random() * upstream.gateways.length), connections: new Set() });
      } else {
        const moved = placeOf(upstream) !== placeOf(entry.upstream);
        entry.upstream = upstream;
        if (moved) entry.listener = open(upstream);
      }
    }
  }

  return {
    apply,
    status: () =>
      [...offered.values()]
        .map(({ upstream, listener, connections: { size } }) => ({ id: upstream.id, protocol: upstream.protocol, listen: formatEndpoint(upstream.listen), listener: listener.state, connections: size }))
        .sort((a, b) => (a.id < b.id ? -1 : 1)),
    async stop() {
      for (const { listener } of offered.values()) listener.close();
      offered.clear();
      endAll(connections, 'gateway-stopping');
      await Promise.all([...connections].map(({ done }) => done));
    },
  };
}
