/** What policy allows within FTP: real clients through real agent and gateway to a real vsftpd, with what the ledger says of it. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FtpTransfer } from '../../src/core/ledger-record.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { startVsftpd, type Vsftpd } from '../support/vsftpd.ts';
import { runProgram, type ProgramResult } from './support/programs.ts';

/** The rules of each workload. */
const rules = {
  productpage: '{paths: [/upload], maxTransferBytes: 1000000}',
  batch: '{readOnly: true, users: [anonymous]}',
  nettools: '{noDelete: true}',
} as const satisfies Record<Workload, string>;
const namespaces = { productpage: 'bookinfo', batch: 'reports', nettools: 'sm-apigw-a' } as const satisfies Record<Workload, string>;

describe('policy within ftp, end to end', function () {
  this.timeout(40_000);
  const statement = randomBytes(700_000);
  const large = randomBytes(1_500_000);
  const closing: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let vsftpd: Vsftpd;
  let port: number;
  let home: string;

  before(async function () {
    vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'));
    closing.push(vsftpd.stop);
    home = await mkdtemp(join(tmpdir(), 'sallyport-ftp-policy-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    await mkdir(join(vsftpd.directory, 'secret'));
    await writeFile(join(vsftpd.directory, 'secret', 'plan.bin'), statement);
    await writeFile(join(vsftpd.directory, 'upload', 'statement.bin'), statement);
    await writeFile(join(vsftpd.directory, 'upload', 'large.bin'), large);
    await symlink('../secret', join(vsftpd.directory, 'upload', 'link'));
    await writeFile(join(home, 'small.bin'), statement);
    await writeFile(join(home, 'large.bin'), large);
    [port] = (await findFreePorts(1)) as [number];
    const service = serviceManifests({ name: 'partner', protocol: 'FTP', port, targetPort: vsftpd.port, allowed: [] }).replace('protocol: FTP', 'protocol: FTP, ftp: {recordDigest: true}');
    const policies = Object.entries(rules).map(([workload, ftp]) => `apiVersion: sallyport.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: partner-${workload}, namespace: bookinfo}\nspec: {subjects: [{namespace: ${namespaces[workload as Workload]}}], to: [{service: partner}], constraints: {ftp: ${ftp}}}`);
    sallyport = await startTestDeployment({ manifests: [service, ...policies].join('\n---\n') });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const urlOf = (workload: Workload, path: string) => `ftp://${sallyport.agentAddress(workload)}:${port}${path}`;
  const curl = (program: string, ...args: readonly string[]): Promise<ProgramResult> => runProgram(program, ['-q', '-v', '--max-time', '15', ...args], { directory: home, env: { HOME: home } });
  const lftp = (program: string, workload: Workload, commands: string): Promise<ProgramResult> =>
    runProgram(program, ['--norc', '-c', `set net:timeout 5; set net:max-retries 1; open -p ${port} ${sallyport.agentAddress(workload)}; ${commands}`], { directory: home, env: { HOME: home } });

  /** What the gateway answered with these codes. */
  const refusals = ({ stderr }: ProgramResult): string[] => [...stderr.matchAll(/^< ((?:5[0-9]{2}) Refused by policy: .*?)\.?\r?$/gm)].map(([, reply]) => reply!);

  it('lets a client work below the paths of its policy, the way it changes directories itself', async function () {
    const program = requirePeer(this, 'curl');
    for (const method of ['multicwd', 'nocwd', 'singlecwd']) {
      const got = await curl(program, '--ftp-method', method, '-o', `got-${method}.bin`, urlOf('productpage', '/upload/statement.bin'));
      assert.equal(got.status, 0, got.stderr);
      assert.deepEqual(await readFile(join(home, `got-${method}.bin`)), statement);
    }
    const put = await curl(program, '-T', 'small.bin', urlOf('productpage', '/upload/new.bin'));
    assert.equal(put.status, 0, put.stderr);
    assert.deepEqual(await readFile(join(vsftpd.directory, 'upload', 'new.bin')), statement);
    assert.equal((await lftp(requirePeer(this, 'lftp'), 'productpage', 'set cmd:fail-exit yes; cd upload; cls; get statement.bin -o got-lftp.bin; quit')).status, 0);
    assert.deepEqual(await readFile(join(home, 'got-lftp.bin')), statement);
  });

  for (const [what, args, path] of [
    ['a file elsewhere', [], '/secret/plan.bin'],
    ['".." behind its path', ['--path-as-is', '--ftp-method', 'nocwd'], '/upload/../secret/plan.bin'],
    ['".." in its own directory', ['--path-as-is'], '/upload/../secret/plan.bin'],
    ['an encoded slash', ['--ftp-method', 'nocwd'], '/upload/..%2Fsecret%2Fplan.bin'],
    ['an overlong slash', ['--ftp-method', 'nocwd'], '/upload/..%C0%AFsecret%C0%AFplan.bin'],
    ['backslashes', ['--ftp-method', 'nocwd'], '/upload/..%5Csecret%5Cplan.bin'],
    ['a home directory', ['--ftp-method', 'nocwd'], '/~root/plan.bin'],
    ['a wildcard that may match ".."', ['--ftp-method', 'nocwd'], '/upload/.%3F/secret/plan.bin'],
  ] as const) {
    it(`refuses ${what} with 550, and vsftpd sends nothing of it`, async function () {
      const before = (await vsftpd.log()).length;
      const got = await curl(requirePeer(this, 'curl'), ...args, '-o', 'stolen.bin', urlOf('productpage', path));
      assert.notEqual(got.status, 0);
      assert.ok(refusals(got).some((reply) => reply.startsWith('550')), got.stderr);
      assert.ok(!existsSync(join(home, 'stolen.bin')));
      assert.doesNotMatch((await vsftpd.log()).slice(before), /RETR/);
    });
  }

  it('refuses what a symbolic link leads to, by the directory that vsftpd says that it is in', async function () {
    const got = await curl(requirePeer(this, 'curl'), '-o', 'stolen.bin', urlOf('productpage', '/upload/link/plan.bin'));
    assert.notEqual(got.status, 0);
    assert.ok(refusals(got).some((reply) => reply.endsWith('the path is outside of those allowed')), got.stderr);
    assert.ok(!existsSync(join(home, 'stolen.bin')));
  });

  it('refuses to list, store or rename out of its paths', async function () {
    const program = requirePeer(this, 'curl');
    assert.ok(refusals(await curl(program, urlOf('productpage', '/'))).length > 0);
    const put = await curl(program, '--ftp-method', 'nocwd', '-T', 'small.bin', urlOf('productpage', '/secret/new.bin'));
    assert.ok(refusals(put).some((reply) => reply.startsWith('553')), put.stderr);
    const renamed = await curl(program, '-Q', 'RNFR /upload/new.bin', '-Q', 'RNTO /secret/new.bin', urlOf('productpage', '/upload/'));
    assert.ok(refusals(renamed).some((reply) => reply.startsWith('553')), renamed.stderr);
    assert.ok(!existsSync(join(vsftpd.directory, 'secret', 'new.bin')));
  });

  it('breaks off what is too large, either way, and no half is taken for a whole', async function () {
    const program = requirePeer(this, 'curl');
    const got = await curl(program, '-o', 'too-large.bin', urlOf('productpage', '/upload/large.bin'));
    assert.notEqual(got.status, 0);
    assert.ok((await readFile(join(home, 'too-large.bin'))).length <= 1_000_000);
    const put = await curl(program, '-T', 'large.bin', urlOf('productpage', '/upload/too-large.bin'));
    assert.notEqual(put.status, 0);
    assert.doesNotMatch(await vsftpd.log(), /OK UPLOAD: .*too-large/);
  });

  it('reads only, where that is all that it may', async function () {
    const program = requirePeer(this, 'curl');
    assert.equal((await curl(program, '-o', 'read.bin', urlOf('batch', '/secret/plan.bin'))).status, 0);
    for (const [line, code] of [['STOR x', 553], ['DELE upload/statement.bin', 550], ['RNFR upload/statement.bin', 550], ['MKD upload/d', 550], ['SITE CHMOD 600 upload/statement.bin', 550], ['SITE EXEC id', 502]] as const) {
      const tried = await curl(program, '-Q', line, urlOf('batch', '/'));
      assert.ok(refusals(tried).some((reply) => reply.startsWith(String(code))), `${line}: ${tried.stderr}`);
    }
    assert.deepEqual(await readFile(join(vsftpd.directory, 'upload', 'statement.bin')), statement);
  });

  it('lets in the users of its policy only, and says nothing of their passwords', async function () {
    const program = requirePeer(this, 'curl');
    const tried = await curl(program, '-u', 'root:hunter2', urlOf('batch', '/'));
    assert.deepEqual(refusals(tried), ['530 Refused by policy: this user may not log in']);
    assert.equal((await curl(program, '-u', 'anonymous:hunter3', urlOf('batch', '/'))).status, 0);
    assert.doesNotMatch((await sallyport.cli(['ledger', 'tail', '--last', '1000'])).stdout, /hunter[23]/);
  });

  it('deletes nothing, where it may do all but that', async function () {
    const program = requirePeer(this, 'curl');
    assert.equal((await curl(program, '-T', 'small.bin', urlOf('nettools', '/upload/kept.bin'))).status, 0);
    const tried = await curl(program, '-Q', 'DELE /upload/kept.bin', urlOf('nettools', '/'));
    assert.deepEqual(refusals(tried), ['550 Refused by policy: nothing may be deleted']);
    assert.ok(existsSync(join(vsftpd.directory, 'upload', 'kept.bin')));
  });

  it('has every transfer and every refusal in the ledger, and sallyport transfers lists them', async () => {
    const listed = async (...args: readonly string[]) => (await sallyport.cli(['transfers', '-o', 'json', ...args])).stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as FtpTransfer);
    const uploads = await waitFor('the records of the uploads', 5_000, async () => {
      const found = (await listed('--identity', 'bookinfo/productpage')).filter(({ verb }) => verb === 'STOR');
      return found.length === 2 ? found : undefined;
    });
    const sha256 = createHash('sha256').update(statement).digest('hex');
    assert.deepEqual(
      uploads.map(({ user, path, outcome, reason, replyCode, snatAddress, spiffeId }) => ({ user, path, outcome, reason, replyCode, snatAddress, spiffeId })),
      [
        { user: 'anonymous', path: '/upload/new.bin', outcome: 'completed', reason: 'finished', replyCode: 226, snatAddress: snatAddresses.productpage, spiffeId: workloadIdentities.productpage },
        { user: 'anonymous', path: '/upload/too-large.bin', outcome: 'failed', reason: 'ftp-transfer-too-large', replyCode: uploads[1]!.replyCode, snatAddress: snatAddresses.productpage, spiffeId: workloadIdentities.productpage },
      ],
    );
    assert.deepEqual([uploads[0]!.bytes, uploads[0]!.sha256], [statement.length, sha256]);
    const downloads = (await listed('-n', 'reports', '--service', 'partner')).filter(({ verb }) => verb === 'RETR');
    assert.deepEqual(downloads.map(({ bytes, outcome, sha256: digest }) => [bytes, outcome, digest]), [[statement.length, 'completed', sha256]]);

    const { stdout } = await sallyport.cli(['transfers', '-n', 'bookinfo']);
    assert.match(stdout, /^TIME +IDENTITY +SERVICE +USER +VERB +PATH +BYTES +DURATION +OUTCOME\n/);
    assert.match(stdout, / bookinfo\/productpage +bookinfo\/partner:main +anonymous +STOR +\/upload\/new\.bin +700000 +\S+ +completed\n/);
    assert.match(stdout, / STOR +\/upload\/too-large\.bin +[0-9]+ +\S+ +failed \(ftp-transfer-too-large\)\n/);

    const denied = (await sallyport.cli(['ledger', 'tail', '--last', '1000', '--type', 'connection-denied'])).stdout;
    assert.match(denied, /"reason":"ftp-policy-refused","detail":"CWD \\"secret\\": the path is outside of those allowed"/);
    assert.match(denied, /"detail":"USER \\"root\\": this user may not log in"/);
  });
});
