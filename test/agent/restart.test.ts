import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { trustDomainText, type FakeControlPlaneOptions } from '../identity/support/fake-control-plane.ts';
import { createOpensslCa, type OpensslCa } from '../identity/support/openssl-ca.ts';
import { until } from '../identity/support/waiting.ts';
import { startFakeGateway, startFakeMesh, upstreamMessage, type FakeMesh } from './support/fake-mesh.ts';
import { exchange, freePort } from './support/local-client.ts';

const workloadId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const program = fileURLToPath(new URL('./support/agent-process.ts', import.meta.url));

describe('an agent that was killed', () => {
  let ca: OpensslCa;
  let directory: string;
  const closers: (() => unknown)[] = [];

  before(async () => {
    ca = await createOpensslCa();
  });
  after(() => ca.remove());
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-agent-restart-'));
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await rm(directory, { recursive: true, force: true });
  });

  async function kill(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  interface AgentWorld {
    readonly control: FakeMesh;
    readonly listenPort: number;
    readonly stateDirectory: string;
    readonly tokenFile: string;
    readonly launch: () => ChildProcess;
  }

  /** A control plane, a gateway that echoes behind `listenPort`, and an agent to be launched with a token. */
  async function startWorld(options: Pick<FakeControlPlaneOptions, 'onSpent'> = {}): Promise<AgentWorld> {
    const [control, gateway, listenPort] = await Promise.all([
      startFakeMesh(workloadId, { ca, tokens: new Map([['token', workloadId]]), ...options }),
      startFakeGateway(ca, (socket) => void socket.pipe(socket)),
      freePort(),
    ]);
    closers.push(() => control.stop(), () => gateway.stop());
    control.publish({ 'bookinfo/echo:tcp': upstreamMessage(listenPort, [gateway.port]) });
    const tokenFile = join(directory, 'token');
    await writeFile(tokenFile, 'token\n');
    const stateDirectory = join(directory, 'state');
    const agentOptions = {
      trustDomain: trustDomainText,
      enrolmentAddress: control.enrolmentAddress,
      controlAddress: control.identityAddress,
      trustBundlePem: ca.rootPem,
      stateDirectory,
      joinToken: tokenFile,
    };
    function launch(): ChildProcess {
      const child = spawn(process.execPath, [program], { env: { ...process.env, AGENT_OPTIONS: JSON.stringify(agentOptions) }, stdio: ['ignore', 'pipe', 'inherit'] });
      closers.push(() => kill(child));
      return child;
    }
    return { control, listenPort, stateDirectory, tokenFile, launch };
  }

  async function ready(agent: ChildProcess): Promise<void> {
    await Promise.race([once(agent.stdout!, 'data'), once(agent, 'exit').then(() => assert.fail('the agent has ended'))]);
  }

  it('enrols with the same token where it had no answer yet', async () => {
    const onSpent = async (): Promise<void> => {
      if (control.calls.length === 1) await kill(first);
    };
    const { control, listenPort, launch } = await startWorld({ onSpent });
    const first = launch();
    await once(first, 'exit');

    await ready(launch());
    assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    assert.deepEqual(control.calls.map(({ caller }) => caller), ['token', 'token']);
  });

  it('comes back with its identity from disk: no token, no control plane, same gateways', async () => {
    const { control, listenPort, stateDirectory, tokenFile, launch } = await startWorld();
    const first = launch();
    await ready(first);
    assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    await until('the upstreams on disk', () => access(join(stateDirectory, 'upstreams', 'upstreams.json')).then(() => true, () => false));
    await kill(first);
    control.stop();
    await rm(tokenFile);

    await ready(launch());
    assert.equal((await exchange(listenPort, 'hello again')).toString(), 'hello again');
    assert.deepEqual(control.calls.map(({ method }) => method), ['enrol']);
  });
});
