/**
 * The whole way over IPv6: agent, control plane, gateway and external service. Plain loopback has one IPv6 address only, so where it
 * can, this file runs itself again in a network namespace whose loopback has an address for each of two identities.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { formatAddress, formatEndpoint } from '../../src/core/ip-address.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { findProgram, requirePeer } from '../support/peers.ts';
import { startVsftpd, type Vsftpd } from '../support/vsftpd.ts';
import { runProgram } from './support/programs.ts';
import { startWitness, type Witness } from './support/witness.ts';

type Sources = Partial<Record<Workload, string>>;

const ownSources = { productpage: 'fd00:5a11::11', batch: 'fd00:5a11::12' } as const satisfies Sources;
const loopbackAddresses = Object.values(networkInterfaces()).flatMap((interfaces = []) => interfaces.filter(({ internal }) => internal).map(({ address }) => address));

if (Object.values(ownSources).every((address) => loopbackAddresses.includes(address))) {
  describeIpv6(ownSources);
} else if (canMakeNamespace()) {
  describe('over IPv6', () => {
    it('two identities are served in a network namespace of their own', async function () {
      for (const peer of ['vsftpd', 'curl'] as const) requirePeer(this, peer);
      const { status, output } = await runInNamespace();
      assert.equal(status, 0, output);
      assert.match(output, /\n[1-9]\d* passed, 0 failed, 0 skipped/);
    }).timeout(90_000);
  });
} else {
  describeIpv6({ productpage: '::1' });
}

function canMakeNamespace(): boolean {
  return process.getuid?.() === 0 && findProgram('ip') !== undefined && spawnSync('unshare', ['--net', 'true']).status === 0;
}

/** Runs this file in a namespace that has loopback only, with the sources of two identities; it goes when the run ends. */
async function runInNamespace(): Promise<{ readonly status: number | null; readonly output: string }> {
  const addresses = Object.values(ownSources).map((address) => `ip -6 address add ${address}/128 dev lo nodad`);
  const prepare = ['ip link set lo up', ...addresses, 'exec "$@"'].join(' && ');
  const runner = fileURLToPath(new URL('../support/run.ts', import.meta.url));
  const child = spawn('unshare', ['--net', 'sh', '-c', prepare, 'sh', process.execPath, runner, fileURLToPath(import.meta.url)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const end = (): void => void child.kill('SIGTERM');
  process.once('exit', end);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve, reject) => child.once('error', reject).once('close', resolve));
  process.off('exit', end);
  return { status, output };
}

function describeIpv6(sources: Sources): void {
  const workloads = Object.keys(sources) as readonly Workload[];
  const services = { witness: 'TCP', partner: 'FTP' } as const;

  describe(`over IPv6, from ${Object.values(sources).join(' and ')}`, function () {
    this.timeout(40_000);
    const closing: (() => unknown)[] = [];
    const statement = randomBytes(1_000_000);
    let sallyport: TestDeployment;
    let witness: Witness;
    let vsftpd: Vsftpd;
    let ports: Record<keyof typeof services, number>;
    let home: string;

    before(async function () {
      vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'), {}, { address: '::1' });
      closing.push(vsftpd.stop);
      await writeFile(join(vsftpd.directory, 'statement.bin'), statement);
      witness = await startWitness({ address: '::1' });
      closing.push(() => witness.close());
      home = await mkdtemp(join(tmpdir(), 'sallyport-ipv6-'));
      closing.push(() => rm(home, { recursive: true, force: true }));
      const [witnessPort, partnerPort] = (await findFreePorts(2)) as [number, number];
      ports = { witness: witnessPort, partner: partnerPort };
      const targetPorts = { witness: witness.port, partner: vsftpd.port };
      const manifests = (['witness', 'partner'] as const).map((name) => serviceManifests({ name, protocol: services[name], addresses: ['::1'], port: ports[name], targetPort: targetPorts[name], allowed: workloads }));
      sallyport = await startTestDeployment({ agents: workloads, meshAddress: '::1', agentAddresses: { productpage: '::1' }, ipv6SnatAddresses: sources, manifests: manifests.join('\n---\n') });
      closing.push(() => sallyport.close());
    });
    after(async () => {
      for (const close of closing.reverse()) await close();
    });

    for (const workload of workloads) {
      it(`${workload} reaches a service from ${sources[workload]}, and whois knows it`, async () => {
        const dialogue = await sallyport.openAtAgent(workload, ports.witness);
        dialogue.write(`${workload}\n`);
        await dialogue.readUntil('\n');
        const seen = witness.seen.find(({ line }) => line === workload)!;
        assert.equal(seen.address, sources[workload]);
        dialogue.socket.destroy();
        const stdout = await waitFor('whois to know it', 5_000, async () => {
          const answer = await sallyport.run(['whois', formatEndpoint(seen), seen.time.toISOString(), '-o', 'json']);
          return answer.status === 0 ? answer.stdout : undefined;
        });
        const { connections } = JSON.parse(stdout) as { connections: { opened: { spiffeId: string; target: string } }[] };
        assert.deepEqual(connections.map(({ opened: { spiffeId, target } }) => [spiffeId, target]), [[workloadIdentities[workload], `[::1]:${witness.port}`]]);
      });

      it(`curl of ${workload} downloads by EPSV and uploads without it, and vsftpd sees ${sources[workload]} only`, async function () {
        const before = (await vsftpd.log()).length;
        const url = `ftp://${formatAddress(sallyport.agentAddress(workload))}:${ports.partner}`;
        const downloaded = await curl(this, '-o', `${workload}.bin`, `${url}/statement.bin`);
        assert.match(downloaded, /^> EPSV$[^]*^< 229 /m);
        assert.ok((await readFile(join(home, `${workload}.bin`))).equals(statement));
        // PASV from who speaks IPv4 to its agent; over IPv6 curl keeps to EPSV.
        await curl(this, '--disable-epsv', '-T', `${workload}.bin`, `${url}/upload/${workload}.bin`);
        assert.ok((await readFile(join(vsftpd.directory, 'upload', `${workload}.bin`))).equals(statement));
        const log = (await vsftpd.log()).slice(before);
        assert.deepEqual([...new Set([...log.matchAll(/Client "([^"]+)"/g)].map(([, address]) => address))], [sources[workload]]);
      });
    }

    /** What curl says of the dialogue. */
    async function curl(test: Mocha.Context, ...args: readonly string[]): Promise<string> {
      const { status, stderr } = await runProgram(requirePeer(test, 'curl'), ['-q', '-sSv', '--max-time', '15', ...args], { directory: home, env: { HOME: home } });
      assert.equal(status, 0, stderr);
      return stderr.replaceAll('\r', '');
    }

    it('has the connections of FTP in the ledger, with identity, address and parent', async () => {
      const opened = await waitFor('the records of all transfers', 5_000, async () => {
        const { stdout } = await sallyport.cli(['ledger', 'tail', '--last', '200', '--type', 'connection-opened']);
        const records = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { connectionId: string; parentId?: string; spiffeId: string; channel: string; snatAddress: string });
        return records.filter(({ channel }) => channel === 'ftp-data').length >= 2 * workloads.length ? records : undefined;
      });
      for (const workload of workloads) {
        const own = opened.filter(({ spiffeId, channel }) => spiffeId === workloadIdentities[workload] && channel.startsWith('ftp'));
        assert.deepEqual([...new Set(own.map(({ snatAddress }) => snatAddress))], [sources[workload]]);
        for (const { parentId } of own.filter(({ channel }) => channel === 'ftp-data')) assert.ok(own.some(({ connectionId, channel }) => channel === 'ftp-control' && connectionId === parentId));
      }
    });
  });
}
