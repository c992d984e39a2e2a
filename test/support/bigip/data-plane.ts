/**
 * The traffic-carrying half of a BIG-IP's test double: does with connections what an AS3 declaration says, by virtual servers with a
 * client-SSL profile, the iRule as tclsh evaluates it (irules.tcl), pools, SNAT pools, and a log publisher.
 *
 * What it claims, and whose word that is:
 *
 * - The order of events, and when they come: the pages of each event in the iRules reference (clouddocs.f5.com/api/irules). The
 *   handshake is over before CLIENTSSL_HANDSHAKE; load balancing, and with it the connection onward, comes after; without `pool` there is none.
 * - `require`: a handshake without a certificate, or with one whose chain does not verify, fails ("ltm profile client-ssl" of the tmsh
 *   reference, peer-cert-mode), and CLIENTSSL_CLIENTCERT has come before.
 * - `reject` and a Tcl error reset the connection (`reject`; "Tcl error handling").
 * - Members of the highest priority group are taken first; after a failure others, as often as `reselectTries` says (class Pool of the
 *   AS3 schema reference). No more connections from a SNAT translation than `maxConnections`.
 *
 * What it does not model: TMM's threads and their connections each to a log receiver, monitors, persistence, mirroring, FTP profiles (a
 * virtual server with one does not listen), which ciphers a profile offers, timeouts of handshakes, of connecting and of idleness, that
 * `IP::stats` counts packets with their headers (here the bytes that they carry), route domains, and whether a limit of
 * connections shows as LB_FAILED: it is what the box says of whatever it could not connect.
 */
import { constants } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { waitFor } from '../../../src/demo/processes.ts';
import { formatEndpoint } from '../../../src/core/ip-address.ts';
import { readDeclared, type ClientSslProfile, type Declared, type Member, type VirtualServer } from './declared.ts';
import type { RunningTenants } from './management.ts';
import { startTcl, type Effect, type Facts, type IruleEvent } from './tcl.ts';
import { serverNameExtension } from './visit.ts';

export interface BigIpTraffic {
  /** What the box does from now on. Connections that live go on, until the iRule ends them. */
  enforce(tenants: RunningTenants): Promise<void>;
  readonly connections: number;
  /** When all that was to be enforced is, and the iRule has looked after each connection that lives. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

interface Connection {
  /** How often what it has put off was done; undefined for nothing. */
  looks: number | undefined;
  reset(): void;
}

interface Listener {
  virtualServer: VirtualServer;
  readonly server: Server;
}

const nothing: Declared = { virtualServers: [], pools: new Map(), snatPools: new Map(), connectionsMax: new Map(), dataGroups: new Map(), publishers: new Map() };

/** @param program path of tclsh, see `requirePeer` */
export function startTraffic(program: string): BigIpTraffic {
  const tcl = startTcl(program);
  const listeners = new Map<string, Listener>();
  const live = new Set<Connection>();
  const leaving = new Map<string, number>();
  const log = createLog();
  let declared = nothing;
  let loaded = '';
  let connections = 0;
  let enforcing: Promise<void> = Promise.resolve();

  async function enforce(next: Declared): Promise<void> {
    const served = next.virtualServers.filter(({ hasFtpProfile }) => !hasFtpProfile);
    const iRules = new Set(served.flatMap((virtualServer) => virtualServer.iRules));
    if (iRules.size > 1) throw new Error('one iRule is what there is, and here are several');
    const [iRule = ''] = iRules;
    if (iRule !== loaded && iRule !== '') await tcl.load((loaded = iRule));
    for (const path of [...declared.pools.keys(), ...declared.snatPools.keys(), ...declared.publishers.keys(), ...declared.dataGroups.keys()]) {
      if (!next.pools.has(path) && !next.snatPools.has(path) && !next.publishers.has(path) && !next.dataGroups.has(path)) await tcl.drop(path);
    }
    for (const [path, { members }] of next.pools) await tcl.setPool(path, (await Promise.all(members.map(addressesOf))).flat());
    for (const path of [...next.snatPools.keys(), ...next.publishers.keys()]) await tcl.setObject(path);
    for (const [path, records] of [...next.dataGroups].sort(([a], [b]) => Number(a.endsWith('/settings')) - Number(b.endsWith('/settings')))) await tcl.setGroup(path, records);
    declared = next;
    await listen(served);
  }

  async function listen(virtualServers: readonly VirtualServer[]): Promise<void> {
    const wanted = new Map(virtualServers.map((virtualServer) => [formatEndpoint(virtualServer), virtualServer]));
    for (const [place, { server }] of listeners) {
      if (wanted.has(place)) continue;
      server.close();
      listeners.delete(place);
    }
    for (const [place, virtualServer] of wanted) {
      const known = listeners.get(place);
      if (known !== undefined) {
        known.virtualServer = virtualServer;
        continue;
      }
      const listener: Listener = { virtualServer, server: createServer({ allowHalfOpen: true, noDelay: true }, (carrier) => void accept(carrier, listener.virtualServer)) };
      listeners.set(place, listener);
      listener.server.listen({ host: virtualServer.address, port: virtualServer.port, ipv6Only: true });
      await once(listener.server, 'listening');
    }
  }

  async function accept(carrier: Socket, { profile, ...at }: VirtualServer): Promise<void> {
    const { remoteAddress, remotePort } = carrier;
    if (remoteAddress === undefined || remotePort === undefined) return; // gone already
    const id = (connections += 1);
    const timers = new Map<string, NodeJS.Timeout>();
    let isOver = false;
    let pool: string | undefined;
    let snatPool: string | undefined;
    let upstream: Socket | undefined;
    const connection: Connection = { looks: undefined, reset };
    live.add(connection);

    function reset(): void {
      isOver = true;
      upstream?.resetAndDestroy();
      carrier.resetAndDestroy();
    }

    const counted = (): Facts => (upstream === undefined ? {} : { bytesIn: upstream.bytesRead, bytesOut: upstream.bytesWritten });
    function apply(effects: readonly Effect[]): void {
      for (const effect of effects) {
        switch (effect.kind) {
          case 'pool':
            pool = effect.name;
            break;
          case 'snatpool':
            snatPool = effect.name;
            break;
          case 'send':
            log.send(declared, effect.line);
            break;
          case 'after':
            connection.looks = 0;
            timers.set(effect.timer, setInterval(() => void look(effect.timer), effect.everyMs));
            break;
          case 'cancel':
            clearInterval(timers.get(effect.timer));
            break;
          case 'reject':
          case 'error':
            reset();
        }
      }
    }
    async function look(timer: string): Promise<void> {
      apply(await tcl.timer(id, timer, counted()));
      connection.looks = (connection.looks ?? 0) + 1;
    }
    const fire = async (event: IruleEvent, facts?: Facts): Promise<void> => apply(await tcl.event(id, event, facts));

    const closed = once(carrier, 'close').catch(ignore);
    carrier.on('error', ignore);
    await fire('CLIENT_ACCEPTED', { clientAddress: remoteAddress, clientPort: remotePort, virtualAddress: at.address, virtualPort: at.port, serverNameExtension: Buffer.alloc(0), certificate: '', verifyResult: 0 });
    const secured = await Promise.race([handshake(carrier, profile, (name) => fire('CLIENTSSL_CLIENTHELLO', { serverNameExtension: serverNameExtension(name) })), closed.then(() => undefined)]);
    if (secured === undefined) reset();
    else await lead(secured);
    await closed;
    await fire('CLIENT_CLOSED');
    for (const timer of timers.values()) clearInterval(timer);
    await tcl.forget(id);
    live.delete(connection);

    async function lead({ socket, facts }: Secured): Promise<void> {
      await fire('CLIENTSSL_CLIENTCERT', facts);
      if (profile.requiresCertificate && (facts.certificate === '' || facts.verifyResult !== 0)) {
        reset();
        return;
      }
      await fire('CLIENTSSL_HANDSHAKE');
      if (hasEnded()) return;
      upstream = await balance(pool, snatPool);
      if (upstream !== undefined) {
        await carry(socket, upstream);
        return;
      }
      await fire('LB_FAILED');
      reset();
    }

    function hasEnded(): boolean {
      return isOver || carrier.destroyed;
    }

    async function carry(client: TLSSocket, server: Socket): Promise<void> {
      const ended = once(server, 'close').catch(ignore);
      await fire('SERVER_CONNECTED', { snatAddress: server.localAddress!, snatPort: server.localPort!, targetAddress: server.remoteAddress!, targetPort: server.remotePort! });
      client.on('error', () => server.resetAndDestroy());
      server.on('error', () => carrier.resetAndDestroy());
      carrier.once('close', () => (client.readableEnded ? undefined : server.resetAndDestroy()));
      if (hasEnded()) reset();
      else client.pipe(server).pipe(client);
      await ended;
      leaving.set(server.localAddress!, (leaving.get(server.localAddress!) ?? 1) - 1);
      await fire('SERVER_CLOSED', counted());
    }
  }

  /** A connection to a server, or none. */
  async function balance(pool: string | undefined, snatPool: string | undefined): Promise<Socket | undefined> {
    const { members = [], reselectTries = 0 } = declared.pools.get(pool ?? '') ?? {};
    const sources = declared.snatPools.get(snatPool ?? '') ?? [];
    const inTurn = members.toSorted((a, b) => b.priorityGroup - a.priorityGroup);
    const places = (await Promise.all(inTurn.map(addressesOf))).flat().slice(0, reselectTries + 1);
    for (const { address, port } of places) {
      const source = sources.find((each) => isIPv6(each) === isIPv6(address));
      if (source === undefined || (leaving.get(source) ?? 0) >= (declared.connectionsMax.get(source) ?? Infinity)) continue;
      leaving.set(source, (leaving.get(source) ?? 0) + 1);
      const socket = connect({ host: address, port, localAddress: source, allowHalfOpen: true, noDelay: true });
      const isThere = await once(socket, 'connect').then(
        () => true,
        () => false,
      );
      if (isThere) return socket.on('error', ignore);
      leaving.set(source, leaving.get(source)! - 1);
    }
    return undefined;
  }

  return {
    async enforce(tenants) {
      const next = readDeclared(tenants);
      enforcing = enforcing.then(() => enforce(next));
      await enforcing;
    },
    get connections() {
      return live.size;
    },
    async settled() {
      await enforcing;
      const before = Array.from(live, (connection) => [connection, connection.looks] as const);
      await waitFor('the iRule to look after each connection', 5_000, () => before.every(([connection, looks]) => looks === undefined || !live.has(connection) || connection.looks! > looks + 1) || undefined);
    },
    async stop() {
      await enforcing.catch(ignore);
      for (const { server } of listeners.values()) server.close();
      for (const connection of live) connection.reset();
      while (live.size > 0) await new Promise(setImmediate);
      log.close();
      await tcl.stop();
    },
  };
}

interface Secured {
  readonly socket: TLSSocket;
  readonly facts: Facts;
}

/** The server's side of a handshake; undefined where it fails. */
function handshake(carrier: Socket, { certificate, privateKey, trusted }: ClientSslProfile, onServerName: (name: string) => Promise<void>): Promise<Secured | undefined> {
  const { promise, resolve } = Promise.withResolvers<Secured | undefined>();
  const server = tls.createServer({
    cert: certificate,
    key: privateKey,
    ca: trusted,
    allowPartialTrustChain: true,
    requestCert: true,
    rejectUnauthorized: false, // the caller does, once the iRule was told
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
    SNICallback: (name, done) => void onServerName(name).then(() => done(null)),
  });
  server.on('tlsClientError', () => resolve(undefined));
  server.on('secureConnection', (socket) => {
    socket.on('error', ignore);
    const peer = socket.getPeerX509Certificate();
    setImmediate(() => resolve({ socket, facts: { certificate: peer?.toString() ?? '', verifyResult: socket.authorized || peer === undefined ? 0 : verifyResultOf(String(socket.authorizationError)) } }));
  });
  server.emit('connection', carrier);
  return promise;
}

/** X509_V_ERR_ of OpenSSL's x509_vfy.h; the rest are faults of form. */
const verifyResults: Readonly<Record<string, number>> = {
  UNABLE_TO_GET_ISSUER_CERT: 2,
  CERT_SIGNATURE_FAILURE: 7,
  CERT_NOT_YET_VALID: 9,
  CERT_HAS_EXPIRED: 10,
  DEPTH_ZERO_SELF_SIGNED_CERT: 18,
  SELF_SIGNED_CERT_IN_CHAIN: 19,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 20,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 21,
  CERT_REVOKED: 23,
  CERT_UNTRUSTED: 27,
};
const verifyResultOf = (code: string): number => verifyResults[code] ?? 26;

async function addressesOf({ host, family, port }: Member): Promise<readonly { readonly address: string; readonly port: number }[]> {
  if (family === 0) return [{ address: host, port }];
  return (await lookup(host, { family, all: true }).catch(() => [])).map(({ address }) => ({ address, port }));
}

/** High-speed logging: a stream to the first receiver; what comes while nobody is there is lost. */
function createLog() {
  const streams = new Map<string, Socket>();
  return {
    send({ publishers }: Declared, line: string): void {
      const [receiver] = [...publishers.values()].flat();
      if (receiver === undefined) return;
      const place = formatEndpoint(receiver);
      let stream = streams.get(place);
      if (stream === undefined || stream.destroyed) {
        stream = connect(receiver.port, receiver.address).on('error', ignore);
        streams.set(place, stream);
      }
      stream.write(line, 'latin1');
    },
    close(): void {
      for (const stream of streams.values()) stream.end();
    },
  };
}

const ignore = (): void => undefined; // `close` follows
