/**
 * The cases of the demo. Each does what a user would do, looks at what the external service itself saw, and says what
 * happened; `expected` says what should have. A case that throws has failed, with the error as its story.
 */
import assert from 'node:assert/strict';
import { fetchThroughProxy, logIn, openAsSidecar, type FtpClient } from './clients.ts';
import { waitFor } from './processes.ts';
import { archivePolicyName, identities, serviceHosts, type Workload } from './story.ts';
import type { World } from './world.ts';

export interface CaseResult {
  readonly name: string;
  readonly identity: string;
  readonly target: string;
  readonly decision: 'allowed' | 'denied';
  /** What the external service logged; null where it saw nobody. */
  readonly sourceAddress: string | null;
  readonly ok: boolean;
  /** For people: one sentence. */
  readonly story: string;
}

type Outcome = Pick<CaseResult, 'decision' | 'sourceAddress' | 'ok' | 'story'>;

export interface DemoCase {
  readonly name: string;
  readonly title: string;
  readonly workload: Workload;
  readonly target: keyof typeof serviceHosts;
  readonly expected: CaseResult['decision'];
  readonly play: (world: World) => Promise<Outcome>;
}

const uploadText = 'quarterly report\r\n'.repeat(4096);

export const demoCases: readonly DemoCase[] = [
  {
    name: 'proxy-allowed',
    title: 'bookinfo goes out through the forward proxy',
    workload: 'productpage',
    target: 'proxy',
    expected: 'allowed',
    play: (world) => throughProxy(world, 'productpage', '127.0.1.11'),
  },
  {
    name: 'proxy-denied',
    title: 'sm-apigw-a tries the same',
    workload: 'nettools',
    target: 'proxy',
    expected: 'denied',
    async play(world) {
      const seenBefore = world.forwardProxy.seen.length;
      const error = await refused(async () => {
        const socket = await openAsSidecar(world.svidDirectory('nettools'), world.ports.gateway, `outbound_.${world.ports.proxyAtAgent}_._.${serviceHosts.proxy}`);
        await fetchThroughProxy(socket, world.originPort);
      });
      const record = await world.denialOf(identities.nettools, 'no-policy');
      const saw = world.forwardProxy.seen.length - seenBefore;
      return { decision: 'denied', sourceAddress: null, ok: saw === 0, story: `${error}; the ledger says: ${record}; the proxy saw ${saw} connections` };
    },
  },
  {
    name: 'second-namespace-own-address',
    title: 'reports leaves from an address of its own',
    workload: 'batch',
    target: 'proxy',
    expected: 'allowed',
    play: (world) => throughProxy(world, 'batch', '127.0.1.12'),
  },
  {
    name: 'ftp-list',
    title: 'bookinfo lists the partner\'s files (EPSV)',
    workload: 'productpage',
    target: 'partner',
    expected: 'allowed',
    play: (world) =>
      withFtp(world, async (ftp) => {
        const listing = (await ftp.download('LIST', world.openAtAgent('productpage'))).toString('utf8');
        return { ok: listing.includes('statement.txt'), story: `listing of ${listing.trimEnd().split('\n').length} files` };
      }),
  },
  {
    name: 'ftp-download',
    title: 'and downloads one (PASV)',
    workload: 'productpage',
    target: 'partner',
    expected: 'allowed',
    play: (world) =>
      withFtp(world, async (ftp) => {
        const content = await ftp.download('RETR statement.txt', world.openAtAgent('productpage'), 'PASV');
        return { ok: content.equals(world.ftpServer.read('/statement.txt')!), story: `${content.length} bytes, the same as on the server` };
      }),
  },
  {
    name: 'ftp-upload',
    title: 'and uploads one',
    workload: 'productpage',
    target: 'partner',
    expected: 'allowed',
    play: (world) =>
      withFtp(world, async (ftp) => {
        await ftp.upload('report.txt', Buffer.from(uploadText), world.openAtAgent('productpage'));
        return { ok: world.ftpServer.read('/report.txt')?.toString('utf8') === uploadText, story: `${uploadText.length} bytes arrived unchanged` };
      }),
  },
  {
    name: 'ftp-data-port-hijack-refused',
    title: 'reports races for the data connection of bookinfo',
    workload: 'batch',
    target: 'partner',
    expected: 'denied',
    async play(world) {
      const control = await openAsSidecar(world.svidDirectory('productpage'), world.ports.gateway, serviceHosts.partner);
      const ftp = await logIn(control);
      const port = await ftp.passive('EPSV');
      let stolen = -1;
      const error = await refused(async () => {
        const thief = await openAsSidecar(world.svidDirectory('batch'), port);
        stolen = (await thief.readAll()).length;
        if (stolen === 0) throw new Error('closed without a byte');
      });
      const record = await world.denialOf(identities.batch, 'ftp-data-identity-mismatch');
      const rightful = await openAsSidecar(world.svidDirectory('productpage'), port);
      await ftp.command('RETR statement.txt');
      const content = await rightful.readAll();
      ftp.end();
      const ok = stolen <= 0 && content.equals(world.ftpServer.read('/statement.txt')!);
      return { decision: 'denied', sourceAddress: null, ok, story: `${error}; the ledger says: ${record}; the rightful owner got its ${content.length} bytes` };
    },
  },
  {
    name: 'no-binding-refused',
    title: 'nettools may reach the archive, but has no address to leave from',
    workload: 'nettools',
    target: 'archive',
    expected: 'denied',
    async play(world) {
      const seenBefore = world.ftpServer.connections.length;
      const error = await refused(async () => {
        const socket = await openAsSidecar(world.svidDirectory('nettools'), world.ports.gateway, serviceHosts.archive);
        await logIn(socket);
      });
      const record = await world.denialOf(identities.nettools, 'no-snat-binding');
      return { decision: 'denied', sourceAddress: null, ok: world.ftpServer.connections.length === seenBefore, story: `${error}; the ledger says: ${record}` };
    },
  },
  {
    name: 'address-survives-restart',
    title: 'control plane and gateway are killed with SIGKILL and started again',
    workload: 'productpage',
    target: 'proxy',
    expected: 'allowed',
    async play(world) {
      await Promise.all([world.kill('control'), world.killGateway()]);
      await world.startControl();
      await world.startGateway();
      return await throughProxy(world, 'productpage', '127.0.1.11');
    },
  },
  {
    name: 'revoke-closes-live-connection',
    title: 'the policy of a running transfer is deleted',
    workload: 'productpage',
    target: 'archive',
    expected: 'denied',
    async play(world) {
      // Straight to the gateway, as a sidecar would: the agent would end its connections by itself and hide whether the gateway does.
      const svid = world.svidDirectory('productpage');
      const ftp = await logIn(await openAsSidecar(svid, world.ports.gateway, serviceHosts.archive));
      const data = await openAsSidecar(svid, await ftp.passive('EPSV'));
      await ftp.command('RETR slow.bin');
      let received = 0;
      data.socket.on('data', (chunk: Buffer) => (received += chunk.length));
      await waitFor('the first bytes of the transfer', 5_000, () => (received > 0 ? true : undefined));
      let endedAt: number | undefined;
      data.socket.once('close', () => (endedAt = Date.now()));
      await world.cli(['delete', 'egresspolicy', archivePolicyName, '-n', 'bookinfo']);
      const deletedAt = Date.now();
      const endedAfterMs = Math.max(0, (await waitFor('the end of the transfer', 2_000, () => endedAt)) - deletedAt);
      ftp.end();
      const whole = world.ftpServer.read('/slow.bin')!.length;
      return { decision: 'denied', sourceAddress: '127.0.1.11', ok: endedAfterMs < 1_000 && received < whole, story: `the transfer ended ${endedAfterMs === 0 ? 'before the command returned' : `${endedAfterMs} ms after the command returned`}, ${received} of ${whole} bytes through` };
    },
  },
  {
    name: 'whois',
    title: 'who was it, asks the firewall\'s owner',
    workload: 'productpage',
    target: 'proxy',
    expected: 'allowed',
    async play(world) {
      const { address, port, time } = world.forwardProxy.seen[0]!;
      const answer = JSON.parse((await world.cli(['whois', `${address}:${port}`, time.toISOString(), '-o', 'json'])).stdout) as { connections: { opened: Record<string, unknown> }[] };
      const { spiffeId, service, policies } = answer.connections[0]?.opened ?? {};
      assert.deepEqual([spiffeId, service, policies], [identities.productpage, 'bookinfo/bigip-proxy-svc:proxy', ['bookinfo/proxy']]);
      return { decision: 'allowed', sourceAddress: address, ok: true, story: `${address}:${port} at ${time.toISOString()} was ${String(spiffeId)}, for ${String(service)}, by policy bookinfo/proxy` };
    },
  },
];

/** Plays a case and says how it went, whatever happens in it. */
export async function playCase(world: World, { name, workload, target, expected, play }: DemoCase): Promise<CaseResult> {
  const about = { name, identity: identities[workload], target: serviceHosts[target] };
  try {
    const outcome = await play(world);
    return { ...about, ...outcome, ok: outcome.ok && outcome.decision === expected };
  } catch (error) {
    // What was denied must be shown to have been denied, and what was allowed to have been allowed: an error shows neither.
    return { ...about, decision: expected === 'allowed' ? 'denied' : 'allowed', sourceAddress: null, ok: false, story: error instanceof Error ? error.message : String(error) };
  }
}

/** A CONNECT through the workload's agent; the proxy must have seen exactly the expected address. */
async function throughProxy(world: World, workload: Workload, expected: string): Promise<Outcome> {
  const before = world.forwardProxy.seen.length;
  const body = await fetchThroughProxy(await world.openAtAgent(workload)(world.ports.proxyAtAgent), world.originPort);
  const seen = world.forwardProxy.seen.slice(before).at(-1)?.address ?? null;
  return { decision: 'allowed', sourceAddress: seen, ok: seen === expected && body === world.originText, story: `the page came back; the proxy saw ${seen ?? 'nobody'}` };
}

/** An FTP session through the workload's agent; control and data connections must have come from the expected address. */
async function withFtp(world: World, run: (ftp: FtpClient) => Promise<{ readonly ok: boolean; readonly story: string }>): Promise<Outcome> {
  const before = world.ftpServer.connections.length;
  const ftp = await logIn(await world.openAtAgent('productpage')(world.ports.ftpAtAgent));
  const { ok, story } = await run(ftp);
  ftp.end();
  const seen = world.ftpServer.connections.slice(before);
  const addresses = [...new Set(seen.map(({ address }) => address))];
  const channels = new Set(seen.map(({ channel }) => channel));
  return {
    decision: 'allowed',
    sourceAddress: addresses[0] ?? null,
    ok: ok && addresses.length === 1 && addresses[0] === '127.0.1.11' && channels.size === 2,
    story: `${story}; the server saw ${[...channels].join(' and ')} from ${addresses.join(', ')}`,
  };
}

/** Runs what must be refused, and says how it was. */
async function refused(attempt: () => Promise<void>): Promise<string> {
  try {
    await attempt();
  } catch (error) {
    return `refused (${(error as NodeJS.ErrnoException).code ?? (error as Error).message})`;
  }
  throw new Error('was let through');
}
