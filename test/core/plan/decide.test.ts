import assert from 'node:assert/strict';
import fc from 'fast-check';
import { coversAuthority, parseAuthority } from '../../../src/core/plan/authority.ts';
import { decide, decideConnect } from '../../../src/core/plan/decide.ts';
import { findServicePort, findServicePorts } from '../../../src/core/plan/service-lookup.ts';
import type { SpiffeId, TrustDomain } from '../../../src/core/spiffe-id.ts';
import { binding, externalService, gateway, identity, planOf, policy, pool, trustDomain } from '../world.ts';

const plan = planOf(
  gateway('gw'),
  pool('eu', ['10.0.0.0/24']),
  externalService('shop/proxy', { addresses: ['198.51.100.1'], ports: [{ name: 'proxy', port: 3128, protocol: 'HTTPConnect' }] }),
  externalService('shop/partner', { hosts: ['ftp.partner.example'], ports: [{ name: 'ftp', port: 21, protocol: 'FTP' }, { name: 'web', port: 443 }] }),
  externalService('desk/partner', { addresses: ['2001:db8::7'], ports: [{ port: 22 }] }),
  policy('shop/p', { subjects: [{ namespace: 'shop' }, { namespace: 'book', serviceAccount: 'reviews' }], to: [{ service: 'proxy' }] }),
  policy('shop/q', { subjects: [{ namespace: 'limited' }], to: [{ service: 'proxy' }], constraints: { connectAuthorities: ['example.com:443', '*.example.org:443', 'any.example:*', '[2001:DB8::1]:443', '10.1.2.3:80'] } }),
  binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' }),
  binding('shop/l', { subject: { namespace: 'limited' }, pool: 'eu' }),
);
const proxy = findServicePort(plan, 'shop/proxy:proxy');

describe('a decision', () => {
  const cases: [what: string, who: string, reason: string | null][] = [
    ['an account of a namespace that a policy names', 'spiffe://cluster.local/ns/shop/sa/till', null],
    ['a namespace that is a prefix of an allowed one', 'spiffe://cluster.local/ns/sho/sa/till', 'no-policy'],
    ['a namespace that begins like an allowed one', 'spiffe://cluster.local/ns/shopping/sa/till', 'no-policy'],
    ['an account that begins like an allowed one', 'spiffe://cluster.local/ns/book/sa/reviews-v2', 'no-policy'],
    ['an allowed account without a binding', 'spiffe://cluster.local/ns/book/sa/reviews', 'no-snat-binding'],
    ['another trust domain', 'spiffe://cluster.local.example/ns/shop/sa/till', 'trust-domain-mismatch'],
    ['a name that is no workload', 'spiffe://cluster.local/host/a', 'not-a-workload'],
    ['a workload’s name with more behind it', 'spiffe://cluster.local/ns/shop/sa/till/x', 'not-a-workload'],
  ];
  for (const [what, who, reason] of cases) {
    it(`${reason === null ? 'allows' : 'denies'} ${what}`, () => {
      const decision = decide(proxy, who as SpiffeId, trustDomain);
      assert.equal(decision.allowed ? null : decision.reason, reason);
      if (decision.allowed) assert.equal(decision.grant.snat.ipv4?.address, '10.0.0.1');
    });
  }

  it('denies what no service answers to, once the identity is in order', () => {
    const decision = decide(undefined, identity('shop/till'), trustDomain);
    assert.deepEqual(decision, { allowed: false, reason: 'no-such-service', servicePort: null, grant: null });
    assert.equal(decide(undefined, identity('shop/till'), 'elsewhere' as TrustDomain).allowed, false);
  });

  it('denies what no gateway serves, allowed or not', () => {
    const decision = decide({ ...proxy!, gateway: '' }, identity('shop/till'), trustDomain);
    assert.ok(!decision.allowed && decision.reason === 'no-gateway');
  });

  it('says which policies allow where only the address is missing', () => {
    const decision = decide(proxy, identity('book/reviews'), trustDomain);
    assert.deepEqual(decision.grant?.policies, ['shop/p']);
  });
});

describe('a CONNECT', () => {
  const allowed = ['example.com:443', 'EXAMPLE.com:443', 'a.example.org:443', 'b.a.example.org:443', 'any.example:1', 'any.example:65535', '[2001:db8:0:0::1]:443', '10.1.2.3:80', '[::ffff:10.1.2.3]:80'];
  const denied = ['example.com:444', 'xexample.com:443', 'example.com.evil.net:443', 'example.org:443', 'aexample.org:443', '.example.org:443', 'sub.any.example:1', '[2001:db8::2]:443', 'example.com', 'example.com:', 'example.com:0', 'example.com:65536', 'example.com:0443', 'example.com.:443', 'a..example.org:443', 'user@example.com:443', 'example.com:443:443', ' example.com:443', 'example.com:443\r\nHost: x', 'ex%61mple.com:443', '10.1.2.03:80', '0xa.1.2.3:80', '167838211:80', '10.1.515:80', '[::1%lo]:443', '[example.com]:443', '2001:db8::1:443', '*.example.org:443', ''];
  const decision = decide(proxy, identity('limited/x'), trustDomain);
  for (const authority of allowed) it(`may name ${authority}`, () => assert.ok(decideConnect(decision, authority).allowed));
  for (const authority of denied) {
    it(`may not name ${JSON.stringify(authority)}`, () => {
      const narrowed = decideConnect(decision, authority);
      assert.ok(!narrowed.allowed && narrowed.reason === 'authority-not-allowed');
    });
  }

  it('may name anything where no policy limits it, as long as it is an authority', () => {
    const open = decide(proxy, identity('shop/till'), trustDomain);
    assert.ok(decideConnect(open, 'anything.example:8443').allowed);
    assert.ok(!decideConnect(open, 'anything.example:8443\r\n').allowed);
  });

  it('stays denied where the service is', () => {
    const narrowed = decideConnect(decide(proxy, identity('nobody/x'), trustDomain), 'example.com:443');
    assert.ok(!narrowed.allowed && narrowed.reason === 'no-policy');
  });

  it('is matched by a wildcard for names only, never for the end of an address', () => {
    assert.equal(coversAuthority(['*.0.0.1:443'], parseAuthority('127.0.0.1:443')!), false);
  });

  it('is covered by a pattern exactly where a regular expression of it says so', () => {
    const label = fc.constantFrom('a', 'b', 'ab', 'c-d', '1a');
    const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
    const port = fc.constantFrom('80', '443', '8080');
    const pattern = fc.tuple(fc.boolean(), host, fc.oneof(port, fc.constant('*'))).map(([wild, name, number]) => `${wild ? '*.' : ''}${name}:${number}`);
    fc.assert(
      fc.property(fc.array(pattern, { maxLength: 5 }), host, port, (patterns, name, number) => {
        const expected = patterns.some((each) => new RegExp(`^${each.replaceAll('.', '\\.').replace(/^\*/, '[a-z0-9.-]+').replace(/:\*$/, ':[0-9]+')}$`).test(`${name}:${number}`));
        assert.equal(coversAuthority(patterns, parseAuthority(`${name}:${number}`)!), expected);
      }),
      { numRuns: 300 },
    );
  });
});

describe('finding a service port', () => {
  const cases: [target: string, found: string[]][] = [
    ['shop/proxy:proxy', ['shop/proxy:proxy']],
    ['shop/proxy', ['shop/proxy:proxy']],
    ['shop/proxy:3128', ['shop/proxy:proxy']],
    ['proxy', ['shop/proxy:proxy']],
    ['Proxy:3128', ['shop/proxy:proxy']],
    ['proxy.shop.svc.cluster.local', ['shop/proxy:proxy']],
    ['proxy.shop:3128', ['shop/proxy:proxy']],
    ['outbound_.3128_._.proxy.shop.svc.cluster.local', ['shop/proxy:proxy']],
    ['198.51.100.1', ['shop/proxy:proxy']],
    ['198.51.100.1:3128', ['shop/proxy:proxy']],
    ['[2001:db8::7]:22', ['desk/partner:tcp-22']],
    ['shop/partner', ['shop/partner:ftp', 'shop/partner:web']],
    ['shop/partner:21', ['shop/partner:ftp']],
    ['ftp.partner.example:443', ['shop/partner:web']],
    ['partner', ['desk/partner:tcp-22', 'shop/partner:ftp', 'shop/partner:web']],
    ['partner:22', ['desk/partner:tcp-22']],
    ['shop/proxy:22', []],
    ['nowhere', []],
    ['', []],
    ['__proto__', []],
  ];
  for (const [target, found] of cases) it(`${JSON.stringify(target)} means ${found.join(' or ') || 'nothing'}`, () => assert.deepEqual(findServicePorts(plan, target).map(({ id }) => id), found));

  it('gives one only where there is one', () => {
    assert.equal(findServicePort(plan, 'partner'), undefined);
    assert.equal(findServicePort(plan, 'partner:22')?.id, 'desk/partner:tcp-22');
  });
});
