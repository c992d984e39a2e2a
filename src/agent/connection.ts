import { createServer, type Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';
import { parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { openDataOffer, type DataClaims, type DataListener } from '../relay/ftp-data-offer.ts';
import { runFtpSession, type DataOffer } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { DialGateway } from './gateway-dialler.ts';
import type { AgentLimits } from './limits.ts';

/** What becomes of a connection for a reason of the agent's own. */
export type EndReason = Extract<ConnectionReason, 'policy-revoked' | 'gateway-stopping'>;

export interface Connection {
  /** Resolves when nothing is left of it, its FTP transfers included. Never rejects. */
  readonly done: Promise<void>;
  /** Ends it, and its transfers, at once. */
  end(reason: EndReason): void;
}

export interface ConnectionOptions {
  readonly upstream: AgentUpstream;
  /** Tried in this order. */
  readonly gateways: readonly Endpoint[];
  readonly dial: DialGateway;
  readonly limits: AgentLimits;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
}

/** Carries one connection of the workload to a gateway. Whatever fails, the workload sees a reset: nothing was done for it. */
export function carryConnection(local: Socket, { upstream, gateways, dial, limits, log }: ConnectionOptions): Connection {
  const ending = new AbortController();
  const { signal } = ending;
  const fields = { service: upstream.id };

  /** The first gateway that answers as who it should be; undefined, and `from` reset, where there is none. */
  async function dialFor(from: Socket, places: readonly Endpoint[]): Promise<TLSSocket | undefined> {
    const leaving = new AbortController();
    const leave = () => leaving.abort(new SallyportError('unavailable', 'the workload has gone'));
    from.on('error', leave);
    from.on('close', leave);
    const either = AbortSignal.any([signal, leaving.signal]);
    try {
      for (const gateway of places) {
        try {
          const socket = await dial(upstream, gateway, either);
          if (!either.aborted) return socket;
          reset(socket);
        } catch (error) {
          if (!either.aborted) log.warn({ err: error, ...fields }, 'gateway cannot be used');
        }
        if (either.aborted) break;
      }
      reset(from);
      return undefined;
    } finally {
      from.off('close', leave); // the error listener stays: a reset may still be on its way
    }
  }

  async function carryStream(from: Socket, places: readonly Endpoint[]): Promise<void> {
    const gateway = await dialFor(from, places);
    if (gateway === undefined) return;
    const joined = splice<EndReason>(from, gateway, limits);
    const end = () => joined.destroy(signal.reason as EndReason);
    signal.addEventListener('abort', end, { once: true });
    const result = await joined.done;
    signal.removeEventListener('abort', end);
    log.debug({ ...fields, reason: result.reason, bytesSent: result.bytesAtoB, bytesReceived: result.bytesBtoA }, 'connection has ended');
  }

  async function carryFtp(): Promise<void> {
    const gateway = await dialFor(local, gateways);
    if (gateway === undefined) return;
    const [clientFacingAddress, clientAddress, serverAddress] = [local.localAddress, local.remoteAddress, gateway.remoteAddress].map((address) => parseAddress(address ?? ''));
    if (clientFacingAddress === undefined || clientAddress === undefined || serverAddress === undefined) {
      reset(local); // one of them was closed just now, and has no address any more
      reset(gateway);
      return;
    }
    const transfers = new Set<Promise<void>>();
    const offerData = async (serverPort: number): Promise<DataOffer> => {
      if (transfers.size >= limits.ftpTransfersMax) throw new SallyportError('unavailable', `${transfers.size} transfers of the session are running, which is the limit`);
      const offer = await openDataOffer({
        listen: (claims) => listenForData(clientFacingAddress, clientAddress, claims, (socket) => carryStream(socket, [{ address: serverAddress, port: serverPort }])),
        timeoutMs: limits.ftpDataTimeoutMs,
        onTimeout: () => log.warn(fields, 'no ftp data connection came from the workload'),
      });
      const finished = offer.done.then(() => void transfers.delete(finished));
      transfers.add(finished);
      return offer;
    };
    const session = runFtpSession({ client: local, server: gateway, clientFacingAddress, serverAddress, offerData, idleTimeoutMs: limits.idleTimeoutMs, onNotice: (notice) => log.warn({ ...fields, ...notice }, 'ftp session') });
    const stop = () => session.stop(signal.reason as EndReason);
    signal.addEventListener('abort', stop, { once: true });
    const { reason } = await session.ended;
    signal.removeEventListener('abort', stop);
    await Promise.all(transfers);
    log.debug({ ...fields, reason }, 'ftp session has ended');
  }

  return {
    done: upstream.protocol === 'FTP' ? carryFtp() : carryStream(local, gateways),
    end: (reason) => ending.abort(reason),
  };
}

/** Awaits the workload's data connection beside its control connection: at the same address of ours, and from the same of its own. */
async function listenForData(address: IpAddress, clientAddress: IpAddress, claims: DataClaims, carry: (socket: Socket) => Promise<void>): Promise<DataListener | undefined> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (parseAddress(socket.remoteAddress ?? '') !== clientAddress) {
      claims.refuse();
      reset(socket);
    } else if (!claims.claim(() => carry(socket))) {
      reset(socket);
    }
  });
  const { promise, resolve } = Promise.withResolvers<DataListener | undefined>();
  server.once('error', () => resolve(undefined));
  server.listen({ host: address, port: 0 }, () => {
    const place = server.address();
    resolve(place !== null && typeof place === 'object' ? { port: place.port, close: () => server.close() } : undefined);
  });
  return promise;
}
