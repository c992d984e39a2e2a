/**
 * FTP and UDP through agent and gateway, as their users run them: a control plane, a gateway, an agent, and vsftpd. Beside them, in turns
 * and in the same run, the same client with the same server directly, and through two of the smallest pipes that Node can make, with mTLS
 * between them and without.
 *
 *   node bench/ftp.ts [--rounds 5] [--only bulk,files,idle,udp] [--vsftpd PATH]
 *
 * One client, one session, one transfer at a time. Times are by the clock, since both ends and all between share the machine: what holds
 * is the ratio within a row. Processor time is that of the two processes between client and server.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createDeployment, type Deployment } from '../src/demo/deployment.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { makePki } from '../test/support/pki.ts';
import { startVsftpd } from '../test/support/vsftpd.ts';
import { openFtp, type FtpClient } from './ftp/client.ts';
import { costOf, measureBulk, measureFiles, writeFiles, type Place } from './ftp/operations.ts';
import { runPipe, type PipeOrder } from './ftp/pipe.ts';
import { inTurns, print, type Figures, type Note } from './ftp/turns.ts';
import { quantile } from './large-world.ts';

const serverAddress = '127.0.0.1';
const agentAddress = '127.0.2.90';
const snatAddress = '127.0.1.90';
const pipeAddresses = { tcp: ['127.0.2.93', '127.0.2.94'], mtls: ['127.0.2.91', '127.0.2.92'] } as const;
/** Below what the kernel gives to those who ask for none. vsftpd takes a random one of them, and the pipes know no FTP. */
const passivePorts = { first: 30_200, last: 30_215 };

const sessions = 2_000;
const sessionsOpenedAtOnce = 8;
const datagramsPerFigure = 20_000;
const datagramsAtOnce = 32;
const datagramBytes = 64;
const roundTripsPerFigure = 2_000;
const settleMs = 500;

const { values: options } = parseArgs({ options: { as: { type: 'string' }, rounds: { type: 'string', default: '5' }, vsftpd: { type: 'string', default: '/usr/sbin/vsftpd' }, only: { type: 'string', default: 'idle,bulk,files,udp' } } });
const rounds = Number(options.rounds);

// ---- what is measured

const ways = ['direct', 'tcp', 'mtls', 'sallyport'] as const;
type Way = (typeof ways)[number];

const memoryBytes = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;

/** Of processes that have served few so far, for what was freed is not given back: the first is that which speaks mTLS with the client's side. */
async function measureIdle(figures: Figures<Way>, way: Way, place: Place): Promise<void> {
  const pid = place.pids.at(-1)!;
  const open = async (count: number): Promise<readonly FtpClient[]> => {
    const clients: FtpClient[] = [];
    let left = count;
    await Promise.all(
      Array.from({ length: sessionsOpenedAtOnce }, async () => {
        while (left-- > 0) clients.push(await openFtp(place));
      }),
    );
    return clients;
  };
  for (const client of await open(50)) client.close();
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const before = await memoryBytes(pid);
  const clients = await open(sessions);
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const more = (await memoryBytes(pid)) - before;
  for (const [figure, value] of Object.entries({ [`${sessions} idle sessions, MB`]: more / 1e6, 'an idle session, KB': more / 1e3 / sessions })) {
    figures.set(figure, { ...figures.get(figure), [way]: [value] });
  }
  for (const client of clients) client.close();
}

// ---- datagrams

/** Sends back what comes. In a process of its own. */
function runEcho(): void {
  const socket = createSocket('udp4', (payload, { address, port }) => socket.send(payload, port, address));
  socket.bind(0, serverAddress, () => process.send?.(socket.address().port));
}

async function measureDatagrams(place: Place, note: Note): Promise<void> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: 1 << 20 });
  await new Promise<void>((resolve) => socket.connect(place.port, place.host, resolve));
  const payload = Buffer.alloc(datagramBytes, 'p');
  const timesUs: number[] = [];
  let lost = 0;
  /** Keeps so many under way until so many have come back. What is not back within a second is lost. */
  const exchange = (count: number, atOnce: number): Promise<void> =>
    new Promise((resolve) => {
      let [answered, sentAtMs] = [0, 0];
      const send = (): void => {
        sentAtMs = performance.now();
        socket.send(payload);
      };
      const silence = setTimeout(() => {
        lost += atOnce;
        silence.refresh();
        for (let sent = 0; sent < atOnce; sent += 1) send();
      }, 1_000);
      socket.on('message', () => {
        if (atOnce === 1) timesUs.push((performance.now() - sentAtMs) * 1_000);
        silence.refresh();
        answered += 1;
        if (answered < count) send();
        if (answered !== count + atOnce - 1) return;
        clearTimeout(silence);
        socket.removeAllListeners('message');
        resolve();
      });
      for (let sent = 0; sent < atOnce; sent += 1) send();
    });
  await exchange(roundTripsPerFigure, 1);
  const { wallMs, cpu } = await costOf(place, () => exchange(datagramsPerFigure, datagramsAtOnce));
  note('datagrams and their echoes/s', datagramsPerFigure / (wallMs / 1_000));
  note('datagram round trip p50, us', quantile(timesUs, 0.5));
  note('datagram round trip p99, us', quantile(timesUs, 0.99));
  if (place.pids.length > 0) note('CPU us a datagram and its echo', (cpu * 1_000) / datagramsPerFigure);
  note('datagrams lost', lost);
  socket.close();
}

// ---- the run

const manifests = (gatewayPort: number, ftpPort: number, echoPort: number): string => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: egress}
spec: {class: sallyport, listen: [{address: ${serverAddress}, port: ${gatewayPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [${snatAddress}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: client}
spec: {subject: {namespace: client}, addresses: [${snatAddress}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: bench}
spec:
  addresses: [${serverAddress}]
  ports:
  - {name: ftp, port: ${ftpPort}, targetPort: ${ftpPort}, protocol: FTP}
  - {name: echo, port: ${echoPort}, targetPort: ${echoPort}, protocol: UDP}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: partner, namespace: bench}
spec: {subjects: [{namespace: client}], to: [{service: partner}]}
`;

async function startSallyport(deployment: Deployment, ftpPort: number, echoPort: number): Promise<void> {
  const [gatewayPort] = (await findFreePorts(1)) as [number];
  await deployment.startControl();
  await deployment.cli(['ca', 'init']);
  await deployment.cli(['apply', '-f', '-'], manifests(gatewayPort, ftpPort, echoPort));
  await deployment.admit({ egress: 'spiffe://cluster.local/ns/sallyport-system/sa/egress', client: 'spiffe://cluster.local/ns/client/sa/default' });
  deployment.launchGateway('egress');
  deployment.launchAgent('client', agentAddress);
  await Promise.all(['egress', 'client'].map(deployment.ready));
}

/** Two pipes one behind the other, as agent and gateway are. */
async function startPipes(by: keyof typeof pipeAddresses, children: ChildProcess[], ftpPort: number): Promise<Place> {
  const identity = makePki().issue('spiffe://cluster.local/ns/bench/sa/pipe');
  const ports = [ftpPort, ...Array.from({ length: passivePorts.last - passivePorts.first + 1 }, (_, index) => passivePorts.first + index)];
  const [near, far] = pipeAddresses[by];
  const orders: readonly PipeOrder[] = [
    { kind: by === 'tcp' ? 'plain' : 'wrap', identity, from: near, to: far, ports },
    { kind: by === 'tcp' ? 'plain' : 'unwrap', identity, from: far, to: serverAddress, ports },
  ];
  const pids = await Promise.all(
    orders.map(async (order) => {
      const child = fork(import.meta.filename, ['--as', 'pipe']);
      children.push(child);
      child.send(order);
      await Promise.race([once(child, 'message'), once(child, 'exit').then(() => Promise.reject(new Error('a pipe has ended: are its ports in use?')))]);
      return child.pid!;
    }),
  );
  return { host: near, port: ftpPort, pids };
}

async function run(): Promise<void> {
  const vsftpd = await startVsftpd(options.vsftpd, { pasv_min_port: String(passivePorts.first), pasv_max_port: String(passivePorts.last), max_clients: '0', max_per_ip: '0', log_ftp_protocol: 'NO', xferlog_enable: 'NO', one_process_model: 'YES', no_anon_password: 'NO' });
  const deployment = await createDeployment({ directory: await mkdtemp(join(tmpdir(), 'sallyport-bench-')) });
  const children: ChildProcess[] = [];
  try {
    await writeFiles(vsftpd.directory);
    const echo = fork(import.meta.filename, ['--as', 'echo']);
    children.push(echo);
    const [echoPort] = (await once(echo, 'message')) as [number];
    await startSallyport(deployment, vsftpd.port, echoPort);
    const pids = ['client', 'egress'].map(deployment.pid);
    const places: Readonly<Record<Way, Place>> = {
      direct: { host: serverAddress, port: vsftpd.port, pids: [] },
      tcp: await startPipes('tcp', children, vsftpd.port),
      mtls: await startPipes('mtls', children, vsftpd.port),
      sallyport: { host: agentAddress, port: vsftpd.port, pids },
    };
    const wanted = options.only.split(',');
    const figures: Figures<Way> = new Map();
    if (wanted.includes('idle')) for (const way of ['tcp', 'mtls', 'sallyport'] as const) await measureIdle(figures, way, places[way]);
    if (wanted.includes('bulk')) await inTurns(figures, { rounds, places, measure: measureBulk });
    if (wanted.includes('files')) await inTurns(figures, { rounds, places, measure: measureFiles });
    if (wanted.includes('udp')) await inTurns<Way, Place>(figures, { rounds, places: { direct: { ...places.direct, port: echoPort }, sallyport: { ...places.sallyport, port: echoPort } }, measure: measureDatagrams });
    print(figures, ways, rounds);
  } finally {
    await deployment.close();
    for (const child of children) if (child.connected) child.disconnect();
    await vsftpd.stop();
  }
}

if (options.as === undefined) await run();
else {
  process.on('disconnect', () => process.exit());
  if (options.as === 'echo') runEcho();
  else await runPipe();
}
