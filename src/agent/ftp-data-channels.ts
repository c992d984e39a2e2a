/**
 * The data connections of one FTP session of the workload. The gateway's end of each is a second mTLS connection, dialled or kept. The workload's
 * is between the two addresses of its control connection: awaited where it is passive, dialled where it is active.
 */
import { connect, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { SallyportError, invariant } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { parseAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { DataEnd } from '../core/ftp/index.ts';
import { openDataOffer, type DataClaims, type DataListener } from '../relay/ftp-data-offer.ts';
import type { DataChannel, DataEnds } from '../relay/ftp-session.ts';
import { keepConnection, type KeptConnection } from '../relay/kept-connection.ts';
import { reset } from '../relay/reset.ts';
import { splice, type Splice } from '../relay/splice.ts';
import type { ConnectionOptions, EndReason } from './connection-options.ts';
import { dialFor } from './dial-for.ts';

export interface FtpDataChannels {
  /** Prepares one data connection. Rejects with `unavailable` where it cannot. */
  readonly open: (ends: DataEnds) => Promise<DataChannel>;
  /** No more are opened: resolves when none is left. */
  settled(): Promise<void>;
}

export interface FtpDataChannelsOptions extends Pick<ConnectionOptions, 'upstream' | 'dial' | 'limits' | 'log'> {
  /** The workload's control connection: data connections are not dialled for one that has gone. */
  readonly control: Socket;
  readonly clientFacingAddress: IpAddress;
  readonly clientAddress: IpAddress;
  readonly gatewayAddress: IpAddress;
  /** Ends every transfer, for its reason. */
  readonly signal: AbortSignal;
}

/** Where the gateway awaits a data connection, or by which port it knows the one that is kept. */
type GatewayEnd = Extract<DataEnd, { readonly how: 'dialled' }>;

type TransferReason = EndReason | Extract<ConnectionReason, 'ftp-transfer-aborted'>;

export function createFtpDataChannels(options: FtpDataChannelsOptions): FtpDataChannels {
  const { control, clientFacingAddress, clientAddress, gatewayAddress, limits, log, signal, upstream } = options;
  const fields = { service: upstream.id };
  const channels = new Set<Promise<void>>();
  /** Connections to the gateway for one transfer after the other, by the port that each was made to. */
  const kept = new Map<number, KeptConnection>();

  async function open({ client, server }: DataEnds): Promise<DataChannel> {
    invariant(server.how === 'dialled', 'a gateway is passive');
    if (channels.size >= limits.ftpTransfersMax) throw new SallyportError('unavailable', `${channels.size} data connections of the session are open, which is the limit`);
    const channel = await (client.how === 'awaited' ? awaitClient(server) : prepareClient(client.port, server));
    const finished = channel.done.then(() => void channels.delete(finished));
    channels.add(finished);
    return channel;
  }

  /** The gateway's end of one transfer; undefined where there is none, or `waiting` closes meanwhile. */
  async function reachGateway(waiting: Duplex, { port, isKept = false }: GatewayEnd): Promise<Duplex | undefined> {
    const known = isKept ? kept.get(port) : undefined;
    if (known?.isIdle === true) return known.begin();
    const socket = await dialFor(waiting, [{ address: gatewayAddress, port }], options);
    if (socket === undefined || !isKept) return socket;
    const connection = keepConnection(socket);
    kept.set(port, connection);
    void connection.closed.then(() => {
      if (kept.get(port) === connection) kept.delete(port);
    });
    return connection.begin();
  }

  /** The gateway is reached when the client has come. */
  async function awaitClient(end: GatewayEnd): Promise<DataChannel> {
    let transfer: Splice<TransferReason> | undefined;
    async function carry(client: Socket): Promise<void> {
      const gateway = await reachGateway(client, end);
      if (gateway === undefined) reset(client);
      else await finish((transfer = splice(client, gateway, limits)));
    }
    const offer = await openDataOffer({
      listen: (claims) => listenForClient(claims, carry),
      timeoutMs: limits.ftpDataTimeoutMs,
      onTimeout: () => log.warn(fields, 'no ftp data connection came from the workload'),
    });
    return { clientPort: offer.port, serverPort: null, done: offer.done, dialClient: () => Promise.resolve(), close: offer.close, abort: () => transfer?.destroy('ftp-transfer-aborted') };
  }

  /** The gateway is reached at once, for the server may not begin before, and the client when the server has begun. */
  async function prepareClient(clientPort: number, end: GatewayEnd): Promise<DataChannel> {
    const gateway = await reachGateway(control, end);
    if (gateway === undefined) throw new SallyportError('unavailable', 'no gateway takes the data connection');
    const { promise: done, resolve } = Promise.withResolvers<undefined>();
    let standing = true; // neither begun nor given up
    let transfer: Splice<TransferReason> | undefined;
    return {
      clientPort: null,
      serverPort: null,
      done,
      async dialClient() {
        if (!standing) return;
        standing = false;
        const client = await dialClient(clientPort);
        if (client === undefined) {
          reset(gateway);
          resolve(undefined);
        } else {
          transfer = splice(client, gateway, limits);
          void finish(transfer).then(() => resolve(undefined));
        }
      },
      close() {
        if (!standing) return;
        standing = false;
        reset(gateway);
        resolve(undefined);
      },
      abort: () => transfer?.destroy('ftp-transfer-aborted'),
    };
  }

  /** From the address that the client knows us by, as RFC 959 section 3.2 has it; undefined where it does not listen. */
  function dialClient(port: number): Promise<Socket | undefined> {
    return new Promise((resolve) => {
      const client = connect({ host: clientAddress, port, localAddress: clientFacingAddress, allowHalfOpen: true, noDelay: true, timeout: limits.dialTimeoutMs });
      const giveUp = () => client.destroy();
      client.once('timeout', giveUp);
      signal.addEventListener('abort', giveUp, { once: true });
      client.once('connect', () => {
        client.setTimeout(0);
        client.off('timeout', giveUp);
        settle(client);
      });
      client.on('error', (error) => log.warn({ err: error, ...fields }, 'ftp data connection to the workload has failed'));
      client.once('close', () => settle(undefined));
      function settle(outcome: Socket | undefined): void {
        signal.removeEventListener('abort', giveUp);
        resolve(outcome);
      }
    });
  }

  async function finish(transfer: Splice<TransferReason>): Promise<void> {
    const end = () => transfer.destroy(signal.reason as EndReason);
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    const { reason, bytesAtoB, bytesBtoA } = await transfer.done;
    signal.removeEventListener('abort', end);
    log.debug({ ...fields, reason, bytesSent: bytesAtoB, bytesReceived: bytesBtoA }, 'ftp data connection has ended');
  }

  async function listenForClient(claims: DataClaims, carry: (client: Socket) => Promise<void>): Promise<DataListener | undefined> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      client.on('error', () => undefined); // `close` follows
      if (parseAddress(client.remoteAddress ?? '') !== clientAddress) {
        claims.refuse();
        reset(client);
      } else if (!claims.claim(() => carry(client))) {
        reset(client);
      }
    });
    const { promise, resolve } = Promise.withResolvers<DataListener | undefined>();
    server.once('error', () => resolve(undefined));
    server.listen({ host: clientFacingAddress, port: 0 }, () => {
      const place = server.address();
      resolve(place !== null && typeof place === 'object' ? { port: place.port, close: () => server.close() } : undefined);
    });
    return promise;
  }

  return {
    open,
    settled: async () => {
      await Promise.all(channels);
      for (const connection of kept.values()) connection.close();
    },
  };
}
