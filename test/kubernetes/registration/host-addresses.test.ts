import assert from 'node:assert/strict';
import { mock } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { createHostAddresses, type HostAddresses, type HostAnswer } from '../../../src/kubernetes/registration/host-addresses.ts';

describe('the addresses of hosts', () => {
  let hosts: HostAddresses;
  let asked: string[];
  let changes: string[];
  /** What the resolver says of a host: an answer, or the code of an error. */
  let says: Map<string, HostAnswer | string>;

  beforeEach(() => {
    mock.timers.enable({ apis: ['setTimeout'] });
    asked = [];
    changes = [];
    says = new Map();
    hosts = createHostAddresses({
      resolve: (host) => {
        asked.push(host);
        const said = says.get(host) ?? 'ENOTFOUND';
        return typeof said === 'string' ? Promise.reject(Object.assign(new Error(said), { code: said })) : Promise.resolve(said);
      },
      onChange: (host) => changes.push(host),
      random: () => 0,
      log: pino({ level: 'silent' }),
    });
  });
  afterEach(async () => {
    await hosts.close();
    mock.timers.reset();
  });

  const answer = (ttlSeconds: number, ...addresses: string[]): HostAnswer => ({ addresses: addresses as IpAddress[], ttlSeconds });
  async function after(seconds: number): Promise<void> {
    mock.timers.tick(seconds * 1_000);
    await setImmediate();
  }

  it('are asked for again when they have lived, and a change of them is told', async () => {
    says.set('a', answer(60, '192.0.2.2', '192.0.2.1'));
    hosts.want(new Set(['a']));
    await after(0);
    assert.deepEqual(hosts.addressesOf('a'), ['192.0.2.1', '192.0.2.2']);
    says.set('a', answer(60, '192.0.2.1', '192.0.2.2'));
    await after(60);
    assert.deepEqual([asked.length, changes.length], [2, 1], 'another order is no change');
    says.set('a', answer(60, '192.0.2.3'));
    await after(59);
    assert.equal(asked.length, 2);
    await after(1);
    assert.deepEqual(hosts.addressesOf('a'), ['192.0.2.3']);
    assert.deepEqual(changes, ['a', 'a']);
  });

  it('are asked for every five seconds at most, and every hour at least', async () => {
    says.set('short', answer(0, '192.0.2.1'));
    says.set('long', answer(86_400, '192.0.2.1'));
    hosts.want(new Set(['short', 'long']));
    await after(0);
    await after(4);
    assert.deepEqual(asked, ['short', 'long']);
    await after(1);
    assert.deepEqual(asked, ['short', 'long', 'short']);
    says.delete('short');
    hosts.want(new Set(['long']));
    await after(3_594);
    assert.equal(asked.at(-1), 'short');
    await after(1);
    assert.equal(asked.at(-1), 'long');
  });

  it('stay while the resolver has no answer, which is told only where there has never been one', async () => {
    says.set('a', answer(5, '192.0.2.1'));
    hosts.want(new Set(['a', 'b']));
    await after(0);
    assert.equal(hosts.failureOf('b'), 'ENOTFOUND');
    assert.equal(hosts.addressesOf('b'), null);
    says.set('a', 'ETIMEOUT');
    await after(5);
    assert.equal(asked.at(-1), 'a');
    assert.deepEqual(hosts.addressesOf('a'), ['192.0.2.1']);
    assert.equal(hosts.failureOf('a'), null);
    assert.deepEqual([...changes].sort(), ['a', 'b']);
    says.set('b', answer(5, '192.0.2.9'));
    await after(30);
    assert.deepEqual(hosts.addressesOf('b'), ['192.0.2.9']);
    assert.equal(hosts.failureOf('b'), null);
    assert.equal(changes.filter((host) => host === 'b').length, 2);
  });

  it('are not asked for any more where nobody wants them, and forgotten', async () => {
    says.set('a', answer(5, '192.0.2.1'));
    hosts.want(new Set(['a']));
    await after(0);
    hosts.want(new Set());
    await after(10);
    assert.deepEqual(asked, ['a']);
    assert.equal(hosts.addressesOf('a'), null);
    hosts.want(new Set(['a']));
    await after(0);
    hosts.want(new Set());
    hosts.want(new Set(['a']));
    await after(0);
    await after(5);
    assert.equal(asked.length, 4, 'once a time, also of one that was wanted before');
  });
});
