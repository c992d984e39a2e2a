/** Which Context ID stands for which client of an agent's UDP port: a client is an address and port, and each is a flow. */
import { formatEndpoint } from '../ip-address.ts';
import { createFlowTable } from './flow-table.ts';

/** A client as its datagrams name it. */
export interface ClientEndpoint {
  readonly address: string;
  readonly port: number;
}

export interface ClientContexts {
  readonly size: number;
  /** Of a client that has sent something. Clients that have been quiet for long, and then the quietest, are forgotten for it. */
  contextOf(client: ClientEndpoint, nowMs: number): number;
  /** Who is to have a reply; undefined for one that was forgotten, or never known. */
  clientOf(contextId: number, nowMs: number): ClientEndpoint | undefined;
}

interface Client {
  readonly contextId: number;
  readonly endpoint: ClientEndpoint;
}

export function createClientContexts({ clientsMax, idleTimeoutMs }: { readonly clientsMax: number; readonly idleTimeoutMs: number }): ClientContexts {
  const byClient = createFlowTable<string, Client>();
  const byContext = new Map<number, Client>();
  let nextContextId = 0; // even, since clients choose those (RFC 9298 section 4), and never used again: a late reply is nobody else's

  function forget(nowMs: number): void {
    for (let quietest = byClient.quietest(); quietest !== undefined && (byClient.size >= clientsMax || nowMs - quietest.usedAtMs >= idleTimeoutMs); quietest = byClient.quietest()) {
      byClient.remove(formatEndpoint(quietest.flow.endpoint));
      byContext.delete(quietest.flow.contextId);
    }
  }

  return {
    get size() {
      return byContext.size;
    },
    contextOf(endpoint, nowMs) {
      const key = formatEndpoint(endpoint);
      const known = byClient.use(key, nowMs);
      if (known !== undefined) return known.contextId;
      forget(nowMs);
      const client = { contextId: nextContextId, endpoint };
      nextContextId += 2;
      byClient.add(key, client, nowMs);
      byContext.set(client.contextId, client);
      return client.contextId;
    },
    clientOf(contextId, nowMs) {
      const client = byContext.get(contextId);
      return client && byClient.use(formatEndpoint(client.endpoint), nowMs)?.endpoint;
    },
  };
}
