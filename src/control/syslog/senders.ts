/** Which gateway is at the other end of a syslog connection. It may cease to be while the connection lasts, so it is asked anew as lines come. */
import { parseAddress, rangeContains, type AddressRange } from '../../core/ip-address.ts';
import type { Plan } from '../../core/plan/plan.ts';
import { trustDomainOf } from '../../core/spiffe-id.ts';
import type { MeshCertificateParse, X509Svid } from '../../core/x509/x509-svid.ts';

/** Where a box sends from, over plain TCP. */
export interface AllowedSender {
  /** The gateway's name. */
  readonly gateway: string;
  readonly addresses: AddressRange;
}

/** `reason` is the end of a sentence about the sender. */
export type Admission = { readonly ok: true; readonly gateway: string } | { readonly ok: false; readonly reason: string };

/** Over plain TCP: by the address, as far as somebody has said whose it is. */
export function admitAddress(remoteAddress: string | undefined, allowed: readonly AllowedSender[], plan: Plan): Admission {
  const address = parseAddress(remoteAddress ?? '');
  const gateway = address === undefined ? undefined : allowed.find(({ addresses }) => rangeContains(addresses, address))?.gateway;
  if (gateway === undefined) return refuse('has an address that "--syslog-allow" does not name');
  return plan.gateways.some((each) => each.name === gateway && each.class === 'bigip') ? { ok: true, gateway } : refuse(`would be gateway "${gateway}", and there is none of class bigip that is called so`);
}

export interface CertificateCircumstances {
  readonly plan: Plan;
  readonly isRevoked: (svid: X509Svid) => boolean;
  readonly nowMs: number;
}

/** Over TLS, which has verified the chain when the connection began: by the certificate, as long as that is good. */
export function admitCertificate(parsed: MeshCertificateParse, { plan, isRevoked, nowMs }: CertificateCircumstances): Admission {
  if (!parsed.ok) return refuse(`has no certificate of a gateway: ${parsed.detail}`);
  const { spiffeId, notAfterMs } = parsed.svid;
  if (notAfterMs <= nowMs) return refuse(`has a certificate of ${spiffeId} that has expired`);
  if (isRevoked(parsed.svid)) return refuse(`has a certificate of ${spiffeId} that is revoked`);
  const gateway = trustDomainOf(spiffeId) === plan.trustDomain ? plan.gateways.find((each) => each.identity === spiffeId && each.class === 'bigip')?.name : undefined;
  return gateway === undefined ? refuse(`is ${spiffeId}, which is not the identity of a gateway of class bigip`) : { ok: true, gateway };
}

const refuse = (reason: string): Admission => ({ ok: false, reason });
