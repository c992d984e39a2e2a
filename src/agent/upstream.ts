import { decodeAgentUpstream } from '../api/table-codec.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';

/**
 * Reads an encoded AgentUpstream. Throws SallyportError `request-invalid`, by which a response is rejected whole, also where
 * nobody could be spoken to: no gateway, or none that would be believed.
 */
export function readUpstream(name: string, value: Uint8Array): AgentUpstream {
  const upstream = decodeAgentUpstream(value);
  if (upstream.id !== name) throw new SallyportError('request-invalid', `upstream "${upstream.id}" is named "${name}"`);
  if (upstream.serverIdentities.length === 0) throw new SallyportError('request-invalid', `upstream "${name}" names no server identity`);
  if (upstream.gateways.length === 0) throw new SallyportError('request-invalid', `upstream "${name}" names no gateway`);
  return upstream;
}

/** Whether only this host can connect there: 127.0.0.0/8 (RFC 1122, section 3.2.1.3) or ::1 (RFC 4291, section 2.5.3). */
export function isLoopback(address: IpAddress): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** Text for logs and errors: `127.0.0.1:21`, `[::1]:21`. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
