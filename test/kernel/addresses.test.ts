import assert from 'node:assert/strict';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { RunProgram } from '../../src/kernel/index.ts';
import { isInCharge } from '../../src/kernel/addresses.ts';

const hostWith = (...addresses: readonly string[]): RunProgram => () => Promise.resolve({ status: 0, stdout: JSON.stringify([{ ifname: 'eth1', address: '02:00:00:00:00:01', addr_info: addresses.map((local) => ({ local })) }]), stderr: '' });
const place = { interface: 'eth1', addresses: ['203.0.113.8', '203.0.113.9', '2001:db8::8'] as IpAddress[] };

describe('the router of a pair', () => {
  it('that is in charge is the one that has the SNAT addresses, be it that keepalived is still putting them there', async () => {
    assert.equal(await isInCharge(hostWith('203.0.113.1', '203.0.113.8', '203.0.113.9', '2001:db8:0::8'), place), true);
    assert.equal(await isInCharge(hostWith('203.0.113.1', '203.0.113.9'), place), true);
    assert.equal(await isInCharge(hostWith('203.0.113.1'), place), false);
  });
});
