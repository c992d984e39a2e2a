/**
 * The data connections of one FTP session of the workload. The gateway's end of each is a second mTLS connection, dialled. The workload's
 * is between the two addresses of its control connection: awaited where it is passive, dialled where it is active.
 */
import { connect, createServer, type Socket } from 'node:net';
import { SallyportError, invariant } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { parseAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { openDataOffer, type DataClaims, type DataListener } from '../relay/ftp-data-offer.ts';
import type { DataChannel, DataEnds } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { splice, type Splice } from '../relay/splice.ts';
import type { ConnectionOptions, EndReason } from './connection-options.ts';
import { dialFor } from './dial-for.ts';

export interface FtpDataChannels {
  /** Prepares one data connection. Rejects with `unavailable` where it cannot. */
  readonly open: (ends: DataEnds) => Promise<DataChannel>;
  /** Resolves when no channel is left. */
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

type TransferReason = EndReason | Extract<ConnectionReason, 'ftp-transfer-aborted'>;

export function createFtpDataChannels(options: FtpDataChannelsOptions): FtpDataChannels {
  const { control, clientFacingAddress, clientAddress, gatewayAddress, limits, log, signal, upstream } = options;
  const fields = { service: upstream.id };
  const channels = new Set<Promise<void>>();

  async function open({ client, server }: DataEnds): Promise<DataChannel> {
    invariant(server.how === 'dialled', 'a gateway is passive');
    if (channels.size >= limits.ftpTransfersMax) throw new SallyportError('unavailable', `${channels.size} data connections of the session are open, which is the limit`);
    const gateway = { address: gatewayAddress, port: server.port };
    const channel = await (client.how === 'awaited' ? awaitClient(gateway) : prepareClient(client.port, gateway));
    const finished = channel.done.then(() => void channels.delete(finished));
    channels.add(finished);
    return channel;
  }

  /** The gateway is dialled when the client has come. */
  async function awaitClient(place: Endpoint): Promise<DataChannel> {
    let transfer: Splice<TransferReason> | undefined;
    async function carry(client: Socket): Promise<void> {
      const gateway = await dialFor(client, [place], options);
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

  /** The gateway is dialled at once, for the server may not begin before, and the client when the server has begun. */
  async function prepareClient(clientPort: number, place: Endpoint): Promise<DataChannel> {
    const gateway = await dialFor(control, [place], options);
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
    },
  };
}
