/** The agent's data offer: a plain listener at the address that the local client uses, for that client only. */
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { parseAddress } from '../core/ip-address.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { openDataOffer } from './ftp-data-offer.ts';
import type { DataClaims, DataListener } from './ftp-data-offer.ts';
import { reset } from './reset.ts';
import type { DataOffer } from './ftp-session.ts';

export interface LocalOfferOptions {
  /** The local end of the client's control connection. */
  readonly address: IpAddress;
  /** The client's end of it: data connections from elsewhere are refused. */
  readonly clientAddress: IpAddress;
  readonly timeoutMs: number;
  readonly onTimeout: () => void;
  /** Carries the client's data connection, which is half-open and not flowing, to its end. Must not reject. */
  readonly carry: (client: Socket) => Promise<void>;
}

/** Offers a data connection on a free port. Rejects with `unavailable` where there is none. */
export function offerLocalData(options: LocalOfferOptions): Promise<DataOffer> {
  return openDataOffer({ listen: (claims) => listen(options, claims), timeoutMs: options.timeoutMs, onTimeout: options.onTimeout });
}

async function listen({ address, clientAddress, carry }: LocalOfferOptions, claims: DataClaims): Promise<DataListener | undefined> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    socket.on('error', () => socket.destroy()); // between here and carry nobody else listens
    if (parseAddress(socket.remoteAddress ?? '') !== clientAddress) {
      reset(socket);
      claims.refuse();
    } else if (!claims.claim(() => carry(socket))) {
      reset(socket);
    }
  });
  const { promise, resolve } = Promise.withResolvers<DataListener | undefined>();
  server.on('error', () => resolve(undefined)); // later ones, such as running out of descriptors, cost a connection, not the offer
  server.listen({ host: address, port: 0, exclusive: true }, () => {
    resolve({ port: (server.address() as AddressInfo).port, close: () => server.close() });
  });
  return promise;
}
