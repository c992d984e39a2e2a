/** A Linux router as gateway, in network namespaces: what workloads say of themselves by TLS and SNI elsewhere, addresses and ports say here. */
import { once } from 'node:events';
import { mkdtemp, writeFile } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { adminPaths, type ApplyResult, type StatusResult } from '../../src/api/admin.ts';
import type { ObjectRef } from '../../src/core/errors.ts';
import { formatEndpoint } from '../../src/core/ip-address.ts';
import type { Plan, ServicePort } from '../../src/core/plan/plan.ts';
import type { WorkloadName } from '../../src/core/spiffe-id.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { KernelGatewayStatus } from '../../src/kernel/index.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { startServerProcess } from '../support/server-process.ts';
import type { SocketPlace, Sockets } from '../support/sockets.ts';
import { leadOut } from '../support/way-out.ts';
import type { ConnectionRecord, DataPlane, WorkloadConnection } from './data-plane.ts';
import { isTold } from './expectation.ts';
import { followLedger, identityOf } from './gateway-site.ts';
import { addressNames, manifestsInNetwork, outwardInterface, startKernelNetwork, workloadAddresses, type KernelNetwork } from './kernel-network.ts';
import { visitorOf, type Visitor } from './kernel-rules.ts';
import { routedVisits } from './visit.ts';
import { startWitness } from './witness.ts';
import { witnessAddresses, type Credential, type Door, type Places, type World } from './world.ts';

/** A kernel tells services apart by address and port, so each has a port of its own at the witness; of the last nothing is said. */
const witnessPorts = { first: 9_000, count: 8 } as const;
const proxyPorts = { first: 9_100, count: 1 } as const;
const nowhere: SocketPlace = { address: addressNames.inNetwork(witnessAddresses[0]), port: witnessPorts.first + witnessPorts.count - 1 };
const enforcedWithinMs = 20_000;
const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** Of the router itself. */
const probes = '127.0.0.1:9901';

export async function startKernelPlane(): Promise<DataPlane> {
  const undo = new AsyncDisposableStack();
  const network = await startKernelNetwork();
  undo.defer(() => network.close());
  const control = await startTestControl();
  undo.defer(() => control.close());
  await control.admin.post(adminPaths.caInit, {});
  const ledger = followLedger(control, addressNames.inTable);
  undo.defer(() => ledger.stop());
  const witness = await startWitness(witnessAddresses, { sockets: network.outside, ports: { witness: witnessPorts, proxy: proxyPorts }, names: addressNames });
  undo.defer(() => witness.close());
  const { witnessPort, proxyPort, caCertificates } = witness;
  const places: Places = { witnessPort, proxyPort, caCertificates, ownPort: 16_443, reversePort: 9_443 };
  const visitors = createVisitors();
  const workloads = createWorkloads(network.inside);
  let applied: ObjectRef[] = [];
  let plan: Plan;
  let gateway: Gateway | undefined;

  /** When the gateway has acknowledged everything, which it does once it is in force. */
  const enforced = () =>
    waitFor('the gateway of class kernel', enforcedWithinMs, async () => {
      const status = await control.admin.get<StatusResult>(adminPaths.status);
      const [proxy] = status.proxies.filter(({ connected }) => connected);
      for (const { error } of proxy?.types ?? []) if (error !== null) throw new Error(`the gateway rejects ${error.resources.join(', ')}: ${error.message}`);
      return proxy?.types.length === typesMin && proxy.types.every(({ state }) => state === 'SYNCED') ? status : undefined;
    });
  const typesMin = 4;

  const remove = (refs: readonly ObjectRef[]) => control.admin.post(adminPaths.remove, { refs });

  async function apply(manifests: World['manifests'], withdrawn: boolean, form: Pick<World, 'gateway'> = {}): Promise<ApplyResult> {
    const egressGateway = { apiVersion: 'sallyport.dev/v1alpha1', kind: 'EgressGateway', metadata: { name: 'egress-1' }, spec: { class: 'kernel', kernel: { interface: outwardInterface }, ...form.gateway } };
    const result = await control.apply([JSON.stringify(egressGateway), withPortsOfTheirOwn(manifestsInNetwork(manifests(places)), places), ...visitors.entries(withdrawn)].join('\n---\n'));
    const before = applied;
    applied = result.changes.map(({ ref }) => ref).filter(({ kind }) => kind !== 'EgressGateway');
    const gone = before.filter((ref) => !applied.some((other) => isDeepStrictEqual(other, ref)));
    if (gone.length > 0) await remove(gone);
    plan = await control.admin.get<Plan>(adminPaths.plan);
    return result;
  }

  return {
    places,
    visits: routedVisits,
    witness,
    get records() {
      return ledger.records.filter((record) => isTold(record.type, 'kernel') && workloads.isMeant(record));
    },
    async enforce(world, credentials) {
      visitors.welcome(credentials);
      if (applied.length > 0) await remove(applied.splice(0));
      await apply(world.manifests, true, world);
      gateway ??= await startGateway(control, network);
      await enforced();
      const { revision } = await apply(world.manifests, false, world);
      const { conditions } = await enforced();
      return { revision, conditions: [...conditions.filter((condition) => !condition.startsWith('gateway egress-1: ')), ...(await gateway.refusals())] };
    },
    async change({ to, revokes }) {
      if (revokes !== undefined) visitors.withdraw(revokes);
      await apply(to, false);
      await enforced();
    },
    async connect(credential, door) {
      const visitor = visitors.addressesOf(visitorOf(credential)!);
      const servicePort = servicePortAt(plan, door);
      if (door.manner === 'reverse') return await workloads.await({ address: visitor.ipv4, port: servicePort!.agentListen.port });
      const from = (address: string): string => (address.includes(':') ? visitor.ipv6 : visitor.ipv4);
      const targets = targetsOf(servicePort, door);
      if (door.manner === 'datagram') return await workloads.bind(from(targets[0]!.address), targets[0]!);
      return await workloads.connect(from, targets);
    },
    async stop() {
      await gateway?.stop();
      await undo.disposeAsync();
    },
  };
}

interface Gateway {
  /** What it refuses of the plan, as it says itself. */
  refusals(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

async function startGateway(control: TestControl, { router }: KernelNetwork): Promise<Gateway> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-conformance-'));
  const { address, trustBundlePem } = await control.mesh();
  const [bundle, token] = [join(directory, 'bundle.pem'), join(directory, 'token')];
  await writeFile(bundle, trustBundlePem);
  await writeFile(token, await control.token(identityOf('egress-1')));
  const way = await leadOut(router, Number(address.split(':')[1]));
  const options = ['--name', 'egress-1', '--control', address, '--state', directory, '--trust-bundle', bundle, '--join-token-file', token, '--probe-listen', probes];
  const gateway = await startServerProcess(process.execPath, [program, 'kernel-gateway', ...options], { directory, ready: /the table is in force/, enter: router.enter });
  return {
    async refusals() {
      const { conditions } = (await (await router.fetch(`http://${probes}/readyz`, 5_000)).json()) as KernelGatewayStatus;
      return conditions.map(({ message }) => message).filter((message) => message.startsWith('it refuses '));
    },
    async stop() {
      await gateway.stop();
      way.close();
    },
  };
}

/** Each port of a service at another port of the witness. */
function withPortsOfTheirOwn(manifests: string, { witnessPort }: Places): string {
  let next = witnessPort;
  return manifests.replaceAll(`targetPort: ${witnessPort}`, () => `targetPort: ${next++}`);
}

/** What a name leads to that is asked for by SNI elsewhere. */
function servicePortAt({ servicePorts }: Plan, { serverName = '', session }: Door): ServicePort | undefined {
  const name = (session?.serverName ?? serverName).toLowerCase();
  return servicePorts.find(({ serverNames }) => serverNames.includes(name));
}

function targetsOf(servicePort: ServicePort | undefined, { listener }: Door): readonly SocketPlace[] {
  if (servicePort === undefined) return [nowhere];
  return servicePort.targets.map((target) => ({ address: target.kind === 'address' ? target.address : addressNames.inNetwork('127.0.0.1'), port: typeof listener === 'number' ? listener : target.port }));
}

/** Who has which addresses, and who is said to have them. */
function createVisitors() {
  const indexes = new Map<string, number>();
  const said = new Map<string, Visitor & { readonly workload: WorkloadName }>();
  const keyOf = (visitor: Visitor): string => JSON.stringify(visitor);
  function addressesOf(visitor: Visitor) {
    const key = keyOf(visitor);
    const index = indexes.get(key) ?? indexes.size + 1;
    indexes.set(key, index);
    return workloadAddresses(index);
  }
  return {
    addressesOf,
    /** Those who come from now on. */
    welcome(credentials: readonly Credential[]): void {
      said.clear();
      for (const credential of credentials) {
        const visitor = visitorOf(credential);
        if (visitor !== undefined && visitor.kind !== 'stranger') said.set(keyOf(visitor), visitor);
      }
    },
    withdraw(spiffeId: string): void {
      said.delete(keyOf(visitorOf({ kind: 'svid', spiffeId })!));
    },
    /** WorkloadEntries: with those that are about to be withdrawn, or without. */
    entries: (withdrawn: boolean): readonly string[] =>
      [...said.values()]
        .filter(({ kind }) => withdrawn || kind === 'known')
        .map((visitor) => {
          const { kind, workload } = visitor;
          const { ipv4, ipv6 } = addressesOf(visitor);
          return JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'WorkloadEntry', metadata: { name: `${workload.serviceAccount}-${kind}`, namespace: workload.namespace }, spec: { serviceAccount: workload.serviceAccount, addresses: [ipv4, ipv6] } });
        }),
  };
}

/** A workload's side of connections: each from a port of its own, by which it is known. */
function createWorkloads(sockets: Sockets) {
  const ports = { first: 20_000, count: 40_000 } as const;
  let connections = 0;
  /** Clients that went on to the next address, or that nobody has answered. */
  const [forgone, unanswered] = [new Set<string>(), new Set<string>()];
  const nextPort = (): number => ports.first + (connections++ % ports.count);
  const clientOf = ({ address, port }: SocketPlace): string => addressNames.inTable(formatEndpoint({ address: address, port }));
  /** Where workloads listen, and who waits there for the next that comes. */
  const places = new Map<string, { readonly listening: Promise<unknown>; readonly waiting: ((socket: Socket) => void)[] }>();
  function placeOf(at: SocketPlace) {
    const client = clientOf(at);
    const waiting: ((socket: Socket) => void)[] = [];
    const place = places.get(client) ?? { waiting, listening: sockets.listen(at).then((server) => server.on('connection', (socket) => waiting.shift()?.(socket))) };
    places.set(client, place);
    return place;
  }

  return {
    /** Whether it is of what a connection came to in the end. */
    isMeant: ({ client, type }: ConnectionRecord): boolean => !forgone.has(client) && !(unanswered.has(client) && type === 'connection-opened'),
    /** To the first that answers, in turn. */
    async connect(fromOf: (address: string) => string, [to, ...others]: readonly SocketPlace[]): Promise<WorkloadConnection> {
      const from = { address: fromOf(to!.address), port: nextPort() };
      const client = clientOf(from);
      const socket = await sockets.connect(to!, from).catch(() => undefined);
      if (socket !== undefined) return { socket: socket.on('error', ignore), client };
      (others.length === 0 ? unanswered : forgone).add(client);
      return others.length === 0 ? { socket: refused(), client } : await this.connect(fromOf, others);
    },
    async bind(address: string, to: SocketPlace): Promise<WorkloadConnection> {
      const from = { address, port: nextPort() };
      const socket = await sockets.bind(from);
      socket.connect(to.port, to.address);
      await once(socket, 'connect');
      const datagrams: Duplex = new Duplex({ read: ignore, write: (payload: Buffer, _encoding, done) => socket.send(payload, () => done()), destroy: (_error, done) => void socket.close(() => done(null)), final: () => void datagrams.destroy() });
      socket.on('message', (payload) => datagrams.push(payload)).on('error', () => datagrams.destroy());
      return { socket: datagrams, client: clientOf(from) };
    },
    /** Whoever comes next to this place. */
    async await(at: SocketPlace): Promise<WorkloadConnection> {
      const { listening, waiting } = placeOf(at);
      const { promise, resolve } = Promise.withResolvers<Socket>();
      waiting.push(resolve);
      await listening;
      return { socket: whenThere(promise), client: clientOf(at) };
    },
  };
}

const ignore = (): void => undefined;

/** A connection that has not come about. */
function refused(): Duplex {
  const socket = new Duplex({ read: ignore, write: (_chunk, _encoding, done) => done() });
  setImmediate(() => socket.destroy());
  return socket;
}

function whenThere(arrival: Promise<Socket>): Duplex {
  const duplex: Duplex = new Duplex({ read: ignore, write: (chunk: Buffer, _encoding, done) => void arrival.then((socket) => socket.write(chunk, () => done())) });
  void arrival.then((socket) => socket.on('error', ignore).on('data', (chunk: Buffer) => duplex.push(chunk)).once('close', () => duplex.destroy()));
  return duplex;
}
