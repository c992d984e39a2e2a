/**
 * A control plane of the size that the figures are for, and the processes that run on it: 10,000 identities (1,000
 * namespaces of 10 service accounts) x 500 services with 20,000 grants, each identity with an address of its own out of
 * 127.8.0.0/16, so that a gateway on this machine can really leave from it.
 */
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect, type SecureContext } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { createAdminClient, type AdminClient } from '../src/api/admin-client.ts';
import { adminPaths, type TokenResult } from '../src/api/admin.ts';
import { enrol } from '../src/api/enrolment-client.ts';
import { defaultControlIdentity, type ClientCertificate } from '../src/api/mesh-credentials.ts';
import type { ControlSections } from '../src/control/sections.ts';
import { allocate } from '../src/core/snat/allocate.ts';
import { compile } from '../src/core/plan/compile.ts';
import { createCsr } from '../src/core/x509/csr.ts';
import { applyChange, emptyDesiredState } from '../src/core/desired-state.ts';
import { apiVersion, schemas, type DesiredObject, type GatewayClass, type Kind } from '../src/core/objects/index.ts';
import { certificatesToPem } from '../src/core/x509/pem.ts';
import type { Revision } from '../src/core/plan/plan.ts';
import { workloadSpiffeId, type TrustDomain } from '../src/core/spiffe-id.ts';
import { openLedger, openStateStore } from '../src/store/index.ts';

export const trustDomain = 'cluster.local' as TrustDomain;
export const namespaceCount = 1_000;
export const accountCount = 10;
export const serviceCount = 500;
export const gatewayName = 'gw';
/** Two for each identity: a certificate is renewed at half its life. */
const certificateCount = 2 * namespaceCount * accountCount;
/** What opening reads of a ledger is its last segment; so many records nearly fill one. */
const ledgerRecordCount = 90_000;

const make = (kind: Kind, metadata: object, spec: object): DesiredObject => schemas[kind].parse({ apiVersion, kind, metadata, spec });

/** The policy of one identity: two services, others for each `shift`. */
export function policyOf(namespace: number, account: number, shift = 0): DesiredObject {
  const first = (namespace * accountCount + account + shift) % serviceCount;
  return make('EgressPolicy', { name: `p${account}`, namespace: `n${namespace}` }, { subjects: [{ namespace: `n${namespace}`, serviceAccount: `a${account}` }], to: [first, (first + 7) % serviceCount].map((index) => ({ service: `s${index}`, namespace: 'out' })) });
}

/** Everything but the policies. */
export function objectsBesidePolicies(ports: { readonly gateway: number; readonly target: number }, gatewayClass: GatewayClass = 'sallyport'): readonly DesiredObject[] {
  return [
    make('EgressGateway', { name: gatewayName }, { class: gatewayClass, listen: [{ address: '127.0.0.1', port: ports.gateway }] }),
    make('SnatPool', { name: 'all' }, { addresses: ['127.8.0.0/16'] }),
    ...Array.from({ length: serviceCount }, (_, index) => make('ExternalService', { name: `s${index}`, namespace: 'out' }, { addresses: ['127.0.0.1'], ports: [{ port: 443, targetPort: ports.target }], agentAddress: `127.1.${index >> 8}.${index & 255}` })),
    ...eachIdentity((namespace, account) => make('SnatBinding', { name: `b${account}`, namespace: `n${namespace}` }, { subject: { namespace: `n${namespace}`, serviceAccount: `a${account}` }, pool: 'all' })),
  ];
}

export function eachIdentity<Value>(make: (namespace: number, account: number) => Value): Value[] {
  return Array.from({ length: namespaceCount * accountCount }, (_, index) => make(Math.floor(index / accountCount), index % accountCount));
}

/** Writes the state of such a control plane into `directory`, through the real store and ledger. Resolves with the revision that its plan must have. */
export async function writeLargeState(directory: string, objects: readonly DesiredObject[]): Promise<Revision> {
  const desired = applyChange(emptyDesiredState, { put: objects, remove: [] });
  const { assignments } = allocate(desired, [], Date.now());
  const compiled = compile(desired, assignments, { trustDomain });
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.faults[0]));
  const store = await openStateStore<ControlSections>({ directory: join(directory, 'state'), now: Date.now });
  await store.commit({ desired: { put: objects, remove: [] }, assignments });
  const notAfterMs = Date.now() + 3_600_000;
  for (let index = 0; index < certificateCount; index += 250) {
    const certificates = Array.from({ length: 250 }, (_, each) => [(index + each).toString(16).padStart(40, '0'), { spiffeId: `spiffe://${trustDomain}/ns/n${(index + each) % namespaceCount}/sa/a0`, notAfterMs }] as const);
    await Promise.all(certificates.map(([serialNumber, certificate]) => store.commit({ put: { certificates: { [serialNumber]: certificate } } })));
  }
  await store.close();
  const ledger = await openLedger({ directory: join(directory, 'ledger'), now: Date.now });
  const time = new Date().toISOString();
  for (let index = 0; index < ledgerRecordCount; index += 250) {
    await Promise.all(
      Array.from({ length: 250 }, (_, each) =>
        ledger.append({
          type: 'connection-opened',
          time,
          origin: gatewayName,
          connectionId: `c-${index + each}`,
          revision: compiled.plan.revision,
          client: '10.1.2.3:41234',
          spiffeId: workloadSpiffeId(trustDomain, { namespace: 'n1', serviceAccount: 'a1' }),
          service: 'out/s1:tcp-443',
          policies: ['n1/p1'],
          snatAddress: '127.8.0.11',
          snatPort: 1_024 + ((index + each) % 60_000),
          target: '127.0.0.1:443',
          channel: 'stream',
        }),
      ),
    );
  }
  await ledger.close();
  return compiled.plan.revision;
}

/** The `sallyport` command from its sources, and as it was built where `npm run build` has run. */
export const commands = (['src/cli/main.ts', 'dist/cli/main.js'] as const)
  .map((entry) => ({ entry, path: fileURLToPath(new URL(`../${entry}`, import.meta.url)) }))
  .filter(({ path }) => existsSync(path));

/** What bin/sallyport.js gives to Node for `serve`. */
const serveOptions = ['--max-semi-space-size=4'];

export interface RunningProcess {
  readonly pid: number;
  /** Just before it was started, in milliseconds of `performance.now()`. */
  readonly startedAtMs: number;
  /** Every line of its log so far. */
  readonly log: Readonly<Record<string, unknown>>[];
  /** Processor time of all its threads so far: what a busy machine does not stretch as it does the time by the clock. */
  cpuMs(): Promise<number>;
  /** Peak resident memory so far, MiB. */
  peakMib(): Promise<number>;
  /** Ends it and waits for that; SIGKILL unless told otherwise. */
  end(signal?: NodeJS.Signals): Promise<void>;
}

const running = new Set<number>();
process.on('exit', () => {
  for (const pid of running) process.kill(pid, 'SIGKILL');
});

/** How a process is started: the command's file, and options of node. */
export interface Launch {
  readonly path: string;
  readonly nodeOptions?: readonly string[];
}

export const start = ({ path, nodeOptions = [] }: Launch, args: readonly string[]): RunningProcess => startProgram(process.execPath, [...nodeOptions, path, ...args]);

export function startProgram(program: string, args: readonly string[]): RunningProcess {
  const startedAtMs = performance.now();
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.once('error', () => undefined); // it has no process id, which is said below
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} cannot be started`);
  running.add(pid);
  const log: Record<string, unknown>[] = [];
  createInterface(child.stderr).on('line', (line) => log.push(line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : { msg: line }));
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void gone.then(() => running.delete(pid));
  return {
    pid,
    startedAtMs,
    log,
    cpuMs: async () => {
      // Fields 14 and 15 of proc(5), counted after the name in parentheses; in hundredths of a second.
      const [utime, stime] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ').slice(11, 13);
      return (Number(utime) + Number(stime)) * 10;
    },
    peakMib: async () => Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024,
    end: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await gone;
    },
  };
}

export interface World {
  readonly directory: string;
  readonly meshPort: number;
  readonly admin: AdminClient;
  readonly bundleFile: string;
  startControl(launch?: Launch): Promise<{ readonly process: RunningProcess; readonly readyMs: number }>;
  /** A certificate for an identity, from the control plane that runs. */
  certificateOf(spiffeId: string): Promise<ClientCertificate & { readonly trustBundlePem: string }>;
  token(spiffeId: string): Promise<string>;
}

/** Describes a control plane in `directory`/control. */
export function createWorld(directory: string, meshPort: number): World {
  const control = join(directory, 'control');
  const admin = createAdminClient({ kind: 'unix', socketPath: join(control, 'admin.sock') });
  const bundleFile = join(directory, 'bundle.pem');
  const token = async (spiffeId: string) => (await admin.post<TokenResult>(adminPaths.tokens, { spiffeId })).token;
  return {
    directory,
    meshPort,
    admin,
    bundleFile,
    token,
    async startControl(launch = commands[0]!) {
      await mkdir(control, { recursive: true });
      const process = start({ ...launch, nodeOptions: [...serveOptions, ...(launch.nodeOptions ?? [])] }, ['serve', '--state', control, '--listen', `127.0.0.1:${meshPort}`]);
      await waitFor('the control plane', async () => (await admin.text(adminPaths.livez)) === 'ok\n');
      // On the first start there is no CA yet.
      if (!existsSync(bundleFile)) {
        await admin.post(adminPaths.caInit, {});
        await writeFile(bundleFile, await admin.text(adminPaths.bundle));
      }
      await waitFor('the control plane to be ready', async () => (await admin.text(adminPaths.readyz)) === 'ok\n');
      return { process, readyMs: performance.now() - process.startedAtMs };
    },
    async certificateOf(spiffeId) {
      const trustBundlePem = await readFile(bundleFile, 'utf8');
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const answer = await enrol({ address: `127.0.0.1:${meshPort}`, identity: defaultControlIdentity(trustDomain), trustBundlePem }, await token(spiffeId), createCsr(privateKey), { timeoutMs: 10_000 });
      return { certificateChainPem: certificatesToPem(answer.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), trustBundlePem };
    },
  };
}

/** Whether a byte comes back from a service through the gateway that listens on this port. */
export function isAnswered(port: number, serverName: string, secureContext: SecureContext): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, servername: serverName, secureContext, checkServerIdentity: () => undefined });
    const end = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.once('data', () => end(true)).once('end', () => end(false)).once('error', () => end(false));
    socket.write('?');
  });
}

/** Asks until the answer is true; a question that throws is asked again. */
export async function waitFor(what: string, question: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    if (await question().catch(() => false)) return;
    if (performance.now() > deadlineMs) throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
}

export interface Row {
  readonly what: string;
  readonly figure: string;
  readonly limit?: string;
}

/** Prints figures as a table, under how busy the machine was. */
export function printTable(title: string, rows: readonly Row[]): void {
  console.log(`${title}; node ${process.version}\n`);
  const width = Math.max(...rows.map(({ what }) => what.length));
  const figureWidth = Math.max(...rows.map(({ figure }) => figure.length));
  for (const { what, figure, limit = '' } of rows) console.log(`${what.padEnd(width)}  ${figure.padStart(figureWidth)}  ${limit}`.trimEnd());
}
