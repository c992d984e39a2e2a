import { decodeAgentUpstream } from '../api/table-codec.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';

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
