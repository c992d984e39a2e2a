import type { ConnectionReason } from '../core/ledger-record.ts';
import { reset } from '../relay/reset.ts';
import { splice, type SpliceEnd } from '../relay/splice.ts';
import type { ProtocolContext, ProtocolHandler } from './protocol.ts';

/** Dials once and passes bytes through: TCP, and HTTPConnect whose grant leaves the authorities to the forward proxy. */
export const handleStream: ProtocolHandler = (context) => {
  let ended: ConnectionReason | undefined;
  let stop = (reason: ConnectionReason): void => {
    ended = reason;
    reset(context.client);
  };

  async function serve({ client, ledger, settings, dial }: ProtocolContext): Promise<void> {
    const dialled = await dial();
    if (!dialled.ok) {
      ledger.denied(ended ?? dialled.reason, dialled.detail);
      reset(client);
      return;
    }
    const record = ledger.opened(dialled, { channel: 'stream' });
    const spliced = splice<ConnectionReason>(client, dialled.socket, { idleTimeoutMs: settings.limits.idleTimeoutMs });
    stop = spliced.destroy;
    const { reason, bytesAtoB, bytesBtoA } = await spliced.done;
    record.closed({ reason: ended ?? reasonOf(reason), bytesSent: bytesAtoB, bytesReceived: bytesBtoA });
  }

  return {
    done: serve(context),
    end: (reason) => stop(reason),
    // Bytes that passed unread may not go on once their authority matters.
    allowedBy: (grant) => context.servicePort.protocol !== 'HTTPConnect' || grant.connectAuthorities === null,
  };
};

/** The ledger's word for a splice's end, where the client is end a and the target end b. */
export function reasonOf(end: SpliceEnd | ConnectionReason): ConnectionReason {
  if (end === 'a-broken') return 'client-closed';
  return end === 'b-broken' ? 'target-reset' : end;
}
