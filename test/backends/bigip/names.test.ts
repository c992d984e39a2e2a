import assert from 'node:assert/strict';
import fc from 'fast-check';
import { namesakes, objectName, poolName, snatPoolName, snatTranslationName, virtualServerName } from '../../../src/backends/bigip/names.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { numberToAddress } from '../../../src/core/ip-address.ts';
import { servicePort } from '../../support/gateway.ts';

const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/);
const serviceName = fc.oneof(label, fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,100}[a-z0-9])?$/));
const place = fc.record({ namespace: label, name: serviceName, portName: label });
const ipv4 = fc.nat({ max: 2 ** 32 - 1 }).map((number) => numberToAddress('ipv4', BigInt(number)));
const ipv6 = fc.oneof(fc.bigInt({ min: 2n ** 64n, max: 2n ** 128n - 1n }), fc.bigInt({ min: 2n ** 48n, max: 2n ** 64n - 1n }).map((upper) => upper << 64n)).map((number) => numberToAddress('ipv6', number));
const poolOf = ({ namespace, name, portName }: { namespace: string; name: string; portName: string }): string => poolName({ service: { namespace, name }, portName });
const whole = { first: 1024, last: 65535 };

/** `propertyNames` of the class Application. */
const isAllowed = (name: string): boolean => name.length <= 63 && /^[A-Za-z]([0-9A-Za-z_.-]{0,188}[0-9A-Za-z_.])?$/.test(name);

describe('names on a BIG-IP', () => {
  it('say what they name, where that fits', () => {
    assert.equal(poolOf({ namespace: 'data', name: 'warehouse', portName: 'sql' }), 'pool_data_warehouse_sql');
    assert.equal(virtualServerName({ address: '10.0.0.1' as IpAddress, port: 443 }), 'vs_10.0.0.1_443');
    assert.equal(snatPoolName({ ipv4: { address: '203.0.113.8' as IpAddress, ports: whole }, ipv6: { address: '2001:db8::8' as IpAddress, ports: whole } }), 'snat_203.0.113.8_2001-db8--8');
  });

  it('are within its rules, whatever they name', () => {
    fc.assert(fc.property(place, ipv4, ipv6, fc.integer({ min: 1, max: 65535 }), (where, four, six, port) => {
      const source = { ipv4: { address: four, ports: whole }, ipv6: { address: six, ports: whole } };
      const names = [poolOf(where), virtualServerName({ address: four, port }), virtualServerName({ address: six, port }), snatPoolName({ ipv6: source.ipv6 }), snatPoolName(source), snatTranslationName(six)];
      assert.deepEqual(names.filter((name) => !isAllowed(name)), []);
    }));
    assert.ok(isAllowed(snatTranslationName('2001:db8::')));
  });

  it('differ where what they name does', () => {
    fc.assert(fc.property(place, place, (a, b) => {
      fc.pre(JSON.stringify(a) !== JSON.stringify(b));
      assert.notEqual(poolOf(a), poolOf(b));
    }));
    fc.assert(fc.property(ipv6, ipv6, (a, b) => {
      fc.pre(a !== b);
      assert.notEqual(snatTranslationName(a), snatTranslationName(b));
    }));
  });

  it('differ also where only what was cut off does, and from a name that looks as if it was', () => {
    const long = { namespace: 'n'.repeat(40), name: 's'.repeat(40), portName: 'p' };
    const shortened = poolOf(long);
    assert.equal(shortened.length, 63);
    assert.notEqual(poolOf({ ...long, portName: 'q' }), shortened);
    const parts = shortened.replace('__', '_').split('_').slice(1);
    assert.ok(parts.length >= 2 && objectName('pool', ...parts) !== shortened);
  });

  it('are found out where two fall together', () => {
    const ports = ['b', 'a', 'c'].map((name) => servicePort({ name, targetPort: 443, grants: [] }));
    assert.deepEqual(namesakes(ports), []);
    assert.deepEqual(namesakes(ports, ({ service }) => (service.name === 'c' ? 'other' : 'same')), [['egress/a:main', 'egress/b:main']]);
  });
});
