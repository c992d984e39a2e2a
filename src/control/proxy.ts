/**
 * Whom the control plane serves by xDS: our own gateways and agents, and Envoys. What one is sent follows from the identity that
 * its certificate proves; which form it wants that in, it says itself.
 */
import type { Metadata } from '@grpc/grpc-js';
import { proxyHeader } from '../backends/envoy/index.ts';
import type { GatewayClass } from '../core/objects/index.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';

export const proxyForms = ['sallyport', 'envoy'] as const;
export type ProxyForm = (typeof proxyForms)[number];

/** What a gateway of a class asks for; null for one that asks for nothing, since its configuration is pushed to it. */
export const formOfClass: Readonly<Record<GatewayClass, ProxyForm | null>> = { sallyport: 'sallyport', envoy: 'envoy', bigip: null, kernel: 'sallyport' };

export interface Proxy {
  readonly identity: SpiffeId;
  readonly form: ProxyForm;
}

/** The key of its snapshot. Every proxy of one identity and form is sent the same. */
export const nodeKeyOf = ({ identity, form }: Proxy): string => `${form} ${identity}`;

/** The inverse of `nodeKeyOf`. */
export function proxyOf(nodeKey: string): Proxy {
  const [form, identity] = nodeKey.split(' ') as [ProxyForm, SpiffeId];
  return { identity, form };
}

/** The form that a caller asks for. */
export const formOf = (metadata: Metadata): ProxyForm => (metadata.get(proxyHeader.key)[0] === proxyHeader.value ? 'envoy' : 'sallyport');

/** What a proxy may call itself: its identity, or that with `~` and a name that tells it from others of the same identity. */
export const mayBeCalled = (identity: SpiffeId) => (claimed: string): boolean => claimed === identity || (claimed.startsWith(`${identity}~`) && /^[A-Za-z0-9._-]{1,128}$/.test(claimed.slice(identity.length + 1)));
