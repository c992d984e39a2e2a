/**
 * The data connections of one FTP session: each a second mTLS connection of the same identity, to a port that stands for one passive port
 * of the server, leaving from the same address as the control connection.
 */
import type { TLSSocket } from 'node:tls';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import { openDataOffer } from '../relay/ftp-data-offer.ts';
import type { DataClaims } from '../relay/ftp-data-offer.ts';
import type { DataOffer } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { splice } from '../relay/splice.ts';
import type { Splice } from '../relay/splice.ts';
import type { PeerListenerEvents, ProtocolContext } from './protocol.ts';
import { reasonOf } from './stream-handler.ts';

export interface FtpDataChannels {
  /** Offers one data connection for a port of the server. Rejects with `unavailable` where it cannot. */
  readonly offer: (serverPort: number) => Promise<DataOffer>;
  /** Ends the transfers that run, and those about to. */
  end(reason: ConnectionReason): void;
  /** Resolves when no offer and no transfer is left. */
  settled(): Promise<void>;
}

/** Transfers that one session may have running at a time. A client has one; the rest is room for those that are just ending. */
const transfersMax = 8;

export function createFtpDataChannels(context: ProtocolContext, serverAddress: IpAddress): FtpDataChannels {
  const { ledger, peer: owner, settings } = context;
  const { ftpDataTimeoutMs, idleTimeoutMs } = settings.limits;
  const offers = new Set<Promise<void>>();
  const transfers = new Set<Splice<ConnectionReason>>();
  let ended: ConnectionReason | undefined;

  async function offer(serverPort: number): Promise<DataOffer> {
    if (transfers.size >= transfersMax) throw new SallyportError('unavailable', `${transfers.size} transfers of the session are running, which is the limit`);
    const opened = await openDataOffer({
      timeoutMs: ftpDataTimeoutMs,
      onTimeout: () => ledger.denied('ftp-data-timeout', `no data connection came within ${ftpDataTimeoutMs} ms`),
      listen: (claims) => context.listenForPeers(settings.ftpPassivePorts, admission(claims, serverPort)),
    });
    offers.add(opened.done);
    void opened.done.then(() => offers.delete(opened.done));
    return opened;
  }

  /** Who comes to an offer: its owner uses it up, a stranger is recorded and does not. */
  function admission(claims: DataClaims, serverPort: number): PeerListenerEvents {
    return {
      peer(socket, peer, client) {
        if (peer.spiffeId !== owner.spiffeId) {
          reset(socket);
          ledger.child(client, peer.spiffeId).denied('ftp-data-identity-mismatch', `"${peer.spiffeId}" came for a data connection of "${owner.spiffeId}"`);
          claims.refuse();
        } else if (!claims.claim(() => carry(socket, client, serverPort))) {
          reset(socket);
        }
      },
      refused(reason, detail, client) {
        ledger.child(client, null).denied(reason, detail);
        claims.refuse();
      },
    };
  }

  async function carry(socket: TLSSocket, client: string, serverPort: number): Promise<void> {
    const child = ledger.child(client);
    const dialled = await context.dialBeside({ address: serverAddress, port: serverPort });
    if (!dialled.ok) {
      child.denied(ended ?? dialled.reason, dialled.detail);
      reset(socket);
      return;
    }
    const record = child.opened(dialled, { channel: 'ftp-data' });
    const transfer = splice<ConnectionReason>(socket, dialled.socket, { idleTimeoutMs });
    transfers.add(transfer);
    if (ended !== undefined) transfer.destroy(ended);
    const { reason, bytesAtoB, bytesBtoA } = await transfer.done;
    transfers.delete(transfer);
    record.closed({ reason: reasonOf(reason), bytesSent: bytesAtoB, bytesReceived: bytesBtoA });
  }

  return {
    offer,
    end(reason) {
      ended ??= reason;
      for (const transfer of transfers) transfer.destroy(reason);
    },
    settled: async () => {
      await Promise.all(offers);
    },
  };
}
