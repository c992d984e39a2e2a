/** Rows of the table in few words. */
import { witnessAddresses, type Attempt, type Credential, type Departure, type Divergence, type Door, type MalformedForm, type Manner, type Refusal } from './world.ts';

/** `NAMESPACE/SERVICEACCOUNT` of this trust domain, or a SPIFFE ID. */
const idOf = (who: string): string => {
  const [namespace, serviceAccount] = who.split('/');
  return who.startsWith('spiffe:') ? who : `spiffe://cluster.local/ns/${namespace!}/sa/${serviceAccount!}`;
};
const shown = (kind: Exclude<Extract<Credential, { spiffeId: string }>['kind'], 'malformed'>) => (who: string): Credential => ({ kind, spiffeId: idOf(who) });

export const svid = shown('svid');
export const expired = shown('expired');
export const notYetValid = shown('not-yet-valid');
export const revoked = shown('revoked');
export const untrusted = shown('untrusted');
export const enrolled = shown('enrolled');
export const proxyCertificate = shown('proxy');
export const several = (...who: readonly string[]): Credential => ({ kind: 'several', spiffeIds: who.map(idOf) });
export const malformed = (form: MalformedForm, who: string): Credential => ({ kind: 'malformed', form, spiffeId: idOf(who) });
export const withoutCertificate: Credential = { kind: 'none' };
export const oldTls: Credential = { kind: 'old-tls' };
export const withoutTls: Credential = { kind: 'plain' };

export const sni = (serverName: string): Door => ({ listener: 'shared', serverName });
export const withoutSni: Door = { listener: 'shared' };
export const ownListener = (serverName?: string): Door => ({ listener: 'own', ...(serverName === undefined ? {} : { serverName }) });
export const inManner = (manner: Manner, door: Door): Door => ({ ...door, manner });
export const connectTo = (door: Door, authority: string): Door => ({ ...door, authority });

interface Passage extends Partial<Pick<Departure, 'atMost' | 'beyond' | 'ports' | 'to' | 'channel'>> {
  readonly from: string;
  readonly by: readonly string[];
  readonly but?: Attempt['but'];
}

/** The rows of those who come to one door, behind which is `service`. */
export interface Way {
  lets(as: Credential, passage: Passage): Attempt;
  refuses(as: Credential, reason: Refusal['reason'], more?: { readonly by?: readonly string[]; readonly but?: Attempt['but'] }): Attempt;
}

/** A class that cannot serve what is there refuses it to everybody. */
export const unserved = (there: Way, as: Credential, because: string): Divergence => ({ because, expect: there.refuses(as, 'no-gateway').expect });

/** A kernel is not told of what it does not serve, so that there is no such service. */
export const unknownToKernel = (because: string): Divergence => ({ because: `${because}, and is not told of what it does not serve`, expect: { kind: 'refused', service: null, policies: [], reason: 'no-such-service' }, words: true });

const diverging = (but: Attempt['but']): Pick<Attempt, 'but'> => (but === undefined ? {} : { but });

export const way = (to: Door, service: string | null): Way => ({
  lets: (as, { by, but, ...passage }) => ({ as, to, expect: { kind: 'leaves', service, policies: by, to: witnessAddresses[0], channel: 'stream', ...passage }, ...diverging(but) }),
  refuses: (as, reason, { by = [], but } = {}) => ({ as, to, expect: { kind: 'refused', service, policies: by, reason }, ...diverging(but) }),
});
