import assert from 'node:assert/strict';
import { createHostResolver } from '../../../src/kubernetes/registration/resolve-host.ts';
import { requirePeer } from '../../support/peers.ts';
import { findFreePort, startDnsmasq, type UdpServer } from '../../support/udp-servers.ts';

describe('the resolver of hosts', () => {
  let server: UdpServer;
  before(async function () {
    server = await startDnsmasq(requirePeer(this, 'dnsmasq'), ['--host-record=both.example,192.0.2.1,2001:db8::1,77', '--host-record=six.example,2001:db8::2,30', '--cname=alias.example,both.example,9']);
  });
  after(() => server.stop());

  it('gives the addresses of both families, and for how long they hold', async () => {
    const resolve = createHostResolver([`127.0.0.1:${server.port}`]);
    assert.deepEqual(await resolve('both.example'), { addresses: ['192.0.2.1', '2001:db8::1'], ttlSeconds: 77 });
    assert.deepEqual(await resolve('six.example'), { addresses: ['2001:db8::2'], ttlSeconds: 30 });
    assert.deepEqual(await resolve('alias.example'), { addresses: ['192.0.2.1', '2001:db8::1'], ttlSeconds: 9 }, 'the alias holds no longer');
  });

  it('has no answer where there is none, or nobody to give one', async () => {
    await assert.rejects(createHostResolver([`127.0.0.1:${server.port}`])('none.example'), { code: /^E(NOTFOUND|NODATA|REFUSED)$/ });
    await assert.rejects(createHostResolver([`127.0.0.1:${await findFreePort()}`])('both.example'), { code: 'ECONNREFUSED' });
  });
});
