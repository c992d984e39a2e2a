/**
 * The data connections of one FTP session. The client's end of each is a second mTLS connection of the same identity, to a port that
 * stands for this one transfer, or one of an earlier transfer where the client can keep it. The server's end is between the identity's own
 * address, which the control connection left from, and the control connection's server: dialled where the server is passive, awaited where
 * it is active.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { SallyportError } from '../core/errors.ts';
import { familyOf, formatEndpoint } from '../core/ip-address.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import { openDataOffer } from '../relay/ftp-data-offer.ts';
import type { DataClaims, DataListener } from '../relay/ftp-data-offer.ts';
import type { DataChannel, DataEnds } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { createDataFlow, type DataFlow } from './data-flow.ts';
import { splice } from '../relay/splice.ts';
import type { Splice } from '../relay/splice.ts';
import type { Dialled, DialOutcome } from './dial.ts';
import { createKeptConnections, type Kept } from './kept-connections.ts';
import type { VerifiedPeer } from './peer.ts';
import type { PeerListenerEvents, ProtocolContext } from './protocol.ts';
import type { Arrival } from './source-listener.ts';
import { printable, type SecuredServer } from './ftps.ts';
import { reasonOf } from './stream-handler.ts';

export interface FtpDataChannels {
  /** What a channel of this session carries. */
  readonly flowOf: (channel: DataChannel) => DataFlow | undefined;
  /** Prepares one data connection. Rejects with `unavailable` where it cannot. */
  readonly open: (ends: DataEnds) => Promise<DataChannel>;
  /** Ends the transfers that run, and those about to. */
  end(reason: ConnectionReason): void;
  /** No more are opened: resolves when none is left. */
  settled(): Promise<void>;
}

/** The server's end of a data connection. */
interface ServerEnd {
  /** Ours, where the server's connection is awaited. */
  readonly port: number | null;
  /** The connection, once the client's is there. */
  readonly connect: () => Promise<ServerConnection>;
  /** Awaits the server no more, and ends what has come for nothing. */
  close(): void;
}

type ServerConnection = ({ readonly ok: true } & Pick<Dialled, 'socket' | 'local' | 'remote'>) | Extract<DialOutcome, { ok: false }>;

/** Whom the control connection leads to. */
export interface FtpServerPeer extends Pick<SecuredServer, 'secureData'> {
  readonly address: IpAddress;
}

/** Has the client's end carry its transfer; `from` is `address:port` of it. */
type Carry = (client: Duplex, from: string) => Promise<void>;

/** Channels that one session may have at a time. A client has one; the rest is room for those that are just ending. */
const channelsMax = 8;

export function createFtpDataChannels(context: ProtocolContext, { address: serverAddress, secureData }: FtpServerPeer): FtpDataChannels {
  const { ledger, peer: owner, servicePort, settings, now } = context;
  const { ftpDataTimeoutMs, idleTimeoutMs } = settings.limits;
  const channels = new Set<Promise<void>>();
  const transfers = new Set<Splice<ConnectionReason>>();
  const flows = new WeakMap<DataChannel, DataFlow>();
  /** Connections to the server whose handshake is under way. */
  const securing = new Set<Socket>();
  let ended: ConnectionReason | undefined;
  const kept = createKeptConnections(owner);

  async function open({ client, server }: DataEnds): Promise<DataChannel> {
    if (channels.size >= channelsMax) throw new SallyportError('unavailable', `${channels.size} data connections of the session are open, which is the limit`);
    const flow = createDataFlow({ now, isDigested: servicePort.ftp?.recordDigest === true });
    const serverEnd = server.how === 'dialled' ? dialledServer(server.port) : await awaitServer(flow);
    const mayBeKept = client.how === 'awaited' && client.mayBeKept === true;
    const known = mayBeKept ? kept.take() : undefined;
    let isKept = known !== undefined;
    let transfer: Splice<ConnectionReason> | undefined;
    let clientEnd;
    const carryOver: Carry = (stream, from) => carry(stream, from, serverEnd, flow, (begun) => (transfer = begun));
    const arrive = (socket: TLSSocket, peer: VerifiedPeer, from: string): Promise<void> => (isKept ? carryFirst(kept.add(socket, peer, from), carryOver) : carryOver(socket, from));
    try {
      clientEnd = await openDataOffer({
        timeoutMs: ftpDataTimeoutMs,
        onTimeout: () => ledger.denied('ftp-data-timeout', `no data connection came within ${ftpDataTimeoutMs} ms`),
        async listen(claims) {
          if (known !== undefined) return awaitNext(known, claims, carryOver);
          const listener = await context.listenForPeers(settings.ftpPassivePorts, admission(claims, arrive));
          isKept = mayBeKept && listener !== undefined && !kept.has(listener.port); // a port is to name one connection
          return listener;
        },
      });
    } catch (error) {
      serverEnd.close();
      throw error;
    }
    const { port: clientPort, done, close } = clientEnd;
    channels.add(done);
    void done.then(() => {
      channels.delete(done);
      serverEnd.close();
      flow.finish(null);
    });
    const channel: DataChannel = {
      clientPort,
      serverPort: serverEnd.port,
      isKept,
      done,
      dialClient: () => Promise.resolve(), // it is awaited
      close() {
        close();
        if (transfer === undefined) serverEnd.close();
      },
      abort: () => transfer?.destroy('ftp-transfer-aborted'),
    };
    flows.set(channel, flow);
    return channel;
  }

  /** Nobody else can use a connection that is there already. Given up, it is not used again: what begins on it late is of another transfer. */
  function awaitNext({ connection, client, port }: Kept, claims: DataClaims, carryOver: Carry): DataListener {
    void connection.next().then((stream) => {
      if (stream !== undefined && !claims.claim(() => carryOver(stream, client))) reset(stream);
    });
    return {
      port,
      close() {
        if (connection.isIdle) connection.close();
      },
    };
  }

  async function carryFirst({ connection, client }: Kept, carryOver: Carry): Promise<void> {
    const timer = setTimeout(() => connection.close(), ftpDataTimeoutMs);
    const stream = await connection.next();
    clearTimeout(timer);
    if (stream !== undefined) await carryOver(stream, client);
  }

  function dialledServer(port: number): ServerEnd {
    return { port: null, connect: () => context.dialBeside({ address: serverAddress, port }), close: () => undefined };
  }

  /** From the server's address only, and once: whoever else comes is recorded and does not use it up. It may have sent all and say so before the client comes. */
  async function awaitServer(flow: DataFlow): Promise<ServerEnd> {
    const { promise: arrived, resolve } = Promise.withResolvers<Arrival | undefined>();
    const offer = await openDataOffer({
      timeoutMs: idleTimeoutMs, // some servers fetch a file from tape before they connect
      onTimeout: () => undefined, // the client has come by then, and its record tells
      listen: async (claims) => {
        const listener = await context.listenAtSource(familyOf(serverAddress), (arrival) => {
          if (arrival.remote.address !== serverAddress) {
            ledger.denied('ftp-data-address-mismatch', `${formatEndpoint(arrival.remote)} came for a data connection of ${serverAddress}`);
            claims.refuse();
            reset(arrival.socket);
          } else if (claims.claim(() => closeOf(arrival.socket))) {
            flow.begin();
            resolve(arrival);
          } else {
            reset(arrival.socket);
          }
        });
        if (listener === undefined) ledger.denied('snat-ports-exhausted', `no port of the source address is free to await a data connection of ${serverAddress} at`);
        return listener;
      },
    });
    void offer.done.then(() => resolve(undefined));
    return {
      port: offer.port,
      connect: async () => {
        const arrival = await arrived;
        return arrival === undefined ? { ok: false, reason: 'ftp-data-timeout', detail: 'the server made no data connection' } : { ok: true, ...arrival };
      },
      close() {
        offer.close();
        void arrived.then((arrival) => {
          if (arrival !== undefined) reset(arrival.socket);
        });
      },
    };
  }

  /** Who comes to an offer: its owner uses it up, a stranger is recorded and does not. */
  function admission(claims: DataClaims, arrive: (socket: TLSSocket, peer: VerifiedPeer, from: string) => Promise<void>): PeerListenerEvents {
    return {
      peer(socket, peer, client) {
        if (peer.spiffeId !== owner.spiffeId) {
          reset(socket);
          ledger.child(client, peer.spiffeId).denied('ftp-data-identity-mismatch', `"${peer.spiffeId}" came for a data connection of "${owner.spiffeId}"`);
          claims.refuse();
        } else if (!claims.claim(() => arrive(socket, peer, client))) {
          reset(socket);
        }
      },
      refused(reason, detail, client) {
        ledger.child(client, null).denied(reason, detail);
        claims.refuse();
      },
    };
  }

  async function secure(socket: Socket): Promise<{ readonly ok: true; readonly socket: Socket } | { readonly ok: false; readonly detail: string }> {
    securing.add(socket);
    try {
      return { ok: true, socket: await secureData(socket, ftpDataTimeoutMs) };
    } catch (error) {
      return { ok: false, detail: error instanceof Error ? printable(error.message) : 'the data connection could not be secured' };
    } finally {
      securing.delete(socket);
    }
  }

  async function carry(socket: Duplex, client: string, serverEnd: ServerEnd, flow: DataFlow, onTransfer: (transfer: Splice<ConnectionReason>) => void): Promise<void> {
    flow.begin();
    const child = ledger.child(client);
    const connected = await serverEnd.connect();
    if (!connected.ok) {
      child.denied(ended ?? connected.reason, connected.detail);
      reset(socket);
      flow.finish(ended ?? 'connect-failed');
      return;
    }
    const record = child.opened(connected, { channel: 'ftp-data' });
    flow.open(record);
    const server = await secure(connected.socket);
    if (!server.ok) {
      if (ended === undefined) child.denied('target-tls-failed', server.detail);
      record.closed({ reason: ended ?? 'target-tls-failed', bytesSent: 0, bytesReceived: 0 });
      reset(socket);
      flow.finish(ended ?? 'target-tls-failed');
      return;
    }
    const transfer = splice<ConnectionReason>(socket, server.socket, { idleTimeoutMs, watch: flow });
    flow.join(transfer);
    transfers.add(transfer);
    onTransfer(transfer);
    if (ended !== undefined) transfer.destroy(ended);
    const { reason, bytesAtoB, bytesBtoA } = await transfer.done;
    transfers.delete(transfer);
    record.closed({ reason: reasonOf(reason), bytesSent: bytesAtoB, bytesReceived: bytesBtoA });
    flow.finish(reasonOf(reason));
  }

  return {
    open,
    flowOf: (channel) => flows.get(channel),
    end(reason) {
      ended ??= reason;
      for (const transfer of transfers) transfer.destroy(reason);
      for (const socket of securing) reset(socket);
      kept.close();
    },
    settled: async () => {
      kept.close();
      await Promise.all(channels);
    },
  };
}

function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
