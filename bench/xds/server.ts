/**
 * The Node half of bench/xds.ts: src/xds as a server, over src/grpc or over grpc-js. Takes orders as lines of JSON on its standard
 * input, answers each with one line, and ends with its input, or after an hour whatever happens.
 *
 *   node bench/xds/server.ts (ours|grpc-js)
 */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { createInterface } from 'node:readline';
import { createServer as createTlsServer } from 'node:tls';
import { createGrpcServer } from '../../src/grpc/index.ts';
import { createResource, createSnapshot, createSnapshotCache, createXdsServer, envoyTypes, type Resource, type XdsCall, type XdsServer } from '../../src/xds/index.ts';
import type { Answer, Order, TlsIdentity } from './orders.ts';

const lifetimeMaxMs = 3_600_000;
const sharedKey = 'shared';
const loopback = '127.0.0.1';

const cache = createSnapshotCache();
const silent = { info: () => undefined, warn: console.error };
const xds = createXdsServer({ cache, authenticate: () => ({ nodeKey: sharedKey, nodeId: () => true }), now: Date.now, log: silent });
const resources = new Map<string, Resource>();
let version = 0;

let requests = 0;
let awaited: { readonly count: number; readonly reached: () => void } | undefined;

/** The same handlers, which also count requests. */
function countingHandlers({ handlers }: XdsServer): XdsServer['handlers'] {
  const handle = handlers['DeltaAggregatedResources'] as (call: XdsCall) => void;
  const count = (): void => {
    requests += 1;
    if (requests === awaited?.count) awaited.reached();
  };
  return {
    ...handlers,
    DeltaAggregatedResources(call: XdsCall) {
      call.on('data', count);
      handle(call);
    },
  };
}

async function untilRequests(count: number): Promise<void> {
  if (requests < count) await new Promise<void>((reached) => (awaited = { count, reached }));
}

const listenBy: Readonly<Record<string, (tls: TlsIdentity | undefined) => Promise<number>>> = {
  async ours(tls) {
    const grpc = createGrpcServer();
    grpc.addService(xds.service, countingHandlers(xds));
    const listener =
      tls === undefined
        ? createServer((socket) => grpc.injectConnection(socket))
        : createTlsServer({ key: tls.privateKeyPem, cert: tls.certificateChainPem, ca: tls.trustBundlePem, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['h2'] }, (socket) => grpc.injectConnection(socket));
    await once(listener.listen(0, loopback), 'listening');
    return (listener.address() as AddressInfo).port;
  },
  async 'grpc-js'(tls) {
    const server = new Server();
    server.addService(xds.service, countingHandlers(xds));
    const credentials =
      tls === undefined ? ServerCredentials.createInsecure() : ServerCredentials.createSsl(Buffer.from(tls.trustBundlePem), [{ private_key: Buffer.from(tls.privateKeyPem), cert_chain: Buffer.from(tls.certificateChainPem) }], true);
    return new Promise((resolve, reject) => {
      server.bindAsync(`${loopback}:0`, credentials, (error, port) => (error === null ? resolve(port) : reject(error)));
    });
  },
};

async function obey(order: Order): Promise<Answer> {
  switch (order.op) {
    case 'listen':
      return { port: await listenBy[process.argv[2]!]!(order.tls) };
    case 'set': {
      const given = order.resources.map(({ name, value }) => ({ name, value: Buffer.from(value, 'base64') }));
      const atNs = Number(process.hrtime.bigint());
      for (const { name, value } of given) resources.set(name, createResource({ name, typeUrl: envoyTypes.cluster, value }));
      cache.setSnapshot(sharedKey, createSnapshot(String(++version), resources.values(), cache.getSnapshot(sharedKey)));
      return { atNs };
    }
    case 'usage': {
      await untilRequests(order.requests);
      const { user, system } = process.cpuUsage();
      return { cpuUs: user + system };
    }
    default:
      throw new Error(`no order for a server: ${order.op}`);
  }
}

setTimeout(() => process.exit(1), lifetimeMaxMs).unref();
for await (const line of createInterface(process.stdin)) console.log(JSON.stringify(await obey(JSON.parse(line) as Order)));
process.exit();
