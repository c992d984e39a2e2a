import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import { openFtpPath, snatAddress } from '../support/ftp-path.ts';
import type { FtpPath } from '../support/ftp-path.ts';
import { requirePeer } from '../support/peers.ts';
import { modeOnly, startVsftpd } from '../support/vsftpd.ts';
import type { Vsftpd } from '../support/vsftpd.ts';

/** How curl is told to say each command. */
const curlModes = { EPSV: [], PASV: ['--disable-epsv'], EPRT: ['--ftp-port', '-'], PORT: ['--ftp-port', '-', '--disable-eprt'] } as const;

for (const dataMode of ['Passive', 'Active'] as const) {
  describeVsftpd(dataMode);
  describeVsftpdOverIpv6(dataMode);
}

/** Real clients, through agent and gateway, to a real server that checks where data connections come from and go to. */
function describeVsftpd(dataMode: FtpDataMode): void {
  describe(`ftp through agent and gateway to vsftpd in ${dataMode.toLowerCase()} mode`, function () {
    this.timeout(30_000);
    const download = randomBytes(3_000_000);
    const upload = randomBytes(2_000_000);
    const closing: (() => Promise<unknown>)[] = [];
    let vsftpd: Vsftpd;
    let path: FtpPath;
    let home: string;

    before(async function () {
      vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'), modeOnly[dataMode]);
      closing.push(vsftpd.stop);
      await writeFile(join(vsftpd.directory, 'statement.bin'), download);
      path = await openFtpPath({ serverPort: vsftpd.port, dataMode });
      closing.push(path.stop);
      home = await mkdtemp(join(tmpdir(), 'sallyport-ftp-client-'));
      closing.push(() => rm(home, { recursive: true, force: true }));
      await writeFile(join(home, 'report.bin'), upload);
    });
    after(async () => {
      for (const close of closing.reverse()) await close();
    });

    /** Runs a client to its end, in a directory and an environment of its own. */
    function run(program: string, args: readonly string[], input = ''): Promise<{ readonly stdout: string; readonly stderr: string }> {
      return new Promise((resolve, reject) => {
        const child = execFile(program, args, { cwd: home, env: { PATH: process.env['PATH'], HOME: home, TERM: 'dumb', LC_ALL: 'C.UTF-8' }, timeout: 20_000, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
          if (error === null) resolve({ stdout, stderr });
          else reject(new Error(`${program} failed: ${error.message}\n${stdout}\n${stderr}`));
        });
        child.stdin?.end(input);
      });
    }

    async function assertSource(): Promise<void> {
      assert.deepEqual(await vsftpd.clients(), [snatAddress]);
    }

    for (const [mode, flags] of Object.entries(curlModes)) {
      it(`curl lists, downloads, resumes and uploads with ${mode}`, async function () {
        const curl = requirePeer(this, 'curl');
        const url = `ftp://127.0.0.1:${path.agentPort}`;
        const common = ['-q', '-sS', '--max-time', '15', ...flags];
        assert.deepEqual((await run(curl, [...common, '-l', `${url}/`])).stdout.split(/\r?\n/).filter(Boolean).sort(), ['statement.bin', 'upload']);
        await run(curl, [...common, '-o', `got-${mode}.bin`, `${url}/statement.bin`]);
        assert.ok(download.equals(await readFile(join(home, `got-${mode}.bin`))));
        await writeFile(join(home, `rest-${mode}.bin`), download.subarray(0, 1_000_000));
        await run(curl, [...common, '-C', '-', '-o', `rest-${mode}.bin`, `${url}/statement.bin`]);
        assert.ok(download.equals(await readFile(join(home, `rest-${mode}.bin`))));
        await run(curl, [...common, '-T', 'report.bin', `${url}/upload/curl-${mode}.bin`]);
        assert.ok(upload.equals(await readFile(join(vsftpd.directory, 'upload', `curl-${mode}.bin`))));
        await assertSource();
      });
    }

    it('curl goes on without TLS where it would rather have it', async function () {
      const { stdout } = await run(requirePeer(this, 'curl'), ['-q', '-sS', '--ssl', '--max-time', '15', '-l', `ftp://127.0.0.1:${path.agentPort}/`]);
      assert.match(stdout, /statement\.bin/);
    });

    for (const clientMode of ['passive', 'active'] as const) {
      it(`lftp in ${clientMode} mode lists, downloads, uploads and mirrors many small files`, async function () {
        const lftp = requirePeer(this, 'lftp');
        const settings = `set net:timeout 5; set net:max-retries 1; set cmd:fail-exit yes; set ftp:passive-mode ${clientMode === 'passive'}`;
        const script = (commands: string) => ['--norc', '-c', `${settings}; open -p ${path.agentPort} 127.0.0.1; ${commands}; quit`];
        const { stdout } = await run(lftp, script(`cls -l; get statement.bin -o got-lftp-${clientMode}.bin; put report.bin -o upload/lftp-${clientMode}.bin`));
        assert.match(stdout, /statement\.bin/);
        assert.ok(download.equals(await readFile(join(home, `got-lftp-${clientMode}.bin`))));
        assert.ok(upload.equals(await readFile(join(vsftpd.directory, 'upload', `lftp-${clientMode}.bin`))));

        const names = Array.from({ length: 20 }, (_, index) => `small-${index}.txt`).sort();
        await mkdir(join(home, clientMode));
        for (const name of names) await writeFile(join(home, clientMode, name), name);
        await run(lftp, script(`mirror --reverse --parallel=3 ${clientMode} upload/${clientMode}; mirror --parallel=3 upload/${clientMode} back-${clientMode}`));
        for (const directory of [join(vsftpd.directory, 'upload', clientMode), join(home, `back-${clientMode}`)]) {
          assert.deepEqual((await readdir(directory)).sort(), names);
          for (const name of names) assert.equal(await readFile(join(directory, name), 'utf8'), name);
        }
        await assertSource();
      });

      it(`Debian's ftp in ${clientMode} mode lists, downloads and uploads`, async function () {
        const commands = ['user anonymous me@example', 'binary', `passive ${clientMode === 'passive' ? 'on' : 'off'}`, 'ls', `get statement.bin got-ftp-${clientMode}.bin`, `put report.bin upload/ftp-${clientMode}.bin`, 'quit', ''];
        const { stdout } = await run(requirePeer(this, 'ftp'), ['-n', '-v', '127.0.0.1', String(path.agentPort)], commands.join('\n'));
        assert.match(stdout, /statement\.bin/);
        assert.ok(download.equals(await readFile(join(home, `got-ftp-${clientMode}.bin`))), stdout);
        assert.ok(upload.equals(await readFile(join(vsftpd.directory, 'upload', `ftp-${clientMode}.bin`))));
        await assertSource();
      });
    }

    it('records each connection with its source, and each data connection with its session', async () => {
      const opened = path.gateway.records.filter((record) => record.type === 'connection-opened');
      const control = new Set(opened.filter(({ channel }) => channel === 'ftp-control').map(({ connectionId }) => connectionId));
      const data = opened.filter(({ channel }) => channel === 'ftp-data');
      assert.ok(control.size > 0 && data.length > 0);
      for (const { parentId, snatAddress: source } of data) {
        assert.ok(parentId !== undefined && control.has(parentId));
        assert.equal(source, snatAddress);
      }
      await path.gateway.record('connection-closed', ({ bytesReceived }) => bytesReceived === download.length);
      await path.gateway.record('connection-closed', ({ bytesSent }) => bytesSent === upload.length);
      assert.doesNotMatch(JSON.stringify(path.gateway.records), /me@example/);
    });
  });
}

function describeVsftpdOverIpv6(dataMode: FtpDataMode): void {
  describe(`ftp over IPv6 to vsftpd in ${dataMode.toLowerCase()} mode`, function () {
    this.timeout(30_000);
    const content = randomBytes(500_000);
    const closing: (() => Promise<unknown>)[] = [];
    let vsftpd: Vsftpd;
    let url: string;

    before(async function () {
      if (!Object.values(networkInterfaces()).flat().some((each) => each?.address === '::1')) this.skip();
      vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'), modeOnly[dataMode], { address: '::1' });
      closing.push(vsftpd.stop);
      await writeFile(join(vsftpd.directory, 'statement.bin'), content);
      const path = await openFtpPath({ serverPort: vsftpd.port, address: '::1', dataMode });
      closing.push(path.stop);
      url = `ftp://[::1]:${path.agentPort}`;
    });
    after(async () => {
      for (const close of closing.reverse()) await close();
    });

    for (const mode of ['EPSV', 'EPRT'] as const) {
      it(`curl downloads and uploads with ${mode}`, async function () {
        const curl = requirePeer(this, 'curl');
        const run = promisify(execFile);
        const directory = await mkdtemp(join(tmpdir(), 'sallyport-ftp-client-'));
        closing.push(() => rm(directory, { recursive: true, force: true }));
        const common = ['-q', '-sS', '-g', '--max-time', '15', ...curlModes[mode]];
        await run(curl, [...common, '-o', join(directory, 'got.bin'), `${url}/statement.bin`]);
        assert.ok(content.equals(await readFile(join(directory, 'got.bin'))));
        await run(curl, [...common, '-T', join(directory, 'got.bin'), `${url}/upload/${mode}.bin`]);
        assert.ok(content.equals(await readFile(join(vsftpd.directory, 'upload', `${mode}.bin`))));
        assert.match(await vsftpd.log(), dataMode === 'Passive' ? /FTP command: .*"EPSV"/ : /FTP command: .*"EPRT \|2\|::1\|/);
      });
    }
  });
}
