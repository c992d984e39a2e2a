import assert from 'node:assert/strict';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { describePlanDiff, diffPlans } from '../../../src/core/plan/plan-diff.ts';
import { binding, externalService, gateway, planOf, policy, pool } from '../world.ts';

const gw = gateway('gw');
const eu = pool('eu', ['10.0.0.0/24']);
const bank = externalService('shop/bank');
const opens = policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] });
const bound = (address: string) => binding('shop/b', { subject: { namespace: 'shop' }, addresses: [address] });
const account = policy('shop/till', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'bank' }] });
const partner = externalService('shop/partner', { ports: [{ name: 'ftp', port: 21, protocol: 'FTP' }] });
const opensFtp = (ftp?: NonNullable<NonNullable<Parameters<typeof policy>[1]['constraints']>['ftp']>) => policy('shop/f', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }], ...(ftp === undefined ? {} : { constraints: { ftp } }) });
const proxy = (...connectAuthorities: string[]) => policy('shop/c', { subjects: [{ namespace: 'shop' }], to: [{ service: 'proxy' }], constraints: { connectAuthorities } });
const proxyService = externalService('shop/proxy', { ports: [{ name: 'p', port: 3128, protocol: 'HTTPConnect' }] });

describe('the difference of two plans', () => {
  const base = [gw, eu, bank, bound('10.0.0.1')];
  const cases: { name: string; before: DesiredObject[]; after: DesiredObject[]; says: string[] }[] = [
    { name: 'nothing', before: [...base, opens], after: [...base, opens], says: [] },
    { name: 'a namespace that is let out', before: base, after: [...base, opens], says: ['+ ns/shop may use shop/bank:tcp-443, leaving from 10.0.0.1 (EgressPolicy shop/p)'] },
    { name: 'a namespace that is let out without an address', before: [gw, bank], after: [gw, bank, opens], says: ['+ ns/shop may use shop/bank:tcp-443, but has no address to leave from (EgressPolicy shop/p)'] },
    { name: 'a revocation', before: [...base, opens], after: base, says: ['- ns/shop may no longer use shop/bank:tcp-443, which left from 10.0.0.1 (EgressPolicy shop/p)'] },
    { name: 'another address', before: [...base, opens], after: [...base, opens, bound('10.0.0.2')], says: ['~ ns/shop at shop/bank:tcp-443 leaves from 10.0.0.2 instead of 10.0.0.1'] },
    { name: 'a binding that goes', before: [...base, opens], after: [gw, eu, bank, opens], says: ['~ ns/shop at shop/bank:tcp-443 leaves from no address instead of 10.0.0.1'] },
    { name: 'another policy for the same', before: [...base, opens], after: [...base, opens, policy('shop/q', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] })], says: ['~ ns/shop at shop/bank:tcp-443 is let by EgressPolicy shop/p, EgressPolicy shop/q instead of EgressPolicy shop/p'] },
    {
      name: 'an account that falls back to its namespace',
      before: [...base, opens, binding('shop/own', { subject: { namespace: 'shop', serviceAccount: 'till' }, addresses: ['10.0.0.9'] })],
      after: [...base, opens],
      says: ['~ sa/shop/till at shop/bank:tcp-443 leaves from 10.0.0.1 instead of 10.0.0.9'],
    },
    { name: 'an account that loses nothing, since its namespace has the same', before: [...base, opens, policy('shop/p', { subjects: [{ namespace: 'shop' }, { namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'bank' }] })], after: [...base, opens], says: [] },
    { name: 'an account of its own', before: [...base], after: [...base, account], says: ['+ sa/shop/till may use shop/bank:tcp-443, leaving from 10.0.0.1 (EgressPolicy shop/till)'] },
    { name: 'ftp rules', before: [gw, partner, opensFtp()], after: [gw, partner, opensFtp({ readOnly: true, paths: ['/out'], users: ['u'], maxTransferBytes: 5, maxBytesPerSecond: 6, unknownCommands: 'Pass' })], says: ['~ ns/shop at shop/partner:ftp may, over FTP, read only, at or below /out, as user u, at most 5 bytes a transfer, at most 6 bytes a second, unknown commands too instead of do anything'] },
    { name: 'other authorities', before: [gw, proxyService, proxy('a.example:443')], after: [gw, proxyService, proxy('b.example:443', 'a.example:443')], says: ['~ ns/shop at shop/proxy:p may CONNECT to a.example:443, b.example:443 instead of a.example:443'] },
    { name: 'a service', before: [...base], after: [...base, proxyService], says: ['+ service port shop/proxy:p'] },
    { name: 'a service that goes with its grants', before: [...base, opens], after: [gw, eu, bound('10.0.0.1')], says: ['- service port shop/bank:tcp-443', '- ns/shop may no longer use shop/bank:tcp-443, which left from 10.0.0.1 (EgressPolicy shop/p)'] },
    { name: 'a target', before: base, after: [...base, externalService('shop/bank', { addresses: ['198.51.100.99'] })], says: ['~ service port shop/bank:tcp-443: targets'] },
    { name: 'a gateway', before: base, after: [...base, gateway('gw', { limits: { connectionsPerIdentity: 3 } })], says: ['~ gateway gw: limits'] },
  ];
  for (const { name, before, after, says } of cases) {
    it(`says ${name}`, () => {
      const [one, other] = [planOf(...before), planOf(...after)];
      const diff = diffPlans(one, other);
      assert.deepEqual(describePlanDiff(diff), says);
      assert.deepEqual([diff.before, diff.after], [one.revision, other.revision]);
    });
  }

  it('names the ports where an address is shared by blocks', () => {
    const shared = pool('eu', ['10.0.0.1'], { sharing: { mode: 'PortBlocks', blockSize: 1000 } });
    const lines = describePlanDiff(diffPlans(planOf(gw, shared, bank), planOf(gw, shared, bank, opens, bound('10.0.0.1'))));
    assert.deepEqual(lines, ['+ ns/shop may use shop/bank:tcp-443, leaving from 10.0.0.1 (ports 1024-2023) (EgressPolicy shop/p)']);
  });

  it('is data as well as words', () => {
    const [change] = diffPlans(planOf(...base), planOf(...base, opens)).servicePorts;
    assert.equal(change?.change, 'changed');
    assert.deepEqual(change.fields, []);
    assert.deepEqual(change.grants.map(({ change: kind, subject, before, after }) => [kind, subject, before, after?.snat?.ipv4?.address]), [['added', { namespace: 'shop' }, null, '10.0.0.1']]);
  });
});
