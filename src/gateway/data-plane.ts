/**
 * One thread of the gateway: accepts, verifies, decides, and only then lets a protocol dial. The order is in the types: a handler
 * needs a grant, which only an allowing decision holds, which only a verified peer can get.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { decide } from '../core/plan/decide.ts';
import { describeDenial } from '../core/plan/denial.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { Decision, DenyReason, Endpoint, ServedProtocol, ServicePort, SnatSource } from '../core/plan/plan.ts';
import { createSnatPorts } from '../core/snat/snat-ports.ts';
import { reset } from '../relay/reset.ts';
import { createConnectionLedger, type RecordSink } from './connection-ledger.ts';
import { createDial, streams } from './dial.ts';
import { createFlowDial } from './flow-dial.ts';
import { createHostLookup, type HostLookup } from './host-lookup.ts';
import type { IdentityLimits } from './identity-limits.ts';
import { createListeners } from './listeners.ts';
import { createLiveConnections, type LiveConnection } from './live-connections.ts';
import type { VerifiedPeer } from './peer.ts';
import { listenForPeers } from './peer-listener.ts';
import type { AllowedDecision, GatewaySettings, ProtocolHandler } from './protocol.ts';
import { createRecordBudget } from '../core/record-budget.ts';
import { createReversePorts } from './reverse-ports.ts';
import { createServiceDial } from './service-dial.ts';
import { createListenAtSource } from './source-listener.ts';
import { createTable, type TableChange } from './table.ts';
import { createTlsFront, serverNameOf, type HandshakeRefusal, type TlsMaterial } from './tls-front.ts';
import { datagrams } from './udp-socket.ts';

export interface DataPlaneOptions {
  readonly material: TlsMaterial;
  readonly handlers: Readonly<Record<ServedProtocol, ProtocolHandler>>;
  readonly sink: RecordSink;
  /** Of connections. */
  readonly limits: IdentityLimits;
  /** Of flows of datagrams. */
  readonly flowLimits: IdentityLimits;
  /** Where in each range of source ports this thread begins, from 0 up to 1. */
  readonly portStart: number;
  readonly reusePort: boolean;
  /** See listeners.ts. */
  readonly onListenerFault: (endpoint: Endpoint, error: NodeJS.ErrnoException | undefined) => void;
  readonly now: () => number;
  readonly random: () => number;
  readonly newId: () => string;
  readonly lookup?: HostLookup;
}

export interface DataPlane {
  /** Takes effect at once; live connections that the change no longer allows are ended. Resolves when the listeners are as the table says. */
  update(change: TableChange): Promise<void>;
  setMaterial(material: TlsMaterial): void;
  addressOf(endpoint: Endpoint): Endpoint | undefined;
  /** Takes nothing new, waits for what is live up to `drainMs`, ends the rest. */
  stop(drainMs: number): Promise<void>;
  readonly connections: number;
  readonly handshakes: number;
  /** Refusals that were not recorded one by one, for there were too many. */
  readonly unrecorded: number;
}

export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { sink, limits, now, random, newId } = options;
  const table = createTable();
  const live = createLiveConnections(now);
  const sessions = new Set<Promise<void>>();
  const budget = createRecordBudget(now);
  let stopping = false;
  const ports = createSnatPorts(options.portStart);
  const lookup = options.lookup ?? createHostLookup();
  const ways = { ports, lookup, now };
  const dial = createDial(streams, ways);
  const dialFlow = createFlowDial({ dial: createDial(datagrams, ways), limits: options.flowLimits, sink });
  const reversePorts = createReversePorts({ lookup, shared: options.reusePort });
  const listenAtSource = createListenAtSource({ ports, random });
  const front = createTlsFront({
    material: options.material,
    handshakeTimeoutMs: () => table.settings?.limits.handshakeTimeoutMs ?? 10_000,
    isRevoked: table.isRevoked,
    now,
  });
  const listeners = createListeners({ onConnection: accept, onFault: options.onListenerFault, reusePort: options.reusePort, random });

  function accept(carrier: Socket, listen: Endpoint): void {
    front.accept(carrier, {
      verified: (socket, peer, client) => admit(socket, peer, client, listen),
      refused: (refusal) => recordUnverified(refusal, listen),
    });
  }

  const servicePortAt = (listen: Endpoint, serverName: string): ServicePort | undefined => table.byListener(listen) ?? table.byServerName(serverName);

  /** Anyone can cause these, so they are recorded at a bounded rate. */
  function recordUnverified({ reason, detail, client, spiffeId, serverName }: HandshakeRefusal, listen: Endpoint): void {
    if (!budget.take()) return;
    ledgerOf({ client, spiffeId, service: servicePortAt(listen, serverName)?.id ?? null, policies: [] }).denied(reason, detail);
  }

  function admit(client: TLSSocket, peer: VerifiedPeer, clientEndpoint: string, listen: Endpoint): void {
    const { settings } = table;
    const serverName = serverNameOf(client);
    const servicePort = servicePortAt(listen, serverName);
    const deny = (reason: DenyReason | ConnectionReason, detail: string, policies: readonly string[] = []): void => {
      reset(client);
      ledgerOf({ client: clientEndpoint, spiffeId: peer.spiffeId, service: servicePort?.id ?? null, policies }).denied(reason, detail);
    };

    if (settings === undefined || stopping) {
      deny('gateway-stopping', 'the gateway is stopping');
      return;
    }
    const decision = decide(servicePort, peer.spiffeId, settings.trustDomain);
    if (!decision.allowed) {
      deny(decision.reason, describeDenial(decision.reason, { identity: peer.spiffeId, target: servicePort?.id ?? serverName }), decision.grant?.policies);
      return;
    }
    if (!sink.accepting) {
      deny('ledger-unavailable', 'the connection could not be recorded, and what cannot be recorded is not let out', decision.grant.policies);
      return;
    }
    if (!limits.acquire(peer.spiffeId, settings.limits.connectionsPerIdentity)) {
      deny('limit-exceeded', `"${peer.spiffeId}" has ${settings.limits.connectionsPerIdentity} connections, which is its limit`, decision.grant.policies);
      return;
    }
    serve(client, peer, clientEndpoint, decision, settings);
  }

  function serve(client: TLSSocket, peer: VerifiedPeer, clientEndpoint: string, { servicePort, grant }: AllowedDecision, settings: GatewaySettings): void {
    const { localAddress } = client; // a closed connection has none, and a listener without an address would be open to all
    const clientGone = new AbortController();
    client.once('close', () => clientGone.abort(null)); // a reason of its own would cost a stack trace for each connection
    const targets = () => table.servicePort(servicePort.id)?.targets ?? [];
    const request = { snat: grant.snat, connectTimeoutMs: settings.limits.connectTimeoutMs, signal: clientGone.signal };
    const { keepsTo, ...dials } = createServiceDial({
      dialTargets: (places) => dial({ ...request, targets: places }),
      dialFlowTargets: (places) => dialFlow({ spiffeId: peer.spiffeId, flowsMax: settings.limits.udpFlowsPerIdentity }, { ...request, targets: places }),
      targets,
    });
    const session = options.handlers[servicePort.protocol]({
      ...dials,
      client,
      clientEndpoint,
      peer,
      servicePort,
      grant,
      settings,
      now,
      targets,
      reversePorts,
      ledger: ledgerOf({ client: clientEndpoint, spiffeId: peer.spiffeId, service: servicePort.id, policies: grant.policies }),
      listenForPeers: async (passivePorts, events) => (localAddress === undefined ? undefined : listenForPeers({ front, address: localAddress, ports: passivePorts, events, random })),
      listenAtSource: async (family, onArrival) => {
        const source = grant.snat[family];
        return source && listenAtSource(source, onArrival);
      },
    });
    const connection: LiveConnection = { servicePort, grant, peer, session, keepsTo: (next) => keepsTo(next) && (session.keepsTo?.(next) ?? true) };
    live.add(connection);
    const over = session.done.then(() => {
      live.remove(connection);
      limits.release(peer.spiffeId);
      sessions.delete(over);
    });
    sessions.add(over);
  }

  const ledgerOf = (facts: Pick<Parameters<typeof createConnectionLedger>[1], 'client' | 'spiffeId' | 'service' | 'policies'>) =>
    createConnectionLedger({ sink, origin: table.settings?.name ?? 'gateway', now, newId }, { connectionId: newId(), revision: table.revision, ...facts });

  /** A service port has changed: each identity with live connections to it is decided anew. */
  function review(id: ServicePort['id']): void {
    const servicePort = table.servicePort(id);
    for (const [spiffeId, connections] of [...live.toServicePort(id)]) {
      const decision = table.settings && decide(servicePort, spiffeId, table.settings.trustDomain);
      for (const connection of [...connections]) {
        const reason = reasonToEnd(connection, decision);
        if (reason !== undefined) connection.session.end(reason);
      }
    }
  }

  return {
    async update(change) {
      table.apply(change);
      for (const id of change.removed ?? []) review(id);
      for (const { id } of change.servicePorts ?? []) review(id);
      if (change.revokedSerialNumbers !== undefined) live.endRevoked(table.isRevoked);
      await listeners.update(table.endpoints());
    },
    setMaterial: front.setMaterial,
    addressOf: listeners.addressOf,
    async stop(drainMs) {
      stopping = true;
      listeners.close();
      reversePorts.close();
      const timer = setTimeout(() => live.endAll('gateway-stopping'), drainMs);
      await Promise.all(sessions);
      clearTimeout(timer);
    },
    get connections() {
      return live.size;
    },
    get handshakes() {
      return front.handshakes;
    },
    get unrecorded() {
      return budget.refused;
    },
  };
}

/** Why a connection may not go on under a new decision, if so. */
function reasonToEnd(connection: LiveConnection, decision: Decision | undefined): ConnectionReason | undefined {
  if (decision?.allowed !== true || !staysAllowed(connection, decision)) return 'policy-revoked';
  return connection.keepsTo(decision.servicePort.targets) ? undefined : 'target-removed';
}

/** Whether a connection is still what the new decision allows: the same protocol, from the same source, under constraints that its session keeps. */
function staysAllowed({ servicePort, grant, session }: LiveConnection, next: AllowedDecision): boolean {
  return servicePort.protocol === next.servicePort.protocol && sameSource(grant.snat, next.grant.snat) && (session.allowedBy?.(next.grant) ?? true);
}

function sameSource(a: SnatSource, b: SnatSource): boolean {
  return (['ipv4', 'ipv6'] as const).every((family) => a[family]?.address === b[family]?.address && a[family]?.ports.first === b[family]?.ports.first && a[family]?.ports.last === b[family]?.ports.last);
}
