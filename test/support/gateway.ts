/** A data plane in this process with a table made by hand: the gateway without a control plane. */
import { randomUUID } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import type { Endpoint, FtpTls, Grant, Revision, ServedProtocol, ServicePort, ServicePortId } from '../../src/core/plan/plan.ts';
import type { SpiffeId, TrustDomain } from '../../src/core/spiffe-id.ts';
import { createDataPlane, type DataPlane, type DataPlaneOptions } from '../../src/gateway/data-plane.ts';
import { protocolHandlers } from '../../src/gateway/protocol-handlers.ts';
import { allocateIdentityLimits, createIdentityLimits } from '../../src/gateway/identity-limits.ts';
import type { GatewaySettings } from '../../src/gateway/protocol.ts';
import { makePki, type Issued, type Pki } from './pki.ts';

export const trustDomain = 'cluster.local' as TrustDomain;
export const loopback = '127.0.0.1' as IpAddress;
export const revisionOne = '1'.repeat(64) as Revision;
export const spiffeIdOf = (namespace: string, account: string): SpiffeId => `spiffe://${trustDomain}/ns/${namespace}/sa/${account}` as SpiffeId;
export const productpage = spiffeIdOf('bookinfo', 'productpage');
export const batch = spiffeIdOf('reports', 'batch');
export const nettools = spiffeIdOf('sm-apigw-a', 'nettools');

/** A grant to a whole namespace, from `address` with all its ports. */
export function grantTo(namespace: string, address: string, more: Partial<Grant> = {}): Grant {
  const snat = { ipv4: { address: address as IpAddress, ports: { first: 1024, last: 65535 } } };
  return { subject: { namespace }, policies: [`${namespace}/egress`], snat, binding: `${namespace}/binding`, connectAuthorities: null, ftp: null, ...more };
}

export interface ServiceShape {
  readonly name?: string;
  readonly protocol?: ServedProtocol;
  readonly targetPort: number;
  readonly grants: readonly Grant[];
  readonly listenPort?: number;
  /** FTP. */
  readonly dataMode?: FtpDataMode;
  readonly recordDigest?: boolean;
  readonly ftps?: FtpTls | null;
}

/** A service port of namespace `egress`, with one target on loopback. */
export function servicePort({ name = 'partner', protocol = 'TCP', targetPort, grants, listenPort, dataMode = 'Passive', recordDigest = false, ftps = null }: ServiceShape): ServicePort {
  const host = `${name}.egress.svc.cluster.local`;
  return {
    id: `egress/${name}:main` as ServicePortId,
    service: { namespace: 'egress', name },
    portName: 'main',
    port: 3128,
    protocol,
    gateway: 'gate',
    entrance: 'gate',
    hosts: [host],
    serverNames: [`outbound_.3128_._.${host}`, host],
    listen: listenPort === undefined ? null : { address: loopback, port: listenPort },
    targets: [{ kind: 'address', address: loopback, port: targetPort }],
    serverIdentities: [],
    agentListen: { address: loopback, port: 3128 },
    ftp: protocol === 'FTP' ? { dataMode, recordDigest, tls: ftps } : null,
    grants,
  };
}

export const settings: GatewaySettings = {
  name: 'gate',
  trustDomain,
  identity: spiffeIdOf('sallyport-system', 'gate'),
  listen: [{ address: loopback, port: 0 }],
  ftpPassivePorts: null,
  limits: { connectionsPerIdentity: 1000, handshakeTimeoutMs: 2000, connectTimeoutMs: 2000, idleTimeoutMs: 60_000, ftpDataTimeoutMs: 2000, udpFlowsPerIdentity: 100, udpIdleTimeoutMs: 60_000 },
  kernel: null,
};

export interface TestGateway {
  readonly dataPlane: DataPlane;
  readonly pki: Pki;
  readonly port: number;
  readonly records: LedgerRecord[];
  /** Settable: whether records are taken. */
  readonly sink: { accepting: boolean };
  connect(identity: Issued, options?: tls.ConnectionOptions): tls.TLSSocket;
  /** The first record of the type that fits, once it is there. */
  record<Type extends LedgerRecord['type']>(type: Type, fits?: (record: Extract<LedgerRecord, { type: Type }>) => boolean): Promise<Extract<LedgerRecord, { type: Type }>>;
  stop(): Promise<void>;
}

export interface TestGatewayOptions {
  readonly servicePorts: readonly ServicePort[];
  readonly limits?: Partial<GatewaySettings['limits']>;
  readonly ftpPassivePorts?: GatewaySettings['ftpPassivePorts'];
  readonly now?: () => number;
  readonly pki?: Pki;
  readonly lookup?: DataPlaneOptions['lookup'];
}

export async function startGateway({ servicePorts, limits = {}, ftpPassivePorts = null, now = Date.now, pki = makePki(), lookup }: TestGatewayOptions): Promise<TestGateway> {
  const records: LedgerRecord[] = [];
  const sink = { accepting: true, append: (record: LedgerRecord) => void records.push(record) };
  const dataPlane = createDataPlane({
    material: pki.issue(settings.identity),
    handlers: protocolHandlers,
    sink,
    limits: createIdentityLimits(allocateIdentityLimits()),
    flowLimits: createIdentityLimits(allocateIdentityLimits()),
    portStart: Math.random(),
    reusePort: false,
    onListenerFault: (_endpoint, error) => {
      throw error ?? new Error('a listener that had failed listens');
    },
    now,
    random: Math.random,
    newId: randomUUID,
    ...(lookup === undefined ? {} : { lookup }),
  });
  await dataPlane.update({ revision: revisionOne, settings: { ...settings, ftpPassivePorts, limits: { ...settings.limits, ...limits } }, servicePorts });
  const { port } = dataPlane.addressOf(settings.listen[0]!)!;

  return {
    dataPlane,
    pki,
    port,
    records,
    sink,
    connect: (identity, options = {}) => {
      const socket = tls.connect({
        host: loopback,
        port,
        cert: identity.certificateChainPem,
        key: identity.privateKeyPem,
        ca: pki.rootPem,
        servername: 'outbound_.3128_._.partner.egress.svc.cluster.local',
        checkServerIdentity: () => undefined,
        ...options,
      });
      socket.on('error', () => undefined);
      return socket;
    },
    record: async (type, fits = () => true) => {
      type Wanted = Extract<LedgerRecord, { type: typeof type }>;
      const find = () => records.find((record): record is Wanted => record.type === type && fits(record as Wanted));
      await until(() => find() !== undefined, () => `no ${type} among ${JSON.stringify(records, undefined, 1)}`);
      return find()!;
    },
    stop: () => dataPlane.stop(0),
  };
}

/** Waits for a condition, in turns of the event loop, up to a limit. */
export async function until(condition: () => boolean, describe: () => string = () => 'the condition did not come true', limitMs = 5_000): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error(describe());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export interface TestServer {
  readonly port: number;
  /** Addresses of the clients that it saw, `address:port`. */
  readonly clients: string[];
  readonly sockets: Set<net.Socket>;
  stop(): Promise<void>;
}

/** An external service on loopback. */
export async function startServer(onConnection: (socket: net.Socket) => void, { address = loopback, port = 0 }: Partial<Endpoint> = {}): Promise<TestServer> {
  const clients: string[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    clients.push(`${socket.remoteAddress}:${socket.remotePort}`);
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    clients,
    sockets,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Everything that a stream gives, until it ends, breaks or closes. */
export async function readAll(socket: net.Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await new Promise<void>((resolve) => {
    for (const event of ['end', 'close']) socket.once(event, resolve);
  });
  return Buffer.concat(chunks).toString();
}
