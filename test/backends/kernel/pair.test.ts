/** The files of a pair, and what the programs that read them say. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderConntrackd, renderFtpFarm, renderKeepalived, renderRetelling, renderUnit } from '../../../src/backends/kernel/index.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { makeNetwork, requireNetwork, type Network } from '../../support/network-namespaces.ts';
import { librariesOf, requirePeer } from '../../support/peers.ts';
import { runProgram } from '../../e2e/support/programs.ts';
import { exampleFarm, exampleFarm6, exampleMember, exampleMember6, exampleOutside } from './example-pair.ts';

const ipvsFarm = { ...exampleFarm, ipvs: true };
const files = {
  'keepalived.conf': renderKeepalived(exampleOutside, exampleMember),
  'keepalived-ipvs.conf': renderKeepalived(exampleOutside, exampleMember, ipvsFarm),
  'keepalived6.conf': renderKeepalived(exampleOutside, exampleMember6, { ...exampleFarm6, ipvs: true }),
  'conntrackd.conf': renderConntrackd(exampleMember.link),
  'conntrackd6.conf': renderConntrackd(exampleMember6.link),
  'sallyport-table.service': renderUnit('router'),
  'sallyport-pair.service': renderRetelling(exampleMember.nextHops[0]!.address),
  'ftp-farm.nft': renderFtpFarm(exampleFarm),
  'ftp-farm6.nft': renderFtpFarm(exampleFarm6),
  'ftp-farm-ipvs.nft': renderFtpFarm(ipvsFarm),
} as const;
type File = keyof typeof files;

describe('the files of a pair of routers', function () {
  this.timeout(20_000);
  let network: Network<'router' | 'other' | 'pods' | 'partner'>;
  let directory: string;

  before(async function () {
    requireNetwork(this);
    network = makeNetwork({
      hosts: ['router', 'other', 'pods', 'partner'],
      links: [
        [{ host: 'router', addresses: ['10.9.0.2/24', 'fd00::3/64'] }, { host: 'other', addresses: ['10.9.0.3/24'] }],
        [{ host: 'router', addresses: [] }, { host: 'pods', addresses: [] }],
        [{ host: 'router', addresses: [] }, { host: 'partner', addresses: [] }],
      ],
    });
    directory = await mkdtemp(join(tmpdir(), 'sallyport-pair-'));
    await waitFor('addresses', 5_000, async () => ((await network.hosts.router.run('ip', ['-6', 'address', 'show', 'tentative'])).stdout === '' ? true : undefined));
  });
  after(async () => {
    network.close();
    await rm(directory, { recursive: true });
  });

  async function written(name: File, change: (text: string) => string = (text) => text): Promise<string> {
    const path = join(directory, name);
    await writeFile(path, change(files[name]));
    return path;
  }

  for (const [name, text] of Object.entries(files)) {
    it(`are as their golden files have them: ${name}`, async () => {
      const golden = join(import.meta.dirname, 'golden', name);
      if (process.env['UPDATE_GOLDEN'] === '1') await writeFile(golden, text);
      assert.equal(text, await readFile(golden, 'utf8'), 'UPDATE_GOLDEN=1 writes it again');
    });
  }

  for (const name of ['keepalived.conf', 'keepalived-ipvs.conf', 'keepalived6.conf'] as const) {
    it(`have nothing that keepalived complains of: ${name}`, async function () {
      const keepalived = requirePeer(this, 'keepalived');
      const { status, stdout, stderr } = await network.hosts.router.run(keepalived, ['--config-test', '--use-file', await written(name)], { env: librariesOf(keepalived) });
      assert.deepEqual([status, stdout, stderr], [0, '', '']);
    });
  }

  for (const name of ['conntrackd.conf', 'conntrackd6.conf'] as const) {
    it(`start conntrackd: ${name}`, async function () {
      const conntrackd = requirePeer(this, 'conntrackd');
      const path = await written(name, (text) => text.replace('Syslog yes', 'Syslog no').replace('/run/lock/', `${directory}/`).replace('/run/', `${directory}/`));
      const { stdout, stderr } = await network.hosts.router.run(conntrackd, ['-C', path], { env: librariesOf(conntrackd), killAt: /resync requested|ERROR/ });
      await rm(join(directory, 'conntrackd.lock'), { force: true });
      assert.match(stdout, /starting in console mode/);
      assert.doesNotMatch(stdout + stderr, /\[(WARNING|warning|ERROR|error)\]/);
    });
  }

  for (const name of ['ftp-farm.nft', 'ftp-farm6.nft', 'ftp-farm-ipvs.nft'] as const) {
    it(`are taken by nft, once and again: ${name}`, async function () {
      const nft = requirePeer(this, 'nft');
      const path = await written(name);
      for (let times = 0; times < 2; times++) assert.deepEqual(await network.hosts.router.run(nft, ['--file', path]), { status: 0, stdout: '', stderr: '' });
    });
  }

  for (const name of ['sallyport-table.service', 'sallyport-pair.service'] as const) {
    it(`have a unit that systemd finds nothing wrong with: ${name}`, async function () {
      const analyze = requirePeer(this, 'systemdAnalyze');
      requirePeer(this, 'nft');
      const { status, stdout, stderr } = await runProgram(analyze, ['verify', await written(name)], { env: { ...librariesOf(analyze), SYSTEMD_UNIT_PATH: `${directory}:` } });
      assert.deepEqual([status, stdout, stderr], [0, '', '']);
    });
  }
});
