/** One awaited end of an FTP session's data connection: who may use it up, how often strangers may try, and for how long it stands. */
import { SallyportError } from '../core/errors.ts';

export interface DataOffer {
  readonly port: number;
  /** Resolves when nothing is left of it: it was never used, or what came was carried to its end. Never rejects. */
  readonly done: Promise<void>;
  /** Awaits no connection any more. What has come goes on. */
  readonly close: () => void;
}

/** What a listener tells its offer. */
export interface DataClaims {
  /** The session's own connection is here: uses the offer up and carries the connection to its end. False, and not carried, where the offer is over. */
  claim(carry: () => Promise<void>): boolean;
  /** A connection was refused. It does not use the offer up, but a stranger who tries without end does. */
  refuse(): void;
}

export interface DataListener {
  readonly port: number;
  /** Listens no more. Connections that were claimed go on. */
  close(): void;
}

export interface DataOfferOptions {
  /** Opens the listener; undefined where no port is free. */
  readonly listen: (claims: DataClaims) => Promise<DataListener | undefined>;
  /** For the session's own connection to come. */
  readonly timeoutMs: number;
  readonly onTimeout: () => void;
}

/** Strangers' connections that an offer bears. More cost the session this one offer, and us no more work. */
export const refusalsMax = 16;

/** Opens an offer. Rejects with `unavailable` where no port is free. `carry` must not reject. */
export async function openDataOffer({ listen, timeoutMs, onTimeout }: DataOfferOptions): Promise<DataOffer> {
  const standing: { open: boolean; refusals: number; listener: DataListener | undefined } = { open: true, refusals: 0, listener: undefined };
  const { promise: done, resolve } = Promise.withResolvers<undefined>();

  /** Whether it was still open. */
  function stopListening(): boolean {
    if (!standing.open) return false;
    standing.open = false;
    clearTimeout(timer);
    standing.listener?.close();
    return true;
  }
  function close(): void {
    if (stopListening()) resolve(undefined);
  }

  const timer = setTimeout(() => {
    close();
    onTimeout();
  }, timeoutMs);
  const listener = await listen({
    claim: (carry) => {
      if (!stopListening()) return false;
      void carry().then(() => resolve(undefined));
      return true;
    },
    refuse: () => {
      standing.refusals += 1;
      if (standing.refusals === refusalsMax) close();
    },
  });
  if (listener === undefined) {
    clearTimeout(timer);
    throw new SallyportError('unavailable', 'no port is free for an ftp data connection', { hint: 'widen spec.ftp.passivePorts of the EgressGateway' });
  }
  if (standing.open) standing.listener = listener;
  else listener.close(); // over while it was being opened
  return { port: listener.port, done, close };
}
