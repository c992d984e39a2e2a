/**
 * Five hundred FTP sessions of twenty identities at once, in all four pairs of data modes, with transfers under way while policies change:
 * what a real server saw, what the clients saw and what the ledger says is the same to the byte, and nothing is left of it.
 *
 * The server is pyftpdlib, since it can tell the port of every connection's other end; the agents, real in all else, share this process.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, readdir, readlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { runAgent, type Agent } from '../../src/agent/index.ts';
import { createAdminClient, type AdminClient } from '../../src/api/admin-client.ts';
import { adminPaths, type AssignmentList, type TokenResult } from '../../src/api/admin.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import type { PortRange } from '../../src/core/plan/plan.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { createDeployment, type Deployment } from '../../src/demo/deployment.ts';
import { findFreePorts, thisHost, waitFor } from '../../src/demo/processes.ts';
import { ftpUser } from '../support/ftp-server.ts';
import { requirePeer } from '../support/peers.ts';
import { startRecordingPyftpdlib, type FtpServerEvent, type RecordingFtpServer } from '../support/recording-pyftpdlib.ts';
import { contentOf, createCrowdMember, type CrowdAttempt, type CrowdIdentity, type CrowdMember } from './support/crowd.ts';
import { inspectable, measureHeaps, openInspector } from './support/gateway-heap.ts';
import { openFtpSession } from './support/ftp-session.ts';

const gateway = 'egress-1';
const identityCount = 20;
const sessionsEach = 25;
/** Of the identities; the policies of the others stay. */
const changingCount = 5;
const rounds = 2;
/** Between one change of policies and the next. Every fifth takes away what lets some identity out. */
const changeEveryMs = 100;
const revokeEveryTurns = 5;
/** In the middle of all this on two cores; that each alone keeps to it, is in revocation.test.ts. */
const endsWithinMs = 1_000;
/** So that transfers are under way when policies change. */
const bytesPerSecond = 65_536;
/** Of the gateway. The server, at the same address, has others: who comes too late to one of these must not meet it there. */
const dataPorts = { first: 20_000, last: 23_999 };
/** Little more than an identity's sessions need at once: what is not given back is soon missed. */
const blockPorts = 64;
/** An agent that hears of it long before a busy gateway does goes first, after half a second, and a server that sees one connection end may reset the other. */
const revokedReasons: ReadonlySet<string> = new Set(['client-closed', 'policy-revoked', 'target-reset']);
/** What the rounds after the first may leave behind: 10 KB for each session that there was, less than a session that is forgotten holds. */
const heapGrowthMax = (rounds - 1) * identityCount * sessionsEach * 10_240;
/** Beside heaps, what allocators keep for the next crowd. */
const residentGrowthMax = 128 << 20;

describe('five hundred ftp sessions of twenty identities', function () {
  this.timeout(120_000);

  interface Identity extends CrowdIdentity {
    readonly snatAddress: string;
    readonly agentAddress: string;
    readonly members: readonly CrowdMember[];
  }

  const closing: (() => unknown)[] = [];
  const attempts: CrowdAttempt[] = [];
  /** How long the connections of an identity lasted after it was revoked. */
  const endedAfterMs: number[] = [];
  /** After each round: of each thread's heap, and of the process. */
  const memory: { readonly heaps: readonly number[]; readonly resident: number }[] = [];
  let sallyport: Deployment;
  let admin: AdminClient;
  let server: RecordingFtpServer;
  /** Of the agents, by the data mode of the server that they lead to. */
  let ports: Readonly<Record<FtpDataMode, number>>;
  let identities: readonly Identity[];
  let agents: readonly Agent[];
  let inspector: string;
  let socketsAtRest: number;
  let blocks: ReadonlyMap<string, PortRange>;

  before(async function () {
    server = await startRecordingPyftpdlib(requirePeer(this, 'pyftpdlib'));
    closing.push(server.stop);
    const [gatewayPort, passivePort, activePort] = (await findFreePorts(3)) as [number, number, number];
    ports = { Passive: passivePort, Active: activePort };
    identities = Array.from({ length: identityCount }, (_, index) => createIdentity(index));
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-crowd-'));
    sallyport = await createDeployment({ directory, hosts: { ...thisHost, enter: (name) => (name === gateway ? inspectable : []) } });
    closing.push(sallyport.close);
    await sallyport.startControl();
    await sallyport.cli(['ca', 'init']);
    admin = createAdminClient({ kind: 'unix', socketPath: join(directory, 'control', 'admin.sock') });
    await apply(worldOf(gatewayPort), ...identities.flatMap(({ name, snatAddress }) => [bindingOf(name, snatAddress), policyOf(name)]));
    await sallyport.admit({ [gateway]: `spiffe://cluster.local/ns/sallyport-system/sa/${gateway}` });
    sallyport.launchGateway(gateway, ['--workers', '2']);
    agents = await Promise.all(identities.map(startAgent));
    closing.push(() => Promise.all(agents.map((agent) => agent.stop())));
    await sallyport.ready(gateway);
    await waitFor('the agents', 20_000, () => agents.every((agent) => agent.status().ready && agent.status().upstreams.every(({ listener }) => listener.listening)) || undefined);
    inspector = await openInspector(sallyport.pid(gateway), join(directory, `${gateway}.log`));
    socketsAtRest = await countSockets();
    const { items } = await admin.get<AssignmentList>(adminPaths.assignments);
    blocks = new Map(items.map(({ address, ports }) => [address, ports]));
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  function createIdentity(index: number): Identity {
    const name = `crowd-${String(index + 1).padStart(2, '0')}`;
    const identity: CrowdIdentity = { name, sockets: new Set(), revocation: undefined, wasRevoked: false };
    const agentAddress = `127.0.4.${index + 1}`;
    const members = Array.from({ length: sessionsEach }, (_, number) => {
      const [port, mode] = [number % 4 < 2 ? ports.Passive : ports.Active, number % 2 === 0 ? 'passive' : 'active'] as const;
      return createCrowdMember({ identity, number, attempts, session: { host: agentAddress, port, mode, user: ftpUser.name, password: ftpUser.password } });
    });
    return Object.assign(identity, { snatAddress: `127.0.1.${index + 101}`, agentAddress, members });
  }

  async function startAgent({ name, agentAddress }: Identity): Promise<Agent> {
    const { token } = await admin.post<TokenResult>(adminPaths.tokens, { spiffeId: spiffeIdOf(name) });
    const trustBundlePem = await admin.text(adminPaths.bundle);
    return await runAgent({
      trustDomain: 'cluster.local' as TrustDomain,
      enrolmentAddress: sallyport.controlEndpoint,
      controlAddress: sallyport.controlEndpoint,
      trustBundle: () => trustBundlePem,
      joinToken: () => Promise.resolve(token),
      listenAddress: agentAddress as IpAddress,
      version: 'test',
      log: pino({ level: 'silent' }),
      now: Date.now,
      random: Math.random,
    });
  }

  // What is wanted

  const spiffeIdOf = (name: string): string => `spiffe://cluster.local/ns/${name}/sa/client`;

  const worldOf = (gatewayPort: number): string => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: ${gateway}}
spec: {class: sallyport, listen: [{address: 127.0.0.1, port: ${gatewayPort}}], ftp: {passivePorts: {first: ${dataPorts.first}, last: ${dataPorts.last}}}}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: crowd}
spec: {addresses: [127.0.1.101-127.0.1.120], sharing: {mode: PortBlocks, blockSize: ${blockPorts}}}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: others}
spec: {addresses: [127.0.1.201-127.0.1.203]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: partners}
spec:
  addresses: [127.0.0.1]
  ports:
  - {name: passive, port: ${ports.Passive}, targetPort: ${server.port}, protocol: FTP}
  - {name: active, port: ${ports.Active}, targetPort: ${server.port}, protocol: FTP, ftp: {dataMode: Active}}`;

  const bindingOf = (namespace: string, address: string): string => `
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own-address, namespace: ${namespace}}
spec: {subject: {namespace: ${namespace}}, addresses: [${address}]}`;

  const policyOf = (name: string): string => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${name}, namespace: partners}
spec: {subjects: [{namespace: ${name}}], to: [{service: partner}], constraints: {ftp: {maxBytesPerSecond: ${bytesPerSecond}}}}`;

  /** Somebody else's, who has nothing to do with the crowd. */
  const strangerOf = (name: string, address: string): string => `${bindingOf(name, address)}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: ${name}, namespace: partners}
spec: {addresses: [127.0.0.1], ports: [{name: main, port: 1, protocol: TCP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${name}, namespace: partners}
spec: {subjects: [{namespace: ${name}}], to: [{service: ${name}}]}`;

  async function apply(...manifests: readonly string[]): Promise<void> {
    await admin.post(adminPaths.apply, { sources: [{ file: 'crowd.yaml', text: manifests.join('\n---') }] });
  }

  async function remove(...refs: readonly (readonly [kind: string, namespace: string, name: string])[]): Promise<void> {
    await admin.post(adminPaths.remove, { refs: refs.map(([kind, namespace, name]) => ({ kind, namespace, name })) });
  }

  // How it changes

  /** Takes away what lets an identity out, and gives it back once its connections have ended. */
  async function revoke(identity: Identity, what: 'SnatBinding' | 'EgressPolicy'): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<undefined>();
    identity.revocation = over;
    identity.wasRevoked = true;
    try {
      await (what === 'SnatBinding' ? remove([what, identity.name, 'own-address']) : remove([what, 'partners', identity.name]));
      const revokedAtMs = performance.now();
      let endedAtMs = revokedAtMs;
      for (const socket of identity.sockets) socket.once('close', () => (endedAtMs = performance.now()));
      await waitFor(`the connections of ${identity.name} to end`, 5_000, () => identity.sockets.size === 0 || undefined);
      endedAfterMs.push(endedAtMs - revokedAtMs);
      await apply(what === 'SnatBinding' ? bindingOf(identity.name, identity.snatAddress) : policyOf(identity.name));
    } finally {
      identity.revocation = undefined;
      resolve(undefined); // also where it has failed: its members wait for it
    }
    await waitFor(`the sessions of ${identity.name}`, 10_000, () => identity.members.every((member) => member.isOpen) || undefined);
  }

  interface Changes {
    /** False once all is in order again. */
    readonly goOn: boolean;
    readonly stop: () => Promise<void>;
  }

  /** Changes policies until it is stopped, then puts all in order. */
  function startChanges(): Changes {
    const revoking = new Map<Identity, Promise<void>>();
    const failures: unknown[] = [];
    const remember = (failure: unknown): void => void failures.push(failure);
    let strangers: Promise<void> = Promise.resolve();
    let turn = 0;
    let goOn = true;

    async function changeStrangers(number: number): Promise<void> {
      const name = `stranger-${number}`;
      await apply(strangerOf(name, `127.0.1.${201 + number}`));
      await remove(['SnatBinding', name, 'own-address'], ['ExternalService', 'partners', name], ['EgressPolicy', 'partners', name]);
    }

    function change(): void {
      const number = turn++;
      strangers = strangers.then(() => changeStrangers(number % 3)).catch(remember);
      const revocation = number / revokeEveryTurns;
      const identity = identities[revocation % changingCount];
      if (identity === undefined || revoking.has(identity)) return;
      const what = Math.floor(revocation / changingCount) % 2 === 0 ? 'SnatBinding' : 'EgressPolicy';
      revoking.set(identity, revoke(identity, what).catch(remember).finally(() => revoking.delete(identity)));
    }

    const timer = setInterval(change, changeEveryMs);
    return {
      get goOn() {
        return goOn;
      },
      async stop() {
        clearInterval(timer);
        await Promise.all([strangers, ...revoking.values()]);
        goOn = false;
        if (failures.length > 0) throw new AggregateError(failures, `${failures.length} changes have failed, the first: ${String(failures[0])}`);
      },
    };
  }

  /** All of them to their end, before the first failure is told. */
  async function all(doing: readonly Promise<void>[]): Promise<void> {
    const failed = (await Promise.allSettled(doing)).filter((each) => each.status === 'rejected');
    if (failed.length > 0) throw new AggregateError(failed.map(({ reason }) => reason as unknown), `${failed.length} of ${doing.length} have failed: ${failed.slice(0, 5).map(({ reason }) => String(reason)).join('; ')}`);
  }

  // What is seen

  async function countSockets(): Promise<number> {
    const descriptors = `/proc/${sallyport.pid(gateway)}/fd`;
    const links = await Promise.all((await readdir(descriptors)).map((descriptor) => readlink(join(descriptors, descriptor)).catch(() => '')));
    return links.filter((link) => link.startsWith('socket:')).length;
  }

  /** What the gateway's metric says of the connections that it has to the server. */
  async function connectionsAtGateway(): Promise<number> {
    const text = await sallyport.metrics(gateway);
    return [...text.matchAll(/^sallyport_gateway_connections\{[^}]*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  async function connectionsToBe(count: number): Promise<void> {
    let seen: number | undefined;
    await waitFor(`${count} connections at the gateway`, 10_000, async () => (seen = await connectionsAtGateway()) === count || undefined).catch((cause: unknown) => assert.equal(seen, count, String(cause)));
  }

  async function measureMemory(): Promise<void> {
    const heaps = await measureHeaps(inspector);
    const resident = Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${sallyport.pid(gateway)}/status`, 'utf8'))![1]) * 1_024;
    memory.push({ heaps, resident });
  }

  async function transferWhile(changes: Changes, member: CrowdMember): Promise<void> {
    do await member.transfer();
    while (changes.goOn);
  }

  it('transfers what it should, round after round: who is meant by a change of policies ends within a second and may come again, nobody else notices', async () => {
    const membersOf = (some: readonly Identity[]): CrowdMember[] => some.flatMap((identity) => identity.members);
    const [members, changing, steady] = [identities, identities.slice(0, changingCount), identities.slice(changingCount)].map(membersOf) as [CrowdMember[], CrowdMember[], CrowdMember[]];
    for (let round = 0; round < rounds; round++) {
      await all(members.map((member) => member.open()));
      await connectionsToBe(members.length);
      const changes = startChanges();
      const steadily = all(steady.map((member) => member.transfer())).finally(changes.stop);
      await all([steadily, ...changing.map((member) => transferWhile(changes, member))]);
      await connectionsToBe(members.length);
      await all(members.map((member) => member.quit()));
      await connectionsToBe(0);
      await measureMemory();
    }
    assert.ok(endedAfterMs.length >= rounds * 2, `${endedAfterMs.length} revocations`);
    const medianMs = endedAfterMs.toSorted((a, b) => a - b)[endedAfterMs.length >> 1]!;
    assert.ok(medianMs < endsWithinMs, `the connections of a revoked identity lasted for ${Math.round(medianMs)} ms`);
  });

  describe('of which', () => {
    let seen: readonly FtpServerEvent[];
    let records: readonly LedgerRecord[];
    const recordsOf = <Type extends LedgerRecord['type']>(type: Type) => records.filter((record): record is Extract<LedgerRecord, { type: Type }> => record.type === type);

    before(async () => {
      await waitFor('the records of all', 10_000, async () => /^sallyport_gateway_spooled_records 0$/m.test(await sallyport.metrics(gateway)) || undefined);
      const read: LedgerRecord[] = [];
      for await (const line of admin.lines(adminPaths.ledger, { last: '1000000' }, AbortSignal.timeout(30_000))) if (line !== '') read.push(JSON.parse(line) as LedgerRecord);
      records = read;
      seen = await server.events();
    });

    it('each has left from its own address, by ports of its block, at which it has also awaited what the server began', () => {
      const owners = new Map(identities.map((identity) => [identity.snatAddress, identity]));
      const sessions = new Map<number, Identity>();
      for (const event of seen) {
        if (event.event === 'session') sessions.set(event.session, owners.get(addressOf(event.peer))!);
        const owner = sessions.get(event.session);
        assert.ok(owner !== undefined, JSON.stringify(event));
        if ('peer' in event && event.peer !== null) {
          const { first, last } = blocks.get(owner.snatAddress)!;
          assert.ok(addressOf(event.peer) === owner.snatAddress && portOf(event.peer) >= first && portOf(event.peer) <= last, JSON.stringify(event));
        }
        if ('transfer' in event && event.transfer !== null) assert.match(event.transfer, new RegExp(`^(STOR|RETR) /upload/${owner.name}\\.`));
      }
      assert.ok(sessions.size >= rounds * identityCount * sessionsEach);
      const whoBegan = seen.flatMap((event) => (event.event === 'data' && event.transfer !== null ? [event.dialled ? 'server' : 'client'] : []));
      assert.deepEqual(new Set(whoBegan), new Set(['client', 'server']));
    });

    it('no byte is in another’s file', async () => {
      assert.deepEqual(attempts.filter(({ isForeign }) => isForeign), []);
      for (const { verb, path, isComplete } of attempts) {
        if (verb !== 'STOR') continue;
        const stored = await readFile(join(server.directory, path)).catch(() => Buffer.alloc(0));
        const content = contentOf(path);
        assert.ok(isComplete ? stored.equals(content) : content.subarray(0, stored.length).equals(stored), path);
      }
    });

    it('every byte is in the ledger as it was sent and received', () => {
      const recorded = new Map(recordsOf('ftp-transfer').map((record) => [`${record.verb} ${record.path}`, record]));
      assert.equal(recorded.size, recordsOf('ftp-transfer').length, 'one record a transfer');
      const served = new Map(seen.flatMap((event) => (event.event === 'data' && event.transfer !== null ? [[event.transfer, event] as const] : [])));
      const asked = new Set(seen.flatMap((event) => (event.event === 'command' ? [event.transfer] : [])));
      const sums = { ledger: new Map<string, number>(), clients: new Map<string, number>(), server: new Map<string, number>() };
      const interrupted = { STOR: 0, RETR: 0 };
      for (const { identity, verb, path, bytes, isComplete } of attempts) {
        const transfer = `${verb} ${path}`;
        const record = recorded.get(transfer);
        const data = served.get(transfer);
        const key = `${identity.name} ${verb}`;
        const size = contentOf(path).length;
        const atServer = data === undefined ? 0 : verb === 'STOR' ? data.received : data.sent;
        recorded.delete(transfer);
        const wasCutAtItsEnd = identity.wasRevoked && record?.reason === 'policy-revoked' && record.replyCode === 226 && record.bytes === size; // all was said and done
        if (isComplete && !wasCutAtItsEnd) {
          assert.ok(record !== undefined && data !== undefined, transfer);
          assert.deepEqual(
            [record.outcome, record.reason, record.replyCode, record.bytes, record.spiffeId, `${record.snatAddress}:${record.snatPort}`],
            ['completed', 'finished', 226, size, spiffeIdOf(identity.name), data.peer],
            transfer,
          );
          for (const [sum, count] of [[sums.ledger, record.bytes], [sums.clients, bytes], [sums.server, atServer]] as const) sum.set(key, (sum.get(key) ?? 0) + count);
        } else if (record === undefined) {
          assert.ok(!asked.has(transfer), `no record of ${transfer}`);
        } else {
          const [from, to] = verb === 'STOR' ? [bytes, atServer] : [atServer, bytes];
          assert.ok(to <= record.bytes && (record.bytes <= from || record.bytes === 0), `${transfer}: ${JSON.stringify({ from, recorded: record.bytes, to })}`);
          assert.equal(record.spiffeId, spiffeIdOf(identity.name));
          assert.ok(record.outcome === 'completed' ? record.bytes === size : revokedReasons.has(record.reason), `${transfer}: ${record.reason}`);
          if (record.outcome === 'failed') interrupted[verb] += 1;
        }
      }
      assert.deepEqual([...recorded.keys()], [], 'nothing was recorded that nobody tried');
      assert.deepEqual(sums.ledger, sums.clients);
      assert.deepEqual(sums.ledger, sums.server);
      assert.ok(interrupted.STOR > 0 && interrupted.RETR > 0, `some were broken off: ${JSON.stringify(interrupted)}`);
    });

    it('every connection is in the ledger, from its beginning to its end', () => {
      const opened = recordsOf('connection-opened');
      const closed = new Map(recordsOf('connection-closed').map((record) => [record.connectionId, record]));
      assert.deepEqual([closed.size, recordsOf('connection-closed').length], [opened.length, opened.length]);
      const undisturbed = new Set(identities.slice(changingCount).map(({ name }) => spiffeIdOf(name)));
      const reasons = Object.groupBy([...closed.values()], ({ spiffeId }) => (undisturbed.has(spiffeId ?? '') ? 'undisturbed' : 'revoked'));
      assert.deepEqual(new Set(reasons.undisturbed?.map(({ reason }) => reason)), new Set(['finished']));
      const ofRevoked = [...new Set(reasons.revoked?.map(({ reason }) => reason))];
      assert.ok(ofRevoked.includes('policy-revoked') && ofRevoked.every((reason) => reason === 'finished' || revokedReasons.has(reason)), ofRevoked.join());

      // What was not reset at once is what the server has accepted, and it has accepted nothing else. What it has made itself may have come for a client that never did.
      const ends = opened.map(({ snatAddress, snatPort, connectionId }) => ({ end: `${snatAddress}:${snatPort}`, reason: closed.get(connectionId)?.reason }));
      const accepted = countBy(seen.flatMap((event) => ('peer' in event && event.peer !== null ? [event.peer] : [])));
      for (const [end, count] of countBy(ends.filter(({ reason }) => reason === 'finished').map((each) => each.end))) assert.ok(count <= (accepted.get(end) ?? 0), end);
      for (const { end } of ends) accepted.set(end, (accepted.get(end) ?? 0) - 1);
      const revocable = new Set(identities.slice(0, changingCount).map(({ snatAddress }) => snatAddress));
      const madeInVain = countBy(seen.flatMap((event) => (event.event === 'data' && event.dialled && event.peer !== null && revocable.has(addressOf(event.peer)) ? [event.peer] : [])));
      assert.deepEqual([...accepted].filter(([end, left]) => left > (madeInVain.get(end) ?? 0)), []);
    });
  });

  it('holds nothing afterwards: no socket, and no port of any block', async () => {
    const socketsMax = socketsAtRest + 1; // records go by a connection that is made with the first of them
    let sockets: number | undefined;
    await waitFor('the sockets of the gateway to be closed', 10_000, async () => (sockets = await countSockets()) <= socketsMax || undefined).catch((cause: unknown) => assert.equal(sockets, socketsMax, String(cause)));
    assert.ok(agents.every((agent) => agent.status().upstreams.every(({ connections }) => connections === 0)));
    for (const { agentAddress, snatAddress } of [identities[0]!, identities.at(-1)!]) {
      const open = () => openFtpSession({ host: agentAddress, port: ports.Passive, mode: 'passive', user: ftpUser.name, password: ftpUser.password, onSocket: () => undefined });
      const before = (await server.events()).length;
      const sessions = await Promise.all(Array.from({ length: blockPorts }, open));
      await assert.rejects(open(), /421/);
      const peers = (await server.events()).slice(before).flatMap((event) => (event.event === 'session' && addressOf(event.peer) === snatAddress ? [event.peer] : []));
      assert.equal(new Set(peers).size, blockPorts);
      await Promise.all(sessions.map((session) => session.quit()));
      await connectionsToBe(0);
    }
  });

  it('takes no more memory round after round', () => {
    const sum = (heaps: readonly number[]): number => heaps.reduce((total, heap) => total + heap, 0);
    const [first, last] = [memory[0]!, memory.at(-1)!];
    const described = JSON.stringify(memory);
    assert.equal(first.heaps.length, 3, 'main thread and two workers');
    assert.ok(sum(last.heaps) - sum(first.heaps) < heapGrowthMax, described);
    assert.ok(last.resident - first.resident < residentGrowthMax, described);
  });
});

function countBy(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}

const addressOf = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(':'));
const portOf = (endpoint: string): number => Number(endpoint.slice(endpoint.lastIndexOf(':') + 1));
