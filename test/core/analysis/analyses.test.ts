import assert from 'node:assert/strict';
import { analyses, analyze, hasLevel, sortFindings } from '../../../src/core/analysis/catalogue.ts';
import type { Finding, World } from '../../../src/core/analysis/analysis.ts';
import { describeRef } from '../../../src/core/desired-state.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Assignments } from '../../../src/core/snat/assignments.ts';
import { binding, build, externalService, gateway, kubernetesService, namespace, policy, pool, referenceGrant, state } from '../world.ts';

interface Circumstances {
  readonly before?: Assignments;
  readonly rootNamespace?: string;
  readonly isWholeCluster?: boolean;
  readonly registered?: readonly string[];
}

function worldOf(objects: readonly DesiredObject[], { before = [], rootNamespace, isWholeCluster = false, registered = [] }: Circumstances = {}): World {
  const desired = state(...objects);
  const { assignments, compiled, faults } = build(desired, before, rootNamespace === undefined ? {} : { rootNamespace });
  assert.ok(compiled.ok && faults.length === 0, JSON.stringify(faults));
  return { desired, plan: compiled.plan, assignments, rootNamespace, clusterDomain: 'cluster.local', isWholeCluster, registered: new Set(registered) };
}

/** `code object` of what is found. */
const told = (objects: readonly DesiredObject[], circumstances?: Circumstances): readonly string[] => analyze(worldOf(objects, circumstances)).map(({ code, object }) => `${code} ${describeRef(object!)}`).sort();

const subject = { namespace: 'a' };
const toS = [{ service: 's' }];
const whole = [gateway('gw'), pool('eu', ['192.0.2.1-192.0.2.9']), externalService('a/s'), policy('a/p', { subjects: [subject], to: toS }), binding('a/b', { subject, pool: 'eu' })];
const without = (kind: string): readonly DesiredObject[] => whole.filter((object) => object.kind !== kind);

describe('analyses', () => {
  it('find nothing where all is as it should be', () => {
    assert.deepEqual(told(whole), []);
    assert.deepEqual(told([...whole, namespace('a')], { isWholeCluster: true, rootNamespace: 'sallyport-system' }), []);
  });

  const cases: readonly [what: string, objects: readonly DesiredObject[], expected: readonly string[], circumstances?: Circumstances][] = [
    ['a policy that lets out who has no address', without('SnatBinding'), ['policy-without-address EgressPolicy a/p', 'pool-unused SnatPool eu']],
    ['one whose binding is for another service', [...without('SnatBinding'), externalService('a/t', { addresses: ['198.51.100.8'] }), binding('a/b', { subject, pool: 'eu', targets: [{ service: 't' }] })], ['binding-unused SnatBinding a/b', 'policy-without-address EgressPolicy a/p', 'service-without-policy ExternalService a/t']],
    ['nothing of a policy of whose namespace one account has an address', [...without('SnatBinding'), binding('a/b', { subject: { namespace: 'a', serviceAccount: 'x' }, pool: 'eu' })], []],
    ['a policy of whose namespaces one has no address', [...without('EgressPolicy'), policy('a/p', { subjects: [subject, { namespace: 'z' }], to: toS })], ['policy-without-address EgressPolicy a/p']],
    ['a service that no policy names, and the binding that is for nothing by that', without('EgressPolicy'), ['binding-unused SnatBinding a/b', 'service-without-policy ExternalService a/s']],
    ['a binding over which more specific ones decide', [...without('EgressPolicy'), policy('a/p', { subjects: [{ namespace: 'a', serviceAccount: 'x' }], to: toS }), binding('a/own', { subject: { namespace: 'a', serviceAccount: 'x' }, pool: 'eu' })], ['binding-unused SnatBinding a/b']],
    ['nothing of a binding whose Service the build warns of', [...whole, binding('a/c', { subject: { service: { name: 'none' } }, pool: 'eu' })], []],
    ['a gateway without services', [...whole.filter(({ kind }) => kind !== 'ExternalService'), externalService('a/s', { gateway: 'gw' }), gateway('idle', { listen: [{ address: '127.0.0.2', port: 15443 }] })], ['gateway-unused EgressGateway idle']],
    ['nothing of a gateway that another hands over to', [...whole.filter(({ kind }) => kind !== 'EgressGateway'), gateway('gw', { class: 'envoy', handOver: 'beside' }), gateway('beside', { listen: [{ address: '127.0.0.2', port: 15443 }] })], []],
    ['policies that say the same in another order', [...whole, externalService('a/t', { addresses: ['198.51.100.8'], agentAddress: '127.0.0.2' }), policy('a/one', { subjects: [subject, { namespace: 'a', serviceAccount: 'x' }], to: [{ service: 't', ports: [443] }, { service: 's' }] }), policy('a/two', { subjects: [{ namespace: 'a', serviceAccount: 'x' }, subject], to: [{ service: 's', namespace: 'a' }, { service: 't', ports: [443] }] })], ['policy-duplicate EgressPolicy a/two']],
    ['nothing of policies that differ in a constraint', [...without('ExternalService'), externalService('a/s', { ports: [{ port: 21, protocol: 'FTP' }] }), policy('a/read', { subjects: [subject], to: toS, constraints: { ftp: { readOnly: true } } })], []],
    ['a host that is a Service of the cluster', [...without('ExternalService'), externalService('a/s', { hosts: ['Reviews.shop.svc.cluster.local', 'reviews.svc.example.com'] })], ['host-of-cluster ExternalService a/s']],
    ['a Service that has the name of an ExternalService', [...whole, kubernetesService('a/s', 'x')], ['service-name-taken ExternalService a/s']],
    ['nothing of a Service that is ours', [...whole, kubernetesService('a/s', 'x')], [], { registered: ['a/s'] }],
    ['namespaces that are not there', [...whole, policy('a/q', { subjects: [{ namespace: 'bokinfo' }, subject], to: toS }), namespace('b')], ['policy-without-address EgressPolicy a/q', ...['EgressPolicy a/p', 'EgressPolicy a/q', 'EgressPolicy a/q', 'SnatBinding a/b'].map((object) => `subject-namespace-unknown ${object}`)], { isWholeCluster: true }],
    ['a grant that nothing refers by', [...whole, referenceGrant('a/g', ['EgressPolicy b'])], ['grant-unused ReferenceGrant a/g'], { rootNamespace: 'top' }],
    ['nothing of a grant that a policy refers by', [...whole, referenceGrant('a/g', ['EgressPolicy b'], ['s']), policy('b/p', { subjects: [{ namespace: 'b' }], to: [{ service: 's', namespace: 'a' }] }), binding('b/b', { subject: { namespace: 'b' }, pool: 'eu' })], [], { rootNamespace: 'top' }],
    ['nothing of a grant where there are no tenants', [...whole, referenceGrant('a/g', ['EgressPolicy b'])], []],
  ];
  for (const [what, objects, expected, circumstances] of cases) {
    it(`find ${what}`, () => {
      assert.deepEqual(told(objects, circumstances), [...expected].sort());
    });
  }

  const manyBindings = (count: number) => Array.from({ length: count }, (_, index) => [binding(`a/x${index}`, { subject: { namespace: 'a', serviceAccount: `x${index}` }, pool: 'big' })]).flat();
  for (const [what, count, spec, expected] of [
    ['one address of twenty is free', 19, { addresses: ['192.0.2.1-192.0.2.20'] }, 'of its 20 addresses of IPv4, 1 are free'],
    ['two addresses of twenty are free', 18, { addresses: ['192.0.2.1-192.0.2.20'] }, undefined],
    ['nothing of a pool of nine is free', 9, { addresses: ['192.0.2.1-192.0.2.9'] }, undefined],
    ['no block of ports is free', 30, { addresses: ['192.0.2.1-192.0.2.2'], sharing: { mode: 'PortBlocks' as const, blockSize: 4096 } }, 'of its 30 blocks of ports of IPv4, 0 are free'],
  ] as const) {
    it(`${expected === undefined ? 'do not warn' : 'warn'} of a pool where ${what}`, () => {
      const { addresses, ...more } = { sharing: undefined, ...spec };
      const found = analyze(worldOf([pool('big', [...addresses], more.sharing === undefined ? {} : { sharing: more.sharing }), ...manyBindings(count)])).filter(({ code }) => code === 'pool-nearly-exhausted');
      assert.deepEqual(found.map(({ message }) => message), expected === undefined ? [] : [expected]);
    });
  }

  it('count what is in quarantine as taken', () => {
    const bound = worldOf([pool('big', ['192.0.2.1-192.0.2.20']), ...manyBindings(19)]);
    const [found] = analyze(worldOf([pool('big', ['192.0.2.1-192.0.2.20'])], { before: bound.assignments })).filter(({ code }) => code === 'pool-nearly-exhausted');
    assert.match(found!.message, /1 are free; 19 wait for their quarantine to end$/);
  });

  it('have a code each, in order, with its words in the catalogue', () => {
    const codes = analyses.map(({ code }) => code);
    assert.deepEqual(codes, [...new Set(codes)].sort());
    const shown = new Set(cases.flatMap(([, , expected]) => expected.map((each) => each.split(' ')[0])));
    assert.deepEqual(codes.filter((code) => !shown.has(code)), ['pool-nearly-exhausted']); // which has tests of its own
  });
});

describe('findings', () => {
  const finding = (level: Finding['level'], code: string): Finding => ({ level, code, message: 'm' });

  it('are told gravest first, each once', () => {
    assert.deepEqual(sortFindings([finding('info', 'a'), finding('error', 'z'), finding('warning', 'b'), finding('info', 'a')]).map(({ code }) => code), ['z', 'b', 'a']);
  });

  for (const [level, expected] of [['error', false], ['warning', true], ['info', true]] as const) {
    it(`${expected ? 'fail' : 'do not fail'} by a warning where the level is ${level}`, () => assert.equal(hasLevel([finding('warning', 'a'), finding('info', 'b')], level), expected));
  }
});
