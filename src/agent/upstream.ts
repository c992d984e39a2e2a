import { fromBinary } from '@bufbuild/protobuf';
import { SallyportError } from '../core/errors.ts';
import { parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { Endpoint, ServicePortId } from '../core/plan.ts';
import { parseSpiffeId, type SpiffeId } from '../core/spiffe-id.ts';
import { AgentUpstreamSchema, type AgentUpstream as AgentUpstreamMessage, type Endpoint as EndpointMessage } from '../proto/sallyport/v1alpha1/table_pb.ts';

/** One service port that the workload may reach, as the agent needs to know it. */
export interface Upstream {
  readonly id: ServicePortId;
  readonly protocol: string;
  /** Where the workload finds it: a loopback address. */
  readonly listen: Endpoint;
  /** At least one; any of them will do. */
  readonly gateways: readonly Endpoint[];
  /** SNI. */
  readonly serverName: string;
  /** At least one; no other gateway is spoken to (secure naming). */
  readonly serverIdentities: readonly SpiffeId[];
}

export const agentUpstreamTypeUrl = `type.googleapis.com/${AgentUpstreamSchema.typeName}`;

/** Reads an encoded AgentUpstream. Throws SallyportError `request-invalid`, by which a response is rejected whole. */
export function readUpstream(id: string, value: Uint8Array): Upstream {
  const refuse = (reason: string, cause?: unknown) => new SallyportError('request-invalid', `upstream "${id}" ${reason}`, { value: id, cause });
  let message: AgentUpstreamMessage;
  try {
    message = fromBinary(AgentUpstreamSchema, value);
  } catch (error) {
    throw refuse('cannot be read', error);
  }
  const endpoint = (field: string, { address, port }: EndpointMessage = { address: '', port: 0 } as EndpointMessage): Endpoint => {
    const parsed = parseAddress(address);
    if (parsed === undefined || port < 1 || port > 65_535) throw refuse(`has ${field} "${address}" port ${port}, which is no endpoint`);
    return { address: parsed, port };
  };
  const serverIdentities = message.serverIdentities.map((text) => {
    const parsed = parseSpiffeId(text);
    if (!parsed.ok) throw refuse(`has the server identity ${parsed.reason}`);
    return parsed.id;
  });
  if (serverIdentities.length === 0) throw refuse('names no server identity'); // nobody could be believed
  if (message.gateways.length === 0) throw refuse('names no gateway');
  return {
    id: id as ServicePortId,
    protocol: message.protocol,
    listen: endpoint('a listener at', message.listen),
    gateways: message.gateways.map((gateway) => endpoint('a gateway at', gateway)),
    serverName: message.serverName,
    serverIdentities,
  };
}

/** Whether only this host can connect there: 127.0.0.0/8 (RFC 1122, section 3.2.1.3) or ::1 (RFC 4291, section 2.5.3). */
export function isLoopback(address: IpAddress): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** Text for logs and errors: `127.0.0.1:21`, `[::1]:21`. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
