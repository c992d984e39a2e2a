import assert from 'node:assert/strict';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nonexistent/socket');

const objects = [
  'kind: EgressGateway\nmetadata: {name: edge}\nspec: {class: kernel, kernel: {interface: eth1}}',
  'kind: ExternalService\nmetadata: {name: partner, namespace: shop}\nspec: {addresses: [203.0.113.10], gateway: edge, ports: [{name: files, port: 21, protocol: FTP}]}',
  'kind: SnatPool\nmetadata: {name: partners}\nspec: {addresses: [198.51.100.8/29]}',
  'kind: SnatBinding\nmetadata: {name: all, namespace: shop}\nspec: {subject: {namespace: shop}, pool: partners}',
  'kind: EgressPolicy\nmetadata: {name: files, namespace: shop}\nspec: {subjects: [{namespace: shop}], to: [{service: partner}]}',
  'kind: WorkloadEntry\nmetadata: {name: till, namespace: shop}\nspec: {addresses: [10.1.0.9], serviceAccount: till}',
].map((text) => `apiVersion: sallyport.dev/v1alpha1\n${text}\n`);

const render = (...args: readonly string[]) => sallyport(['render', 'kernel', '-f', '-', ...args], { stdin: objects.join('---\n') });
const link = ['--link', 'pair', '--own', '10.9.0.2', '--peer', '10.9.0.3'];
const member = [...link, '--role', 'first', '--inside', 'eth0', '--next-hop', '10.1.0.1/24'];
const farm = ['--ftp-farm', '10.1.0.21=10.2.0.2,10.2.0.3'];

describe('sallyport render kernel', () => {
  it('gives the table, in which workload entries say who is behind an address', async () => {
    const { status, out, err } = await render();
    assert.deepEqual([status, out.split('\n')[0]], [0, 'table inet sallyport']);
    assert.match(out, /map identities4 \{[^}]*10\.1\.0\.9 : /);
    assert.match(out, /198\.51\.100\.8/);
    assert.match(err, /^note: edge: a workload is known by its address alone/m);
  });

  it('says of an address that two claim that it is nobody\'s', async () => {
    const { out, err } = await sallyport(['render', 'kernel', '-f', '-'], { stdin: [...objects, objects.at(-1)!.replace('name: till', 'name: other')].join('---\n') });
    assert.match(err, /warning: address 10\.1\.0\.9 is claimed by/);
    assert.doesNotMatch(out, /10\.1\.0\.9/);
  });

  it('gives what makes a pair of two routers', async () => {
    const keepalived = await render('-o', 'keepalived', ...member);
    assert.deepEqual([keepalived.status, keepalived.err], [0, '']);
    assert.match(keepalived.out, /virtual_ipaddress_excluded \{\n +198\.51\.100\.8\/32 dev eth1\n/);
    assert.match((await render('-o', 'conntrackd', ...link)).out, /IPv4_Destination_Address 10\.9\.0\.3\n/);
    assert.match((await render('-o', 'systemd-pair', '--next-hop', '10.1.0.1/24')).out, /show to 10\.1\.0\.1 \| grep -q \. && conntrackd -R && conntrackd -B;/);
    const unit = await render('-o', 'systemd');
    assert.match(unit.out, /ExecStart=\/usr\/sbin\/nft --file \/etc\/sallyport\/edge\.nft\n/);
    assert.match(unit.err, /\/etc\/sallyport\/edge\.nft/);
  });

  it('has FTP servers at one address balanced by nftables, or by IPVS', async () => {
    const [nftables, marking] = [await render(...farm), await render(...farm, '--ipvs')];
    assert.ok(nftables.out.includes('dnat ip to jhash') && !marking.out.includes('jhash') && marking.out.includes('meta mark set 21'));
    const [without, withIpvs] = [await render('-o', 'keepalived', ...member, ...farm), await render('-o', 'keepalived', ...member, ...farm, '--ipvs')];
    assert.ok(!without.out.includes('virtual_server') && withIpvs.out.includes('virtual_server fwmark 21 {'));
    assert.match((await render(...farm, '--ftp-passive-ports', '30000-30010')).out, /tcp dport \{ 21, 30000-30010 \}/);
  });

  const wrong: readonly (readonly [why: string, args: readonly string[], said: RegExp])[] = [
    ['an option is missing', ['-o', 'keepalived', ...link, '--role', 'first', '--inside', 'eth0'], /keepalived needs it \(at --next-hop\)/],
    ['the next hop is missing by which the one in charge is told', ['-o', 'systemd-pair'], /systemd-pair needs it \(at --next-hop\)/],
    ['the peer is itself', ['-o', 'conntrackd', '--link', 'pair', '--own', '10.9.0.2', '--peer', '10.9.0.2'], /at --peer/],
    ['the peer is of another family', ['-o', 'conntrackd', '--link', 'pair', '--own', '10.9.0.2', '--peer', 'fd00::2'], /at --peer/],
    ['the first next hop is of another family than the link', ['-o', 'keepalived', ...link, '--role', 'first', '--inside', 'eth0', '--next-hop', 'fd00::1/64', '10.1.0.1/24'], /at --next-hop/],
    ['a next hop has no prefix', ['-o', 'keepalived', ...link, '--role', 'first', '--inside', 'eth0', '--next-hop', '10.1.0.1'], /at --next-hop/],
    ['a prefix is too long', ['-o', 'keepalived', ...link, '--role', 'first', '--inside', 'eth0', '--next-hop', '10.1.0.1/33'], /at --next-hop/],
    ['there is no such virtual router', ['-o', 'keepalived', ...member, '--virtual-router-id', '256'], /at --virtual-router-id/],
    ['a farm has no servers', ['--ftp-farm', '10.1.0.21'], /at --ftp-farm/],
    ['servers are of another family', ['--ftp-farm', '10.1.0.21=fd00::2'], /at --ftp-farm/],
    ['ports are no range', [...farm, '--ftp-passive-ports', '20000-10000'], /at --ftp-passive-ports/],
  ];
  for (const [why, args, said] of wrong) {
    it(`refuses where ${why}`, async () => {
      const { status, out, err } = await render(...args);
      assert.deepEqual([status, out], [2, '']);
      assert.match(err, said);
    });
  }

  it('takes no gateway of another class for a router', async () => {
    const { status, err } = await sallyport(['render', 'kernel', '-f', 'manifests/examples/bookinfo-forward-proxy.yaml']);
    assert.equal(status, 3);
    assert.match(err, /no EgressGateway of class kernel/);
  });
});
