import assert from 'node:assert/strict';
import { customResourceDefinitions } from '../../src/kubernetes/index.ts';
import { checks, describeResults, runChecks, summaryOf, type CheckResult } from '../../src/diagnosis/index.ts';
import type { Asked, CustomObject, Facts, FactsAfter, FactsBefore, LiveDefinition } from '../../src/diagnosis/facts.ts';
import { makePki } from '../support/pki.ts';

const now = Date.parse('2026-06-01T12:00:00Z');
const known = <Value>(value: Value): Asked<Value> => ({ ok: true, value });
const unknown = { ok: false, why: 'it may not be seen' } as const;
const { rootPem } = makePki();
const bundleIn = (namespace: string, pem = rootPem, labels: Readonly<Record<string, string>> = { 'app.kubernetes.io/managed-by': 'sallyport.dev' }) => [namespace, { metadata: { name: 'sallyport-trust-bundle', namespace, labels }, data: { 'trust-bundle.pem': pem } }] as const;
const definition = (change: Partial<LiveDefinition> = {}) => customResourceDefinitions.map((each): LiveDefinition => ({ ...each, status: { conditions: [{ type: 'Established', status: 'True' }] }, ...change }));
const ready = { metadata: { name: 'sallyport', generation: 3 }, spec: { replicas: 2 }, status: { observedGeneration: 3, readyReplicas: 2, updatedReplicas: 2 } };
const lease = { holder: 'sallyport-0', durationMs: 15_000, renewedAt: now - 2_000, writtenAt: now - 2_000 };

const condition = (type: string, status: 'True' | 'False', reason = type, message = 'm') => ({ type, status, reason, message, observedGeneration: 1 });
function object(kind: string, name: string, status?: CustomObject['status']): CustomObject {
  return { apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, generation: 1, ...(kind.startsWith('Snat') || kind === 'EgressGateway' ? {} : { namespace: 'a' }) }, ...(status === undefined ? {} : { status }) };
}
const accepted = [condition('Accepted', 'True'), condition('ResolvedRefs', 'True'), condition('Warned', 'False')];
const gateway = (name: string, connected: number, revision = 'r1') => object('EgressGateway', name, { conditions: accepted, connected, revision });
const bigIp = (name: string, bigip: NonNullable<CustomObject['spec']>['bigip'] & object): CustomObject => ({ ...gateway(name, 0), spec: { class: 'bigip', bigip } });
const policy = (...conditions: readonly ReturnType<typeof condition>[]) => object('EgressPolicy', 'p', { conditions });

const after: FactsAfter = {
  definitions: known(definition()),
  controlPlane: known(ready),
  lease: known(lease),
  rights: known([{ text: 'list services', isAllowed: true }]),
  hasCa: known(true),
  namespaces: known([{ name: 'sallyport-system' }, { name: 'a' }, { name: 'going', deletionTimestamp: '2026-01-01T00:00:00Z' }]),
  trustBundles: known(new Map([bundleIn('sallyport-system'), bundleIn('a')])),
  webhooks: known([{ name: 'sallyport-inject', caBundles: [rootPem, rootPem] }]),
  gatewayPods: known([{ ...ready, metadata: { name: 'egress-1', generation: 3 } }]),
  objects: known([gateway('egress-1', 2), gateway('egress-2', 1), object('SnatPool', 'eu', { conditions: accepted }), object('ReferenceGrant', 'g'), policy(...accepted, condition('Programmed', 'True'))]),
  assignments: known([{ name: '192.0.2.1.1024', pool: 'eu', holder: 'ns/a' }]),
};
const before: FactsBefore = {
  rights: known([{ text: 'create namespaces', isAllowed: true }]),
  trials: known([{ object: 'Namespace sallyport-system', refusal: null }]),
  foreign: known([]),
  nativeSidecars: known(true),
};
const healthy: Facts = { namespace: 'sallyport-system', version: 'v1.35.0', clocks: known({ here: now + 400, server: now }), before: null, after };
const withAfter = (change: Partial<FactsAfter>): Facts => ({ ...healthy, after: { ...after, ...change } });
const withBefore = (change: Partial<FactsBefore>): Facts => ({ ...healthy, after: null, before: { ...before, ...change } });

const shown = ({ code, verdict, message = '', named = [] }: CheckResult): string => `${code} ${verdict}: ${[message, ...named].join('; ')}`;
const notPassed = (facts: Facts): readonly string[] => runChecks(facts).filter(({ verdict }) => verdict !== 'passed').map(shown);

describe('checks', () => {
  it('all pass for an installation that is as it should be, and before one that can be made', () => {
    assert.deepEqual(notPassed(healthy), []);
    assert.deepEqual(notPassed(withBefore({})), []);
    assert.deepEqual(new Set([...runChecks(healthy), ...runChecks(withBefore({}))].map(({ code }) => code)), new Set(checks.map(({ code }) => code)));
  });

  const cases: readonly [what: string, facts: Facts, expected: readonly string[]][] = [
    ['an old API server', { ...healthy, version: 'v1.29.4+k3s1' }, ['api-version failed: it is v1.29.4+k3s1']],
    ['no API server of a version that is to come', { ...healthy, version: 'v2.0.0' }, []],
    ['a clock that is ahead', { ...healthy, clocks: known({ here: now + 61_000, server: now }) }, ['clock-skew failed: it is 61 s ahead']],
    ['a clock that is behind', { ...healthy, clocks: known({ here: now - 11_000, server: now }) }, ['clock-skew failed: it is 11 s behind']],
    ['rights that whoever installs has not', withBefore({ rights: known([{ text: 'create namespaces', isAllowed: false }, { text: 'get namespaces', isAllowed: true }]) }), ['install-rights failed: 1 of 2 rights are missing; create namespaces']],
    ['what admission refuses', withBefore({ trials: known([{ object: 'Namespace sallyport-gateways', refusal: 'policy says no' }]) }), ['install-admitted failed: 1 of 1 objects are refused; Namespace sallyport-gateways: policy says no']],
    ['a name that is taken', withBefore({ foreign: known(['CustomResourceDefinition externalservices.externalservice.example.com']) }), ['names-free warned: 1 of 1 objects have a name that an installation uses; CustomResourceDefinition externalservices.externalservice.example.com']],
    ['that there are no native sidecars', withBefore({ nativeSidecars: known(false) }), ['native-sidecars failed: the API server drops restartPolicy of init containers']],
    ['a definition that is missing', withAfter({ definitions: known(definition().filter(({ metadata }) => !metadata.name.startsWith('snatpools.'))) }), ['definitions-installed failed: 1 of 8 are not; snatpools.sallyport.dev']],
    ['no definition of the older form that is missing', withAfter({ definitions: known(definition().filter(({ metadata }) => metadata.name.endsWith('.sallyport.dev'))) }), []],
    ['definitions that are not served yet', withAfter({ definitions: known(definition({ status: { conditions: [] } })) }), [`definitions-installed failed: 8 of 8 are not; ${customResourceDefinitions.filter(({ spec }) => spec.group === 'sallyport.dev').map(({ metadata }) => metadata.name).join('; ')}`]],
    ['a definition that says something else', withAfter({ definitions: known(definition().map((each) => (each.spec.names.kind === 'SnatPool' ? { ...each, spec: { ...each.spec, versions: [{ ...each.spec.versions[0], additionalPrinterColumns: [] }] } } : each))) }), ['definitions-current failed: 1 of 9 say something else; snatpools.sallyport.dev']],
    ['a replica that is not ready', withAfter({ controlPlane: known({ ...ready, status: { ...ready.status, readyReplicas: 1 } }) }), ['control-plane-ready failed: 1/2 are ready']],
    ['replicas of an earlier version', withAfter({ controlPlane: known({ ...ready, status: { ...ready.status, updatedReplicas: 1 } }) }), ['control-plane-ready failed: 2/2 are ready']],
    ['that there is no control plane', withAfter({ controlPlane: known(null), lease: known(null) }), ['control-plane-ready failed: there is no StatefulSet "sallyport"', 'lease-held failed: nobody leads', 'leader-clock skipped: nobody leads']],
    ['no control plane that is missing where one runs outside', withAfter({ controlPlane: known(null), hasCa: known(null) }), ['ca-present skipped: there is no Secret "sallyport-ca": the control plane runs outside of the cluster']],
    ['a Lease that was let go', withAfter({ lease: known({ ...lease, holder: '' }) }), ['lease-held failed: nobody leads', 'leader-clock skipped: nobody leads']],
    ['a Lease that is not renewed, whatever its holder says', withAfter({ lease: known({ ...lease, writtenAt: now - 40_000, renewedAt: now - 40_000 }) }), ['lease-held failed: sallyport-0 said so 40 s ago, and is to every 15 s']],
    ['a leader whose clock is behind, and no Lease that is not renewed', withAfter({ lease: known({ ...lease, renewedAt: now - 3_602_000 }) }), ['leader-clock failed: it is 3600 s behind']],
    ['a right that the control plane has not', withAfter({ rights: known([{ text: 'create tokenreviews.authentication.k8s.io', isAllowed: false }]) }), ['control-rights failed: 1 of 1 are missing; create tokenreviews.authentication.k8s.io']],
    ['a CA that was not made', withAfter({ hasCa: known(false) }), ['ca-present failed: Secret "sallyport-ca" is empty']],
    ['a CA whose Secret is gone', withAfter({ hasCa: known(null) }), ['ca-present failed: there is no Secret "sallyport-ca"']],
    ['a namespace that has no trust bundle, another, and somebody else\'s', withAfter({ namespaces: known(['sallyport-system', 'a', 'b', 'c'].map((name) => ({ name }))), trustBundles: known(new Map([bundleIn('sallyport-system'), bundleIn('b', makePki().rootPem), bundleIn('c', rootPem, {})])) }), ['trust-bundle-everywhere failed: 3 of 4 namespaces have not; a: it has none; b: it is another; c: a ConfigMap of that name is somebody else\'s']],
    ['that there is no trust bundle at all, once for each that needs it', withAfter({ trustBundles: known(new Map()) }), ['trust-bundle-valid', 'trust-bundle-everywhere', 'webhook-ca'].map((code) => `${code} failed: namespace "sallyport-system" has no ConfigMap "sallyport-trust-bundle"`)],
    ['a webhook that the API server does not know', withAfter({ webhooks: known([{ name: 'sallyport-inject', caBundles: [rootPem, ''] }]) }), ['webhook-ca failed: 1 of 1 have another CA, or none; sallyport-inject']],
    ['no webhooks that are not installed', withAfter({ webhooks: known([]) }), ['webhook-ca skipped: no webhooks are installed']],
    ['a gateway that does not run', withAfter({ gatewayPods: known([{ ...ready, metadata: { name: 'egress-1', generation: 3 }, status: {} }]) }), ['gateway-pods-ready failed: 1 of 1 are not; egress-1: 0/2']],
    ['a gateway that is away', withAfter({ objects: known([gateway('egress-1', 0), object('SnatPool', 'eu', { conditions: accepted })]) }), ['gateways-connected failed: 1 of 1 are not; EgressGateway egress-1']],
    ['a BIG-IP that is away', withAfter({ objects: known([bigIp('f5', { management: [{ host: 'f5.example' }] }), object('SnatPool', 'eu', { conditions: accepted })]) }), ['gateways-connected failed: 1 of 1 are not; EgressGateway f5']],
    ['no BIG-IP that somebody else tells what to do', withAfter({ objects: known([bigIp('f5', {}), object('SnatPool', 'eu', { conditions: accepted })]) }), []],
    ['gateways that hold different plans', withAfter({ objects: known([gateway('egress-1', 1, 'r1'), gateway('egress-2', 1, 'r2'), gateway('egress-3', 1, 'r1'), object('SnatPool', 'eu', { conditions: accepted })]) }), ['gateways-one-revision failed: 2 revisions among 3 gateways; EgressGateway egress-1: r1; EgressGateway egress-2: r2; EgressGateway egress-3: r1']],
    ['an object that is not in force', withAfter({ objects: known([object('SnatPool', 'eu', { conditions: accepted }), policy(condition('Accepted', 'False', 'PolicyServiceUnknown', 'there is no ExternalService "a/s"'))]) }), ['objects-accepted failed: 1 of 2 are not; EgressPolicy a/p: there is no ExternalService "a/s" (PolicyServiceUnknown)']],
    ['an object that was changed since it was looked at', withAfter({ objects: known([object('SnatPool', 'eu', { conditions: [{ ...condition('Accepted', 'True'), observedGeneration: 0 }] })]) }), ['objects-accepted failed: 1 of 1 are not; SnatPool eu: the control plane has not looked at it yet']],
    ['what a gateway does not enforce yet', withAfter({ objects: known([object('SnatPool', 'eu', { conditions: accepted }), policy(...accepted, condition('Programmed', 'False', 'Pending', 'not yet egress-1'))]) }), ['objects-programmed failed: 1 of 1 are not; EgressPolicy a/p: not yet egress-1 (Pending)']],
    ['nothing of what concerns no gateway', withAfter({ objects: known([object('SnatPool', 'eu', { conditions: accepted }), policy(...accepted, condition('Programmed', 'False', 'NoGateway'))]) }), []],
    ['warnings', withAfter({ objects: known([object('SnatPool', 'eu', { conditions: accepted }), policy(condition('Accepted', 'True'), condition('ResolvedRefs', 'False', 'SubjectServiceUnknown', 'no such Service'), condition('Warned', 'False'))]) }), ['objects-without-warnings warned: 1 of 2 have one; EgressPolicy a/p: no such Service (SubjectServiceUnknown)']],
    ['an assignment whose pool is gone', withAfter({ assignments: known([{ name: '192.0.2.1.1024', pool: 'us', holder: 'ns/a' }]) }), ['assignments-with-pool warned: 1 of 1 are not; SnatAssignment 192.0.2.1.1024 of ns/a: there is no SnatPool "us"']],
  ];
  for (const [what, facts, expected] of cases) it(`tell ${what}`, () => assert.deepEqual(notPassed(facts), expected));

  it('tell certificates of the trust bundle that end, as a failure where none is left', () => {
    const late = (years: number): Facts => ({ ...healthy, clocks: known({ here: now + years * 31_557_600_000, server: now + years * 31_557_600_000 }), after: { ...after, lease: unknown } });
    assert.match(notPassed(late(100)).join(), /^lease-held skipped.*trust-bundle-valid failed: 1 of 1 are not; CN=.*: until 20/);
    const broken = withAfter({ trustBundles: known(new Map([bundleIn('sallyport-system', 'nothing'), bundleIn('a', 'nothing')])), webhooks: known([]) });
    assert.deepEqual(notPassed(broken), ['trust-bundle-valid failed: it has none', 'webhook-ca skipped: no webhooks are installed']);
  });

  it('say what could not be seen, and take it for no fault', () => {
    const blind = Object.fromEntries(Object.keys(after).map((key) => [key, unknown])) as unknown as FactsAfter;
    assert.deepEqual(new Set(runChecks({ ...healthy, clocks: unknown, after: blind }).filter(({ code }) => code !== 'api-version').map(({ verdict, message }) => `${verdict}: ${message}`)), new Set(['skipped: it may not be seen']));
  });

  it('have a code each, and each fails, or warns, in one case above', () => {
    const codes = checks.map(({ code }) => code);
    assert.equal(new Set(codes).size, codes.length);
    const told = new Set(cases.flatMap(([, , expected]) => expected.flatMap((each) => /^(\S+) (?:failed|warned)/.exec(each)?.[1] ?? [])));
    assert.deepEqual(codes.filter((code) => !told.has(code) && code !== 'trust-bundle-valid'), []);
  });

  it('are told in lines, by category, with what is to be done and where it is explained', () => {
    const many = Array.from({ length: 7 }, (_, index) => ({ text: `right ${index}`, isAllowed: false }));
    const results = runChecks(withAfter({ rights: known(many), webhooks: known([]) }));
    assert.match(describeResults(results).join('\n'), /\n\nControl plane\n {2}ok {7}all replicas of the control plane are ready: 2\/2\n[^]*\n {2}FAILED {3}the control plane has the rights of [^\n]*: 7 of 7 are missing\n {11}- right 0\n(?: {11}- right [1-4]\n){4} {11}- and 2 more\n {11}hint: [^\n]*\n {11}see docs\/reference\/checks\.md#control-rights\n\nTrust\n/);
    assert.equal(summaryOf(results), '1 failed (control-rights), 1 could not be looked at (webhook-ca)');
    assert.equal(summaryOf(runChecks(healthy)), 'all is well');
  });
});
