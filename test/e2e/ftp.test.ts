/** Files over FTP: real clients through real processes of agent and gateway to a real server, which sees one address only. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { startVsftpd, type Vsftpd } from '../support/vsftpd.ts';
import { runProgram } from './support/programs.ts';

interface Transfers {
  readonly downloaded: Buffer;
  /** The name below `/upload`. */
  readonly uploadedAs: string;
  /** What listing `/` printed. */
  readonly listing: string;
}

describe('ftp through agent and gateway, end to end', function () {
  this.timeout(40_000);
  const statement = randomBytes(1_500_000);
  const report = randomBytes(1_000_000);
  const closing: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let vsftpd: Vsftpd;
  /** Knows active mode only. */
  let activeVsftpd: Vsftpd;
  let port: number;
  let activePort: number;
  let home: string;

  before(async function () {
    vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'));
    closing.push(vsftpd.stop);
    await writeFile(join(vsftpd.directory, 'statement.bin'), statement);
    home = await mkdtemp(join(tmpdir(), 'sallyport-ftp-home-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    await writeFile(join(home, 'report.bin'), report);
    activeVsftpd = await startVsftpd(requirePeer(this, 'vsftpd'), { pasv_enable: 'NO', connect_from_port_20: 'NO' });
    closing.push(activeVsftpd.stop);
    await writeFile(join(activeVsftpd.directory, 'statement.bin'), statement);
    [port, activePort] = (await findFreePorts(2)) as [number, number];
    const agents: readonly Workload[] = ['productpage', 'batch'];
    const manifests = [
      serviceManifests({ name: 'partner', protocol: 'FTP', port, targetPort: vsftpd.port, allowed: agents }),
      serviceManifests({ name: 'active-partner', protocol: 'FTP', dataMode: 'Active', port: activePort, targetPort: activeVsftpd.port, allowed: agents }),
    ];
    sallyport = await startTestDeployment({ agents, manifests: manifests.join('\n---') });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function runClient(program: string, args: readonly string[], input = ''): Promise<string> {
    const { status, stdout, stderr } = await runProgram(program, args, { directory: home, env: { HOME: home }, input });
    assert.equal(status, 0, `${program}: ${stdout}${stderr}`);
    return stdout;
  }

  const clients = {
    async curl(program: string, host: string): Promise<Transfers> {
      const url = `ftp://${host}:${port}`;
      const common = ['-q', '-sS', '--max-time', '15'];
      const listing = await runClient(program, [...common, `${url}/`]);
      await runClient(program, [...common, '-o', 'got-curl.bin', `${url}/statement.bin`]);
      await runClient(program, [...common, '-T', 'report.bin', `${url}/upload/curl-${host}.bin`]);
      return { downloaded: await readFile(join(home, 'got-curl.bin')), uploadedAs: `curl-${host}.bin`, listing };
    },
    async lftp(program: string, host: string): Promise<Transfers> {
      const commands = `set net:timeout 5; set net:max-retries 1; set cmd:fail-exit yes; open -p ${port} ${host}; cls -l; get statement.bin -o got-lftp.bin; put report.bin -o upload/lftp-${host}.bin; quit`;
      const listing = await runClient(program, ['--norc', '-c', commands]);
      return { downloaded: await readFile(join(home, 'got-lftp.bin')), uploadedAs: `lftp-${host}.bin`, listing };
    },
    async ftp(program: string, host: string): Promise<Transfers> {
      const commands = `user anonymous me@example\nbinary\npassive on\nls\nget statement.bin got-ftp.bin\nput report.bin upload/ftp-${host}.bin\nquit\n`;
      const listing = await runClient(program, ['-n', '-v', host, String(port)], commands);
      return { downloaded: await readFile(join(home, 'got-ftp.bin')), uploadedAs: `ftp-${host}.bin`, listing };
    },
  };

  for (const [workload, names] of [
    ['productpage', ['curl', 'lftp', 'ftp']],
    ['batch', ['curl']],
  ] as const) {
    for (const name of names) {
      it(`${name} of ${workload} lists, downloads and uploads, and vsftpd sees ${snatAddresses[workload]} only`, async function () {
        const program = requirePeer(this, name);
        const before = (await vsftpd.log()).length;
        const { listing, downloaded, uploadedAs } = await clients[name](program, sallyport.agentAddress(workload));
        assert.match(listing, /statement\.bin/);
        assert.ok(downloaded.equals(statement), `${downloaded.length} bytes were downloaded`);
        assert.ok((await readFile(join(vsftpd.directory, 'upload', uploadedAs))).equals(report));
        const log = await waitFor('the log of the upload', 5_000, async () => {
          const text = (await vsftpd.log()).slice(before);
          return text.includes('OK UPLOAD') ? text : undefined;
        });
        assert.deepEqual([...new Set([...log.matchAll(/Client "(?:::ffff:)?([0-9.]+)"/g)].map(([, address]) => address))], [snatAddresses[workload]]);
      });
    }
  }

  for (const [mode, flags] of [
    ['passive', []],
    ['active', ['--ftp-port', '-']],
  ] as const) {
    it(`a client in ${mode} mode reaches a server that knows active mode only, from two workloads at once`, async function () {
      const curl = requirePeer(this, 'curl');
      const before = (await activeVsftpd.log()).length;
      await Promise.all(
        (['productpage', 'batch'] as const).map(async (workload) => {
          const url = `ftp://${sallyport.agentAddress(workload)}:${activePort}`;
          const common = ['-q', '-sS', '--max-time', '15', ...flags];
          const file = `got-${workload}-${mode}.bin`;
          await runClient(curl, [...common, '-o', file, `${url}/statement.bin`]);
          assert.ok((await readFile(join(home, file))).equals(statement));
          await runClient(curl, [...common, '-T', 'report.bin', `${url}/upload/${workload}-${mode}.bin`]);
          assert.ok((await readFile(join(activeVsftpd.directory, 'upload', `${workload}-${mode}.bin`))).equals(report));
        }),
      );
      const log = (await activeVsftpd.log()).slice(before);
      const told = [...log.matchAll(/Client "(?:::ffff:)?([0-9.]+)", "PORT ([0-9]+,[0-9]+,[0-9]+,[0-9]+),/g)].map(([, address, place]) => [address, place!.replaceAll(',', '.')]);
      assert.equal(told.length, 4);
      for (const [address, place] of told) assert.equal(address, place, 'the server is sent to the address that its client has');
      assert.deepEqual(new Set(told.map(([address]) => address)), new Set([snatAddresses.productpage, snatAddresses.batch]));
    });
  }

  it('has each control and data connection in the ledger, with identity, address and size', async () => {
    const records = await waitFor('the records of all transfers', 5_000, async () => {
      const { stdout } = await sallyport.cli(['ledger', 'tail', '--last', '1000']);
      const all = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { type: string; connectionId: string; parentId?: string; spiffeId: string; channel?: string; snatAddress?: string; bytesReceived?: number; bytesSent?: number });
      const closed = all.filter(({ type }) => type === 'connection-closed');
      return closed.filter(({ bytesReceived }) => bytesReceived === statement.length).length === 8 && closed.filter(({ bytesSent }) => bytesSent === report.length).length === 8 ? all : undefined;
    });
    const opened = records.filter(({ type }) => type === 'connection-opened');
    const control = new Map(opened.filter(({ channel }) => channel === 'ftp-control').map((record) => [record.connectionId, record]));
    const data = opened.filter(({ channel }) => channel === 'ftp-data');
    assert.ok(data.length >= 20, `${data.length} data connections`);
    for (const { parentId, spiffeId, snatAddress } of data) {
      const parent = control.get(parentId ?? '');
      assert.deepEqual([spiffeId, snatAddress], [parent?.spiffeId, parent?.snatAddress]);
      const workload = spiffeId === workloadIdentities.productpage ? 'productpage' : 'batch';
      assert.deepEqual([spiffeId, snatAddress], [workloadIdentities[workload], snatAddresses[workload]]);
    }
  });
});
