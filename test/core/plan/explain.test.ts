import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Assignments } from '../../../src/core/snat/assignments.ts';
import { describeDenial } from '../../../src/core/plan/denial.ts';
import { accept } from '../../../src/core/plan/acceptance.ts';
import { applyChange, type DesiredState } from '../../../src/core/desired-state.ts';
import { describeExplanation, explain, type Explanation } from '../../../src/core/plan/explain.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { denyReasons, type Plan } from '../../../src/core/plan/plan.ts';
import type { SpiffeId, WorkloadName } from '../../../src/core/spiffe-id.ts';
import { everyone, ground, portsOf, rootNamespace, someObjects, someTenantsObject } from './random-world.ts';
import { binding, build, externalService, gateway, kubernetesService, planOf, policy, pool, referenceGrant, state, trustDomain } from '../world.ts';

const gw = gateway('gw');
const eu = pool('eu', ['10.0.0.0/24']);
const bank = externalService('shop/bank');
const proxy = externalService('shop/proxy', { ports: [{ name: 'p', port: 3128, protocol: 'HTTPConnect' }] });
const opens = policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] });
const limits = policy('shop/c', { subjects: [{ namespace: 'shop' }], to: [{ service: 'proxy' }], constraints: { connectAuthorities: ['a.example:443'] } });
const bound = binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' });
const till: WorkloadName = { namespace: 'shop', serviceAccount: 'till' };

function explainIn(desired: DesiredState, subject: WorkloadName | SpiffeId, target: string, authority?: string, before: Assignments = []): { explanation: Explanation; assignments: Assignments } {
  const { compiled, faults, assignments } = build(desired, before);
  assert.deepEqual(faults, []);
  assert.ok(compiled.ok);
  return { explanation: explain(compiled.plan, subject, target, { desired, ...(authority !== undefined && { authority }) }), assignments };
}

/** Applies the suggestion as a user would, and explains again. */
function applied(desired: DesiredState, suggestion: string): DesiredState {
  const parsed = parseManifests([{ file: 'suggestion.yaml', text: suggestion }]);
  assert.deepEqual(parsed.faults(), []);
  const put = parsed.objects.map(({ object }) => object);
  for (const { kind, metadata } of put) assert.ok(!desired[kind].has('namespace' in metadata ? `${metadata.namespace}/${metadata.name}` : metadata.name), 'a suggestion replaces nothing');
  return applyChange(desired, { put, remove: [] });
}

describe('an explanation', () => {
  const objects = [gw, eu, bank, proxy, opens, limits, bound];

  it('says by which policy, from which address and through which gateway', () => {
    const { explanation } = explainIn(state(...objects), till, 'shop/bank');
    assert.deepEqual(describeExplanation(explanation), [
      'allowed: spiffe://cluster.local/ns/shop/sa/till may use "shop/bank:tcp-443" through gateway "gw"',
      'policy: EgressPolicy shop/p',
      'address: 10.0.0.0, source ports 1024-65535 (SnatBinding shop/b)',
    ]);
    assert.equal(explanation.suggestion, null);
  });

  it('says what a session may do where FTP has rules, each alternative on a line', () => {
    const partner = externalService('shop/partner', { ports: [{ name: 'ftp', port: 21, protocol: 'FTP' }] });
    const limited = (name: string, ftp: { readonly readOnly?: boolean; readonly noDelete?: boolean; readonly paths?: string[] }) => policy(`shop/${name}`, { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }], constraints: { ftp } });
    const { explanation } = explainIn(state(gw, eu, bound, partner, limited('r', { readOnly: true }), limited('w', { noDelete: true, paths: ['/out'] })), till, 'partner');
    assert.deepEqual(describeExplanation(explanation).slice(1, 4), ['policy: EgressPolicy shop/r, EgressPolicy shop/w', 'ftp: all but delete, at or below /out', '  or: read only']);
  });

  const denials: { name: string; objects: DesiredObject[]; subject: WorkloadName | SpiffeId; target: string; authority?: string; says: string[]; kinds: string[] }[] = [
    {
      name: 'no policy',
      objects,
      subject: { namespace: 'desk', serviceAccount: 'x' },
      target: 'shop/bank:443',
      says: ['denied (no-policy): no EgressPolicy lets service account "desk/x" use "shop/bank:tcp-443"; "sallyport explain desk/x --to shop/bank:tcp-443" prints one that would'],
      kinds: ['EgressPolicy', 'SnatBinding'],
    },
    {
      name: 'no binding',
      objects: [gw, eu, bank, opens],
      subject: till,
      target: 'bank',
      says: ['denied (no-snat-binding): service account "shop/till" may use "shop/bank:tcp-443", but no SnatBinding gives it an address to leave from; "sallyport explain shop/till --to shop/bank:tcp-443" prints one that would', 'policy: EgressPolicy shop/p'],
      kinds: ['SnatBinding'],
    },
    {
      name: 'no pool either',
      objects: [gw, bank, opens],
      subject: till,
      target: 'bank',
      says: ['denied (no-snat-binding): service account "shop/till" may use "shop/bank:tcp-443", but no SnatBinding gives it an address to leave from; "sallyport explain shop/till --to shop/bank:tcp-443" prints one that would', 'policy: EgressPolicy shop/p'],
      kinds: ['SnatPool', 'SnatBinding'],
    },
    { name: 'no gateway', objects: [eu, bank, opens, bound], subject: till, target: 'bank', says: ['denied (no-gateway): no gateway serves "shop/bank:tcp-443"; apply an EgressGateway'], kinds: ['EgressGateway'] },
    {
      name: 'an authority beyond the policy',
      objects,
      subject: till,
      target: 'proxy:3128',
      authority: 'b.example:443',
      says: ['denied (authority-not-allowed): no EgressPolicy lets service account "shop/till" CONNECT to "b.example:443" through "shop/proxy:p"; add it to the "connectAuthorities" of a policy', 'policy: EgressPolicy shop/c', 'authorities: a.example:443', 'address: 10.0.0.0, source ports 1024-65535 (SnatBinding shop/b)'],
      kinds: ['EgressPolicy'],
    },
    {
      name: 'nothing registered for a host',
      objects,
      subject: till,
      target: 'api.partner.example:8443',
      says: ['denied (no-such-service): no ExternalService answers to "api.partner.example:8443"; "sallyport get externalservices -A" lists those that are there, "sallyport register" adds one'],
      kinds: ['ExternalService', 'EgressPolicy'],
    },
  ];
  for (const { name, objects: before, subject, target, authority, says, kinds } of denials) {
    it(`names what is missing: ${name}; and applying its suggestion allows it`, () => {
      const desired = state(...before);
      const { explanation, assignments } = explainIn(desired, subject, target, authority);
      assert.deepEqual(describeExplanation(explanation), says);
      assert.ok(explanation.suggestion !== null);
      assert.deepEqual([...explanation.suggestion.matchAll(/^kind: (\w+)$/gm)].map(([, kind]) => kind), kinds);
      const after = explainIn(applied(desired, explanation.suggestion), subject, target, authority, assignments).explanation;
      assert.ok(after.allowed, describeExplanation(after).join('\n'));
    });
  }

  const targets = ['shop/new', 'desk/new:ftp', 'new:2121', 'outbound_.990_._.new.desk.svc.cluster.local', 'new.desk.svc.other.domain', '192.0.2.77:8080', '2001:db8::5', '[2001:db8::5]:22', 'Api.Partner.Example', '443', 'true:443'];
  for (const target of targets) {
    it(`suggests a service for ${target}, with a policy and an address`, () => {
      const desired = state(gw, gateway('hw'), eu, externalService('shop/bank', { gateway: 'gw' }));
      const { explanation, assignments } = explainIn(desired, till, target);
      assert.ok(explanation.suggestion !== null, String(explanation.obstacle));
      const after = explainIn(applied(desired, explanation.suggestion), till, target, undefined, assignments).explanation;
      assert.ok(after.allowed, describeExplanation(after).join('\n'));
    });
  }

  const obstacles: { name: string; objects: DesiredObject[]; target: string; authority?: string; obstacle: RegExp }[] = [
    { name: 'the port is missing in a service that is there', objects, target: 'shop/bank:22', obstacle: /ExternalService shop\/bank has no such port/ },
    { name: 'the host is another service’s', objects: [gw, externalService('shop/bank', { hosts: ['h.example'] })], target: 'h.example:22', obstacle: /ExternalService shop\/bank has this host/ },
    { name: 'the agent’s listener is taken', objects: [...objects, externalService('shop/other')], target: 'shop/other', obstacle: /offers shop\/bank:tcp-443 on the same address and port/ },
    { name: 'the target is nonsense', objects, target: 'a b\u0007', obstacle: /no form that a service could have/ },
    { name: 'the authority is nonsense', objects, target: 'proxy', authority: 'x', obstacle: /not of the form host:port/ },
    {
      name: 'its very own binding is of the wrong family',
      objects: [gw, eu, externalService('shop/six', { addresses: ['2001:db8::1'] }), binding('shop/b', { subject: till, pool: 'eu', targets: [{ service: 'six', ports: [443] }] })],
      target: 'shop/six',
      obstacle: /change that binding/,
    },
  ];
  for (const { name, objects: before, target, authority, obstacle } of obstacles) {
    it(`suggests nothing, and says why, where ${name}`, () => {
      const { explanation } = explainIn(state(...before), till, target, authority);
      assert.equal(explanation.suggestion, null);
      assert.match(explanation.obstacle ?? '', obstacle);
      assert.match(describeExplanation(explanation).at(-1)!, /^no manifest alone would allow it: /);
    });
  }

  it('gives an IPv6 service an IPv6 source, beside the IPv4 binding that there is', () => {
    const desired = state(gw, eu, bound, pool('six', ['2001:db8::/64']), externalService('shop/six', { addresses: ['2001:db8:1::1'] }));
    const { explanation } = explainIn(desired, till, 'shop/six');
    const after = explainIn(applied(desired, explanation.suggestion!), till, 'shop/six').explanation;
    assert.equal(after.snat?.ipv6?.address, '2001:db8::');
  });

  it('asks which, where a target means several', () => {
    const { explanation } = explainIn(state(gw, externalService('a/x'), externalService('b/x', { agentAddress: '127.0.0.2' })), till, 'x');
    assert.deepEqual(describeExplanation(explanation), ['denied (no-such-service): "x" may mean a/x:tcp-443, b/x:tcp-443; say which']);
    assert.equal(explanation.suggestion, null);
  });

  it('asks what was meant, where a target is misspelt or its port unknown', () => {
    assert.equal(describeExplanation(explainIn(state(...objects), till, 'shop/bnak').explanation)[1], 'did you mean shop/bank:tcp-443?');
    assert.equal(describeExplanation(explainIn(state(...objects), till, 'proxy:22').explanation)[1], 'did you mean shop/proxy:p?');
  });

  it('takes a SPIFFE ID, and suggests nothing to strangers', () => {
    const foreign = explainIn(state(...objects), 'spiffe://other/ns/shop/sa/till' as SpiffeId, 'bank').explanation;
    assert.deepEqual([foreign.reason, foreign.suggestion], ['trust-domain-mismatch', null]);
    const machine = explainIn(state(...objects), 'spiffe://cluster.local/host/x' as SpiffeId, 'bank').explanation;
    assert.deepEqual([machine.reason, machine.suggestion], ['not-a-workload', null]);
  });

  it('needs desired state only for suggestions', () => {
    const explanation = explain(planOf(gw, bank), till, 'bank');
    assert.deepEqual([explanation.reason, explanation.suggestion, explanation.obstacle], ['no-policy', null, null]);
  });

  const partner = externalService('shop/partner', {
    ports: [{ name: 'control', port: 2121, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 30_100, last: 30_101 } } }, { name: 'web', port: 443 }],
    reverse: [{ name: 'back', port: 8443 }],
  });
  const derived: readonly (readonly [string, string, readonly string[] | undefined])[] = [
    ['the control port for a data port, which nothing else names', 'partner:control-30101', ['control']],
    ['the service for the way back, which no port stands for', 'partner:back', undefined],
  ];
  for (const [what, target, ports] of derived) {
    it(`suggests ${what}`, () => {
      const desired = state(gw, eu, partner);
      const { explanation, assignments } = explainIn(desired, till, target);
      const after = applied(desired, explanation.suggestion!);
      assert.ok(explainIn(after, till, target, undefined, assignments).explanation.allowed);
      const to = [{ service: 'partner', ...(ports !== undefined && { ports }) }];
      assert.deepEqual([[...after.EgressPolicy.values()][0]!.spec.to, [...after.SnatBinding.values()][0]!.spec.targets], [to, to]);
    });
  }

  it('sees no rival in the way back, of which an agent offers nothing', () => {
    const other = externalService('shop/other', { ports: [{ port: 8443 }] });
    const { explanation } = explainIn(state(gw, eu, bound, partner, other, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner', ports: ['web'] }] })), till, 'other:8443');
    assert.notEqual(explanation.suggestion, null, String(explanation.obstacle));
  });

  it('sees the rival of a data port, which comes with its control port', () => {
    const other = externalService('shop/other', { ports: [{ port: 30_100 }] });
    const { explanation } = explainIn(state(gw, eu, bound, partner, other, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'other' }] })), till, 'partner:control');
    assert.match(String(explanation.obstacle), /^its agent offers shop\/other:tcp-30100 on the same address and port/);
  });

  it('suggests, for any denial, what allows exactly that and lets nobody else out', () => {
    let suggested = 0;
    fc.assert(
      fc.property(someObjects, fc.constantFrom(...everyone), fc.constantFrom('a/s1:alpha', 'a/s2:9090', 'b/s3:beta', 'b/s1:8080', 'a/s3:back', 'b/s2:alpha-2121', 'new.example:443'), fc.constantFrom(undefined, 'example.com:443', 'x.example.net:80'), fc.boolean(), (objects, who, target, authority, withGateway) => {
        const desired = state(...ground.filter(({ kind }) => withGateway || kind !== 'EgressGateway'), ...objects);
        const before = build(desired);
        if (!before.compiled.ok || before.faults.length > 0) return;
        const plan: Plan = before.compiled.plan;
        const options = authority === undefined ? { desired } : { desired, authority };
        const explanation = explain(plan, who, target, options);
        if (explanation.allowed || (explanation.service === null && ['a/s3:back', 'b/s2:alpha-2121'].includes(target))) return; // such a port is for its service to have
        assert.ok(explanation.suggestion !== null, String(explanation.obstacle));
        suggested += 1;
        const next = applied(desired, explanation.suggestion);
        const after = build(next, before.assignments);
        assert.deepEqual(after.faults, []);
        assert.ok(after.compiled.ok);
        assert.ok(explain(after.compiled.plan, who, target, options).allowed);
        if (!withGateway) return; // a gateway lets out everyone who waited for one
        for (const other of everyone) {
          for (const { id } of plan.servicePorts) {
            const was = explain(plan, other, id);
            const is = explain(after.compiled.plan, other, id);
            const isMeant = other === who && goesWith(explain(after.compiled.plan, who, target).service!, id, next);
            if (!isMeant) assert.deepEqual({ ...is, revision: '' }, { ...was, revision: '' });
          }
        }
      }),
      { numRuns: 100 },
    );
    assert.ok(suggested > 20, `only ${suggested} suggestions were tried`);
  });
});

describe('an explanation in a cluster with tenants', () => {
  const clerk: WorkloadName = { namespace: 'zoo', serviceAccount: 'clerk' };
  const toBank = [{ service: 'bank', namespace: 'shop' }];
  const zooToBank = policy('zoo/p', { subjects: [{ namespace: 'zoo' }], to: toBank });
  const grant = referenceGrant('shop/zoo-to-bank', ['EgressPolicy zoo']);

  function explained(objects: readonly DesiredObject[]): Explanation {
    const { desired, plan, refused } = accept(state(...objects), [], { now: 0, trustDomain, rootNamespace }, () => ({ isAccepted: false, createdAt: 0, fallback: null }));
    return explain(plan, clerk, 'shop/bank:443', { desired, rootNamespace, refused: refused.values() });
  }

  it('says which policy would let a workload out, were its reference granted, and with which grant', () => {
    const [denial, reason] = describeExplanation(explained([gw, eu, bank, zooToBank]));
    assert.match(denial!, /^denied \(no-policy\)/);
    assert.match(reason!, /^EgressPolicy zoo\/p is not in force: namespace "shop" lets no EgressPolicy of "zoo" refer to its ExternalService "bank" \(ask whoever may write there for \{ .*kind: ReferenceGrant/);
  });

  it('says which binding would give an address, were the pool for its namespace', () => {
    const closed = pool('eu', ['10.0.0.0/24'], { namespaces: { from: 'None' } });
    const sentences = describeExplanation(explained([gw, closed, bank, grant, zooToBank, binding('zoo/b', { subject: { service: { name: 'web' } }, pool: 'eu' }), kubernetesService('zoo/web', 'clerk')]));
    assert.ok(sentences.some((each) => each.startsWith('SnatBinding zoo/b is not in force: ')), sentences.join('\n'));
  });

  it('says nothing of what is about others', () => {
    const others = [policy('farm/p', { subjects: [{ namespace: 'farm' }], to: toBank }), policy('zoo/q', { subjects: [{ namespace: 'zoo', serviceAccount: 'keeper' }], to: toBank }), policy('zoo/r', { subjects: [{ namespace: 'zoo' }], to: [{ service: 'till', namespace: 'shop' }] })];
    assert.deepEqual(explained([gw, eu, bank, ...others]).notInForce, []);
  });

  it('says that the service itself is not in force', () => {
    const { reason, notInForce } = explained([gateway('gw', { namespaces: { from: 'None' } }), bank]);
    assert.deepEqual([reason, notInForce.length], ['no-such-service', 1]);
  });

  it('suggests no service where no gateway is for its namespace, and else at the one that is', () => {
    const closed = gateway('gw', { namespaces: { from: 'None' } });
    assert.equal(explained([closed]).obstacle, 'no EgressGateway is for services of namespace "shop"');
    assert.doesNotMatch(explained([closed, gateway('own', { listen: [{ address: '127.0.0.1', port: 2 }] })]).suggestion!, /gateway: /);
  });

  it('suggests the grants that are missing, and no other', () => {
    const kindsIn = (objects: readonly DesiredObject[]) => [...(explained(objects).suggestion ?? '').matchAll(/^kind: (.*)|^    - group: .*\n      kind: (.*)/gm)].map(([, kind, granted]) => kind ?? granted);
    assert.deepEqual(kindsIn([gw, eu, bank]), ['EgressPolicy', 'SnatBinding', 'ReferenceGrant', 'EgressPolicy', 'SnatBinding', 'ExternalService']);
    assert.deepEqual(kindsIn([gw, eu, bank, grant]), ['EgressPolicy', 'SnatBinding', 'ReferenceGrant', 'SnatBinding', 'ExternalService']);
    assert.deepEqual(kindsIn([gw, eu, bank, referenceGrant('shop/g', ['EgressPolicy zoo', 'SnatBinding zoo'])]), ['EgressPolicy', 'SnatBinding']);
  });

  it('suggests, for any denial, what may be said and allows it, or says what is in the way', () => {
    let suggested = 0;
    fc.assert(
      fc.property(fc.array(someTenantsObject, { maxLength: 6 }), fc.constantFrom(...everyone), fc.constantFrom('a/s1:alpha', 'a/s2:9090', 'b/s3:beta', 'new.example:443'), (objects, who, target) => {
        const desired = state(...ground, ...objects);
        const before = build(desired, [], { rootNamespace });
        if (!before.compiled.ok || before.faults.length > 0) return;
        const explanation = explain(before.compiled.plan, who, target, { desired, rootNamespace });
        assert.equal(explanation.suggestion === null && explanation.obstacle === null, explanation.allowed);
        if (explanation.suggestion === null) return;
        const after = build(applied(desired, explanation.suggestion), before.assignments, { rootNamespace });
        assert.deepEqual(after.faults, []);
        assert.ok(after.compiled.ok && explain(after.compiled.plan, who, target).allowed);
        suggested += 1;
      }),
      { numRuns: 300 },
    );
    assert.ok(suggested > 40, `only ${suggested} suggestions were tried`);
  });
});

/**
 * What nobody can be let have without the other: the control and the data ports of FTPS that is passed through, and the way back with
 * any port of its service.
 */
function goesWith(asked: string, id: string, desired: DesiredState): boolean {
  const [serviceKey = '', portName = ''] = asked.split(':');
  const service = desired.ExternalService.get(serviceKey);
  if (service === undefined || !id.startsWith(`${serviceKey}:`)) return asked === id;
  const spokenFor = new Map(portsOf(service).map(({ name, spokenForBy }) => [`${serviceKey}:${name}`, spokenForBy]));
  const [mine, other] = [spokenFor.get(`${serviceKey}:${portName}`), spokenFor.get(id)];
  return mine === undefined || other === undefined || mine === other;
}

describe('the words of a denial', () => {
  for (const reason of denyReasons) {
    it(`are one printable line with a next step for ${reason}, whatever a peer sends`, () => {
      const text = describeDenial(reason, { identity: 'spiffe://cluster.local/ns/a/sa/b', target: 'x\u001b[31m\u202e\n"', authority: 'é:1\u007f' });
      assert.match(text, /^[\x20-\x7e]+[^.]$/);
      assert.match(text, /; /);
    });
  }
});
