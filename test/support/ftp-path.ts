/** The whole way of an FTP session on loopback: a plain local port, the agent's relay, mTLS, the gateway's data plane, the server. */
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import type tls from 'node:tls';
import pino from 'pino';
import { carryConnection } from '../../src/agent/connection.ts';
import type { Connection } from '../../src/agent/connection.ts';
import { createGatewayDialler } from '../../src/agent/gateway-dialler.ts';
import { agentLimits } from '../../src/agent/limits.ts';
import type { AgentUpstream } from '../../src/core/plan/agent-view.ts';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { FtpTls, Grant } from '../../src/core/plan/plan.ts';
import type { GatewaySettings } from '../../src/gateway/protocol.ts';
import { grantTo, loopback, productpage, servicePort, settings, startGateway } from './gateway.ts';
import type { TestGateway } from './gateway.ts';
import type { Issued } from './pki.ts';

export interface FtpPath {
  readonly gateway: TestGateway;
  /** Where the workload finds the server. */
  readonly agentPort: number;
  /** Speaks to the gateway as the workload's agent does, but by hand. */
  connect(identity: Issued, port?: number): tls.TLSSocket;
  readonly stop: () => Promise<void>;
}

export const snatAddress = '127.0.1.11';
const ipv6Grant = grantTo('bookinfo', snatAddress, { snat: { ipv6: { address: '::1' as IpAddress, ports: { first: 1024, last: 65535 } } } });

export interface FtpPathOptions {
  readonly serverPort: number;
  /** Of agent and server; the mesh between them is IPv4. Default 127.0.0.1. */
  readonly address?: '127.0.0.1' | '::1';
  readonly dataMode?: FtpDataMode;
  readonly recordDigest?: boolean;
  readonly ftps?: FtpTls | null;
  readonly limits?: Partial<GatewaySettings['limits']>;
  readonly grants?: readonly Grant[];
}

export async function openFtpPath({ serverPort, address = '127.0.0.1', dataMode = 'Passive', recordDigest = false, ftps = null, limits = {}, grants = [address === '::1' ? ipv6Grant : grantTo('bookinfo', snatAddress)] }: FtpPathOptions): Promise<FtpPath> {
  const partner = servicePort({ protocol: 'FTP', targetPort: serverPort, grants, dataMode, recordDigest, ftps });
  const servicePorts = [{ ...partner, targets: [{ kind: 'address' as const, address: address as IpAddress, port: serverPort }] }];
  const gateway = await startGateway({ servicePorts, limits });
  const identity = gateway.pki.issue(productpage);
  const dial = createGatewayDialler({ current: identity, subscribe: () => () => undefined }, { now: Date.now, dialTimeoutMs: 2_000 });
  const gateways = [{ address: loopback, port: gateway.port }];
  const upstream: AgentUpstream = { ...partner, listen: { address: loopback, port: 0 }, gateways, serverName: partner.serverNames[0]!, serverIdentities: [settings.identity] };
  const connections = new Set<Connection>();
  const agent = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const connection = carryConnection(socket, { upstream, gateways, dial, limits: agentLimits, log: pino({ level: 'silent' }) });
    connections.add(connection);
    void connection.done.then(() => connections.delete(connection));
  });
  await new Promise<void>((resolve) => agent.listen(0, address, resolve));
  return {
    gateway,
    agentPort: (agent.address() as AddressInfo).port,
    connect: (identity, port = gateway.port) => gateway.connect(identity, { port }),
    async stop() {
      agent.close();
      for (const connection of connections) connection.end('gateway-stopping');
      await Promise.all([...connections].map(({ done }) => done));
      await gateway.stop();
    },
  };
}
