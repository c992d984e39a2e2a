/** SFTP is one connection, and goes as TCP: OpenSSH's client through real processes to OpenSSH's server. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment, type TestDeployment, type Workload } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { startSshd, type Sshd } from '../support/sshd.ts';
import { runProgram } from './support/programs.ts';

describe('sftp, end to end', function () {
  this.timeout(40_000);
  const statement = randomBytes(2_000_000);
  const report = randomBytes(1_000_000);
  const closing: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let sshd: Sshd;
  let port: number;
  let home: string;

  before(async function () {
    sshd = await startSshd(requirePeer(this, 'sshd'));
    closing.push(sshd.stop);
    home = await mkdtemp(join(tmpdir(), 'sallyport-sftp-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    await writeFile(join(sshd.directory, 'statement.bin'), statement);
    await writeFile(join(home, 'report.bin'), report);
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await startTestDeployment({ agents: ['productpage', 'nettools'], manifests: serviceManifests({ name: 'partner', port, targetPort: sshd.port, allowed: ['productpage'] }) });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const sftp = (program: string, workload: Workload, commands: string) =>
    runProgram(program, ['-q', '-b', '-', '-P', String(port), '-i', sshd.keyFile, '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'IdentitiesOnly=yes', `${sshd.user}@${sallyport.agentAddress(workload)}`], { directory: home, env: { HOME: home }, input: commands });

  it('lists, downloads and uploads, and the server sees the one address', async function () {
    const { status, stdout, stderr } = await sftp(requirePeer(this, 'sftp'), 'productpage', `cd ${sshd.directory}\nls\nget statement.bin got.bin\nput report.bin\n`);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /statement\.bin/);
    assert.deepEqual(await readFile(join(home, 'got.bin')), statement);
    assert.deepEqual(await readFile(join(sshd.directory, 'report.bin')), report);
    assert.deepEqual(await sshd.clients(), [snatAddresses.productpage]);
  });

  it('is refused to who is not allowed, who hears nothing of the server', async function () {
    const before = await sshd.clients();
    const { status } = await sftp(requirePeer(this, 'sftp'), 'nettools', 'ls\n');
    assert.notEqual(status, 0);
    assert.deepEqual(await sshd.clients(), before);
  });
});
