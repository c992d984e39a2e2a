import assert from 'node:assert/strict';
import fc from 'fast-check';
import { applyChange, describeRef, refOf } from '../../../src/core/desired-state.ts';
import type { Fault } from '../../../src/core/errors.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { manifestFaultCodes, parseManifests } from '../../../src/core/manifest/manifest.ts';
import { renderObject } from '../../../src/core/manifest/manifest-text.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { build } from '../../../src/core/plan/build.ts';
import { snatPorts } from '../../../src/core/snat/address-space.ts';
import type { Assignments, Holder } from '../../../src/core/snat/assignments.ts';
import { binding, externalService, gateway, kubernetesService, namespace, policy, pool, state, trustDomain } from '../world.ts';

/** What was applied before: objects without a fault, and the addresses that they were given. */
interface Held {
  readonly objects: readonly DesiredObject[];
  readonly assignments: Assignments;
}

const nothing: Held = { objects: [], assignments: [] };

/** Every fault of documents, a file each, that are applied to what is held. */
function faultsOf(held: Held, ...documents: readonly string[]): readonly Fault[] {
  const { objects, faults } = parseManifests(documents.map((document, index) => ({ file: `${index + 1}.yaml`, text: document })));
  const desired = applyChange(state(...held.objects), { put: objects.map(({ object }) => object), remove: [] });
  const built = build(desired, held.assignments, { now: 1_000, trustDomain });
  return faults(built.ok ? [] : built.faults);
}

/** Applies as many of the objects, one after the other, as go together with what there is. */
function hold(held: Held, ...objects: readonly DesiredObject[]): Held {
  return objects.reduce((before, object) => {
    const after = [...before.objects, object];
    const built = build(state(...after), before.assignments, { now: 0, trustDomain });
    return built.ok ? { objects: after, assignments: built.assignments } : before;
  }, held);
}

const isManifestFault = ({ code }: Fault) => (manifestFaultCodes as readonly string[]).includes(code);
/** `code object path`: the same fault in other words is the same. */
const shown = ({ code, object, path = [] }: Fault) => `${code} ${describeRef(object!)} ${path.join('.')}`;
const planFaultsOf = (held: Held, ...documents: readonly string[]) => faultsOf(held, ...documents).filter((fault) => !isManifestFault(fault)).map(shown);

const text = renderObject;
const misspelt = (object: DesiredObject) => text(object).replace('spec:', 'spce:');
const broken = (object: DesiredObject) => `${text(object)}  more: [1\n`;
const kindless = (object: DesiredObject) => text(object).replace(/^kind: .*\n/m, '');
const ofKind = (object: DesiredObject, kind: string) => text(object).replace(`kind: ${object.kind}`, `kind: ${kind}`);

const bank = externalService('shop/bank');
const six = externalService('shop/six', { addresses: ['2001:db8::1'] });
const eu = pool('eu', ['10.0.0.1-10.0.0.9']);
const opens = (service: string, ports?: number[]) => policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service, ...(ports !== undefined && { ports }) }] });
const bound = (name: string, spec: Partial<Parameters<typeof binding>[1]> = { pool: 'eu' }) => binding(`shop/${name}`, { subject: { namespace: 'shop' }, ...spec });
const outside = bound('out', { addresses: ['192.0.2.7'] });
const gate = gateway('gate');
const shared = pool('eu', ['10.0.0.1-10.0.0.9'], { sharing: { mode: 'PortBlocks', blockSize: 1_000 } });
const ofSix = pool('eu', ['2001:db8::/64']);
const taking = (name: string) => binding(`${name}/b`, { subject: { namespace: name }, addresses: ['10.0.0.1'] });
const web = kubernetesService('shop/web', 'till');
const ofWeb = (name: string, spec: { pool?: string; addresses?: string[] } = { pool: 'eu' }) => binding(`shop/${name}`, { subject: { service: { name: 'web' } }, ...spec });
const opensTo = (subject: Parameters<typeof policy>[1]['subjects'][number], ...services: string[]) => policy('shop/p', { subjects: [subject], to: services.map((service) => ({ service })) });
const listening = (name: string) => externalService(`shop/${name}`, { ports: [{ port: 443, listen: { port: 9 } }] });
const known = (name: string, protocol: 'TCP' | 'HTTPConnect' = 'TCP') => externalService(`shop/${name}`, { serverNames: ['bank.example'], ports: [{ port: 443, protocol }] });
const older = (name: string, address: string, more = '') => `apiVersion: externalservice.example.com/v1alpha1\nkind: ExternalService\nmetadata: {name: ${name}}\nspec: {targetIP: 10.9.0.1, sources: [{service: {namespace: shop, name: web}, sourceIP: ${address}}], ports: [{port: 1}]${more}}\n`;
const wrongFamily = 'snat-family-mismatch SnatBinding shop/b spec';
const unknownService = 'policy-service-unknown EgressPolicy shop/p spec.to.0.service';
const outsidePools = 'address-outside-pools SnatBinding shop/out spec.addresses.0';

describe('faults of reading, allocation and compilation together', () => {
  it('come in the order of the input, each with its place', () => {
    const faults = faultsOf(nothing, text(opens('nowhere')), misspelt(externalService('shop/other')), text(outside));
    assert.deepEqual(faults.map(({ code, position }) => `${position!.file}:${position!.line}:${position!.column} ${code}`), ['1.yaml:10:16 policy-service-unknown', '2.yaml:6:1 field-unknown', '3.yaml:10:7 address-outside-pools']);
  });

  it('name those of applied objects last, which have no place in the input', () => {
    const faults = faultsOf(hold(nothing, gateway('a'), bank), text(gateway('b', { listen: [{ address: '127.0.0.1', port: 2 }] })), text(eu).replace('10.0.0.1-', '10.0.0.300-'));
    assert.deepEqual(faults.map(({ code, position }) => [code, position === undefined]), [['address-invalid', false], ['gateway-ambiguous', true]]);
  });

  it('keep to themselves what they rest on', () => {
    assert.deepEqual(Object.keys(faultsOf(nothing, text(opens('nowhere')))[0]!).sort(), ['code', 'hint', 'message', 'object', 'path', 'position']);
  });

  it('are no more than a thousand, and then say how many more there are', () => {
    const policies = Array.from({ length: 1_002 }, (_, index) => text(policy(`shop/p${index}`, { subjects: [{ namespace: 'shop' }], to: [{ service: 'nowhere' }] })));
    const faults = faultsOf(nothing, misspelt(externalService('shop/other')), ...policies);
    assert.deepEqual([faults.length, faults[0]?.code, faults.at(-1)?.message], [1_001, 'field-unknown', '3 more faults are not shown']);
  });

  const cases: readonly { what: string; held?: Held; documents: readonly string[]; told: readonly string[] }[] = [
    { what: 'a service that is nowhere, beside a faulty one', documents: [text(opens('nowhere')), misspelt(bank)], told: [unknownService] },
    { what: 'not a service whose document has an unknown field', documents: [text(opens('bank')), misspelt(bank)], told: [] },
    { what: 'not a service whose document is broken', documents: [text(opens('bank')), broken(bank)], told: [] },
    { what: 'not a service whose document has a misspelt kind', documents: [text(opens('bank')), ofKind(bank, 'ExternalServise')], told: [] },
    { what: 'not a service whose document has no kind', documents: [text(opens('bank')), kindless(bank)], told: [] },
    { what: 'not a service whose document may be it, since its name is no name', documents: [text(opens('bank')), text(bank).replace('name: bank', 'name: The_Bank')], told: [] },
    { what: 'not a service whose document is of Kubernetes’ kind', documents: [text(opens('bank')), ofKind(bank, 'Service')], told: [] },
    { what: 'not a service whose document leaves the default namespace out', documents: [text(opens('bank')).replaceAll('shop', 'default'), misspelt(bank).replace('  namespace: shop\n', '')], told: [] },
    { what: 'not a service in a list of objects that is no list', documents: [text(opens('bank')), `- ${text(bank).replaceAll('\n', '\n  ').trimEnd()}\n`], told: [] },
    { what: 'not a service behind a repeated key', documents: [text(opens('bank')), `${text(bank)}${text(externalService('shop/other'))}`], told: [] },
    { what: 'not a service beside an alias of nothing', documents: [text(opens('bank')), text(bank).replace('spec:', 'spce: *nothing\nspec:')], told: [] },
    { what: 'not a service in a file that is nested too deep', documents: [text(opens('bank')), `${text(bank)}  more: ${'['.repeat(99)}\n`], told: [] },
    { what: 'a service that a broken document of another kind mentions', documents: [text(opens('nowhere')), broken(policy('shop/q', { subjects: [{ namespace: 'shop' }], to: [{ service: 'nowhere' }] }))], told: [unknownService] },
    { what: 'a service of the namespace that the faulty one of this name is not of', documents: [text(opens('bank')), misspelt(externalService('other/bank'))], told: [unknownService] },
    { what: 'not the ports of an applied service that a faulty document replaces', held: hold(nothing, bank), documents: [text(opens('bank', [9])), misspelt(bank)], told: [] },
    { what: 'the ports of an applied service', held: hold(nothing, bank), documents: [text(opens('bank', [9])), misspelt(six)], told: ['policy-port-unknown EgressPolicy shop/p spec.to.0.ports.0'] },
    { what: 'not a service that is there twice, saying different things', documents: [text(opens('bank', [9])), text(bank), text(externalService('shop/bank', { ports: [{ port: 9 }] }))], told: [] },
    { what: 'the ports of a service that is there twice in the same words', documents: [text(opens('bank', [9])), text(bank), text(bank)], told: ['policy-port-unknown EgressPolicy shop/p spec.to.0.ports.0'] },
    { what: 'what is wrong with the first of two', documents: [text(opens('nowhere')), text(opens('bank'))], told: [unknownService] },
    { what: 'not an applied object that a faulty document replaces', held: hold(nothing, gateway('a'), bank), documents: [text(gateway('b', { listen: [{ address: '127.0.0.1', port: 2 }] })), misspelt(bank)], told: [] },
    { what: 'not a faulty pool', documents: [text(bound('b')), text(eu).replace('10.0.0.9', '10.0.0.256')], told: [] },
    { what: 'not a pool that a faulty object of the older form may bring', documents: [text(bound('b', { pool: 'older-192.0.2.7' })), older('old', '192.0.2.7', ', more: 1')], told: [] },
    { what: 'an address outside every pool, beside a broken pool of others', documents: [text(outside), broken(eu)], told: [outsidePools] },
    { what: 'not an address that a broken pool has', documents: [text(outside), broken(pool('us', ['192.0.2.0/28']))], told: [] },
    { what: 'an address outside every pool, beside a binding to it whose kind is misspelt', documents: [text(outside), ofKind(bound('b', { addresses: ['192.0.2.7'] }), 'SnatBindng')], told: [outsidePools] },
    { what: 'not an address outside every pool beside one whose addresses cannot be read', documents: [text(outside), text(eu).replace('10.0.0.9', '10.0.0.256')], told: [] },
    { what: 'an address outside every pool, beside a broken document that mentions it', documents: [text(outside), broken(externalService('shop/other', { addresses: ['192.0.2.7'] }))], told: [outsidePools] },
    { what: 'not an address outside every pool beside a file that was not read to its end', documents: [text(outside), `# ${'x'.repeat(17 << 20)}\n`], told: [] },
    { what: 'not an identity without an address whose binding is faulty', documents: [text(bank), text(opens('bank')), text(eu), misspelt(bound('b'))], told: [] },
    { what: 'an identity whose address is of the wrong family', documents: [text(six), text(opens('six')), text(eu), text(bound('b')), misspelt(binding('other/b', { subject: { namespace: 'other' }, pool: 'eu' }))], told: ['snat-family-mismatch SnatBinding shop/b spec'] },
    { what: 'not an identity whose address is of the wrong family where a faulty binding speaks of it too', documents: [text(six), text(opens('six')), text(eu), text(bound('b')), misspelt(bound('c', { addresses: ['2001:db8::9'], targets: [{ service: 'six' }] }))], told: [] },
    { what: 'two bindings that are equally specific', documents: [text(eu), text(bound('a')), text(bound('b')), misspelt(bound('c'))], told: ['binding-conflict SnatBinding shop/a spec', 'binding-conflict SnatBinding shop/b spec'] },
    { what: 'not an applied binding as specific as another, where a faulty document replaces it', held: hold(nothing, eu, bound('a')), documents: [text(bound('b')), misspelt(bound('a'))], told: [] },
    { what: 'two bindings of a Kubernetes Service that are equally specific', held: hold(nothing, eu, web), documents: [text(ofWeb('a')), text(ofWeb('b'))], told: ['binding-conflict SnatBinding shop/a spec', 'binding-conflict SnatBinding shop/b spec'] },
    { what: 'not two bindings of a Kubernetes Service where a faulty binding may speak of its account', held: hold(nothing, eu, web), documents: [text(ofWeb('a')), text(ofWeb('b')), misspelt(binding('shop/c', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'eu' }))], told: [] },
    { what: 'not two bindings of a Kubernetes Service whose document is faulty', held: hold(nothing, eu, web), documents: [text(ofWeb('a')), text(ofWeb('b')), broken(web)], told: [] },
    { what: 'not two bindings to one port by number and name where a faulty document gives it another', held: hold(nothing, eu, bank), documents: [text(bound('a', { pool: 'eu', targets: [{ service: 'bank', ports: [443] }] })), text(bound('b', { pool: 'eu', targets: [{ service: 'bank', ports: ['tcp-443'] }] })), misspelt(bank)], told: [] },
    { what: 'not a limit on CONNECT without a port for it where a faulty document may have one', held: hold(nothing, bank), documents: [text(policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }], constraints: { connectAuthorities: ['a.example:1'] } })), misspelt(bank)], told: [] },
    { what: 'not an address that an applied pool excludes and a faulty document may not', held: hold(nothing, pool('eu', ['10.0.0.1-10.0.0.9'], { exclude: ['10.0.0.1'] })), documents: [text(taking('one')), misspelt(eu)], told: [] },
    { what: 'not an address that another has where a faulty document may share it', held: hold(nothing, eu, taking('one')), documents: [text(taking('two')), misspelt(shared)], told: [] },
    { what: 'not an address that another has where a faulty document may give his binding to somebody else', held: hold(nothing, eu, binding('net/b', { subject: { namespace: 'one' }, addresses: ['10.0.0.1'] })), documents: [text(taking('two')), misspelt(binding('net/b', { subject: { namespace: 'three' }, pool: 'eu' }))], told: [] },
    { what: 'not an address in quarantine where a faulty document may share it', held: { objects: [eu], assignments: [{ pool: 'gone', holder: 'ns/one' as Holder, family: 'ipv4', address: '10.0.0.1' as IpAddress, ports: snatPorts, releasedAt: 0 }] }, documents: [text(taking('two')), misspelt(shared)], told: [] },
    { what: 'not a lost address where its pool is there twice', held: hold(nothing, eu, bound('b')), documents: [text(pool('eu', ['10.0.0.2'])), text(eu)], told: [] },
    { what: 'not overlapping pools of which one is there twice, once by the older form', documents: [text(pool('older-10.0.0.1', ['10.0.0.5'])), text(pool('us', ['10.0.0.5'])), older('old', '10.0.0.1')], told: [] },
    { what: 'an address of the wrong family', held: hold(nothing, eu, six, opens('six')), documents: [text(bound('b'))], told: [wrongFamily] },
    { what: 'not an address of the wrong family for a service whose document is faulty', held: hold(nothing, eu, six, opens('six')), documents: [text(bound('b')), misspelt(externalService('shop/six'))], told: [] },
    { what: 'not an address of the wrong family out of a pool whose document is faulty', held: hold(nothing, eu, six, opens('six')), documents: [text(bound('b')), misspelt(ofSix)], told: [] },
    { what: 'not an address of the wrong family by a policy whose document is faulty', held: hold(nothing, eu, six, opens('six')), documents: [text(bound('b')), misspelt(opens('other'))], told: [] },
    { what: 'not an address of the wrong family to a namespace whose labels are faulty', held: hold(nothing, eu, six, namespace('shop', { tier: 'web' }), opensTo({ namespaceSelector: { matchLabels: { tier: 'web' } } }, 'six')), documents: [text(bound('b')), broken(namespace('shop', { tier: 'db' }))], told: [] },
    { what: 'not an address of the wrong family to a Kubernetes Service whose document is faulty', held: hold(nothing, eu, six, web, opensTo({ service: { name: 'web' } }, 'six')), documents: [text(bound('b')), broken(kubernetesService('shop/web', 'desk'))], told: [] },
    { what: 'two services of one host', held: hold(nothing, gate, known('a')), documents: [text(known('b'))], told: ['server-name-conflict ExternalService shop/b spec.serverNames.0'] },
    { what: 'not two services of one host where the document of the other is faulty', held: hold(nothing, gate, known('a')), documents: [text(known('b')), misspelt(externalService('shop/a'))], told: [] },
    { what: 'not two services of one host where a faulty gateway may take them apart', held: hold(nothing, gate, known('a')), documents: [text(known('b')), misspelt(gateway('other'))], told: [] },
    { what: 'not two services of one host where a faulty policy may limit CONNECT at one of them', held: hold(nothing, gate, known('a')), documents: [text(known('b', 'HTTPConnect')), misspelt(opens('b'))], told: [] },
    { what: 'two services of one host, whatever a faulty policy says of TCP', held: hold(nothing, gate, known('a')), documents: [text(known('b')), misspelt(opens('b'))], told: ['server-name-conflict ExternalService shop/b spec.serverNames.0'] },
    { what: 'two services of one listener', held: hold(nothing, gate, listening('a')), documents: [text(listening('b'))], told: ['listener-conflict ExternalService shop/b spec.ports.0.listen'] },
    { what: 'not two services of one listener where the document of the other is faulty', held: hold(nothing, gate, listening('a')), documents: [text(listening('b')), misspelt(externalService('shop/a'))], told: [] },
    { what: 'not two services of one listener where a faulty gateway may take them apart', held: hold(nothing, gate, listening('a')), documents: [text(listening('b')), misspelt(gateway('other'))], told: [] },
    { what: 'not a service of one of two gateways where a faulty document may put one behind the other', held: hold(nothing, gate, bank), documents: [text(gateway('other', { listen: [{ address: '127.0.0.1', port: 2 }] })), misspelt(gateway('gate', { class: 'envoy', handOver: 'other' }))], told: [] },
    { what: 'not an empty pool where a faulty binding may have a part of it', documents: [text(pool('eu', ['10.0.0.1'])), text(bound('a')), text(binding('other/b', { subject: { namespace: 'other' }, pool: 'eu' })), misspelt(bound('c'))], told: [] },
    { what: 'two services at one place of an agent', held: hold(nothing, eu, bank, opens('bank')), documents: [text(bound('b')), text(externalService('shop/till')), text(opens('till')).replace('name: p', 'name: q')], told: ['agent-listener-conflict ExternalService shop/till spec.agentAddress'] },
    { what: 'not two services at one place of an agent where the document of the other is faulty', held: hold(nothing, eu, bank, opens('bank')), documents: [text(bound('b')), text(externalService('shop/till')), text(opens('till')).replace('name: p', 'name: q'), misspelt(bank)], told: [] },
    { what: 'not two services at one place of an agent by a policy whose document is faulty', held: hold(nothing, eu, bank, opens('bank')), documents: [text(bound('b')), text(externalService('shop/till')), text(opens('till')).replace('name: p', 'name: q'), misspelt(opens('other'))], told: [] },
    { what: 'not two gateways of one identity where the document of the other is faulty', held: hold(nothing, gateway('a', { identity: 'spiffe://cluster.local/ns/n/sa/g' })), documents: [text(gateway('b', { identity: 'spiffe://cluster.local/ns/n/sa/g' })), misspelt(gateway('a'))], told: [] },
  ];
  for (const { what, held = nothing, documents, told } of cases) {
    it(`name ${what}`, () => assert.deepEqual(planFaultsOf(held, ...documents), told));
  }
});

// Any objects, and any way in which a document may be faulty.

const namespaces = fc.constantFrom('a', 'b');
const services = fc.constantFrom('s1', 's2');
const addresses = ['10.0.0.1', '10.0.0.2', '10.0.0.4', '2001:db8::1', '2001:db8::2'];
const someTargets = fc.array(
  fc.record({ service: services, namespace: namespaces, ports: fc.option(fc.constantFrom<(string | number)[]>([80], ['x'], [80, 'x']), { nil: undefined }) }).map(({ ports, ...target }) => ({ ...target, ...(ports !== undefined && { ports }) })),
  { minLength: 1, maxLength: 2 },
);
const someOwner = fc.oneof(
  namespaces.map((name) => ({ namespace: name })),
  fc.tuple(namespaces, fc.constantFrom('x', 'y')).map(([name, serviceAccount]) => ({ namespace: name, serviceAccount })),
  namespaces.map((name) => ({ service: { namespace: name, name: 'k' } })),
);
const someObject: fc.Arbitrary<DesiredObject> = fc.oneof(
  fc
    .record({ name: fc.constantFrom('g1', 'g2'), port: fc.constantFrom(1, 2), identity: fc.constantFrom('g1', 'g2'), gatewayClass: fc.constantFrom('sallyport', 'envoy' as const), handOver: fc.option(fc.constantFrom('g1', 'g2'), { nil: undefined }) })
    .map(({ name, port, identity, gatewayClass, handOver }) => gateway(name, { class: gatewayClass, listen: [{ address: '127.0.0.1', port }], identity: `spiffe://cluster.local/ns/n/sa/${identity}`, ...(gatewayClass === 'envoy' && handOver !== undefined && { handOver }) })),
  fc
    .record({ namespaceName: namespaces, name: services, to: fc.constantFrom('198.51.100.7', '2001:db8:1::7'), port: fc.constantFrom(80, 81), protocol: fc.constantFrom('TCP' as const, 'HTTPConnect' as const), listen: fc.option(fc.constantFrom(1, 3), { nil: undefined }), gatewayName: fc.option(fc.constantFrom('g1', 'g2'), { nil: undefined }), host: fc.option(fc.constant('h.example'), { nil: undefined }) })
    .map(({ namespaceName, name, to, port, protocol, listen, gatewayName, host }) =>
      externalService(`${namespaceName}/${name}`, { addresses: [to], ports: [{ name: 'x', port, protocol, ...(listen !== undefined && { listen: { port: listen } }) }], ...(gatewayName !== undefined && { gateway: gatewayName }), ...(host !== undefined && { serverNames: [host] }) }),
    ),
  fc.record({ name: fc.constantFrom('p1', 'p2'), ranges: fc.uniqueArray(fc.constantFrom('10.0.0.1', '10.0.0.2-10.0.0.3', '2001:db8::/127', '10.0.0.3-10.0.0.4'), { minLength: 1, maxLength: 2 }), exclude: fc.subarray(['10.0.0.2']), shared: fc.boolean() }).map(({ name, ranges, exclude, shared }) =>
    pool(name, ranges, { exclude, ...(shared && { sharing: { mode: 'PortBlocks', blockSize: 32_000 } }) }),
  ),
  {
    weight: 3,
    arbitrary: fc
      .record({ namespaceName: namespaces, name: fc.constantFrom('b1', 'b2', 'b3'), subject: someOwner, source: fc.oneof(fc.constantFrom('p1', 'p2').map((name) => ({ pool: name })), fc.constantFrom(...addresses).map((address) => ({ addresses: [address] }))), targets: fc.option(someTargets, { nil: undefined }) })
      .map(({ namespaceName, name, subject, source, targets }) => binding(`${namespaceName}/${name}`, { subject, ...source, ...(targets !== undefined && { targets }) })),
  },
  {
    weight: 2,
    arbitrary: fc
      .record({ namespaceName: namespaces, name: fc.constantFrom('q1', 'q2'), subject: fc.oneof(someOwner, fc.constant({ namespaceSelector: { matchLabels: { tier: 'web' } } })), to: someTargets, limited: fc.boolean() })
      .map(({ namespaceName, name, subject, to, limited }) => policy(`${namespaceName}/${name}`, { subjects: [subject], to, ...(limited && { constraints: { connectAuthorities: ['example.com:443'] } }) })),
  },
  fc.tuple(namespaces, fc.constantFrom('web', 'db')).map(([name, tier]) => namespace(name, { tier })),
  fc.tuple(namespaces, fc.constantFrom(undefined, 'x', 'x, y')).map(([name, accounts]) => kubernetesService(`${name}/k`, accounts)),
);
/** So that most of what objects name is there. */
const ground = hold(
  nothing,
  gateway('g1', { listen: [{ address: '127.0.0.1', port: 1 }] }),
  pool('p1', ['10.0.0.1', '10.0.0.2-10.0.0.3', '2001:db8::/127']),
  ...['a/s1', 'a/s2', 'b/s1', 'b/s2'].map((name, index) => externalService(name, { ports: [{ name: 'x', port: 80 + index }] })),
  kubernetesService('a/k', 'x'),
  namespace('b', { tier: 'web' }),
);
const someObjects = fc.uniqueArray(someObject, { maxLength: 12, selector: (object) => describeRef(refOf(object)) });

/** One mistake at one line of a document: which line, and what is done to it. */
const someMistake = fc.record({
  line: fc.nat(),
  mistake: fc.constantFrom<(line: string) => string>(
    () => '',
    (line) => `${line} [\n`,
    (line) => line.replace(/(\w+):/, 'x$1:') + '\n',
    (line) => line.replace(/(\w+): .*/, '$1: {}') + '\n',
    (line) => line.replace(':', '') + '\n',
    (line) => `${line}\n${line}\n`,
  ),
});

/** The document with a mistake, where that is a fault. */
function mistaken(document: string, { line, mistake }: { readonly line: number; readonly mistake: (line: string) => string }): string | undefined {
  const lines = document.trimEnd().split('\n');
  const at = line % lines.length;
  const result = lines.map((each, index) => (index === at ? mistake(each) : `${each}\n`)).join('');
  return parseManifests([{ file: 'a.yaml', text: result }]).faults().length === 0 ? undefined : result;
}

/** Faults that hide others: whoever gets no address is told that only; and where pools overlap, an address is taken to be of either. */
const hiding: readonly { readonly by: readonly string[]; readonly hidden: readonly string[] }[] = [
  { by: ['address-excluded', 'address-held', 'address-in-quarantine', 'address-outside-pools', 'pool-exhausted'], hidden: ['agent-listener-conflict', 'snat-family-mismatch'] },
  { by: ['pools-overlap'], hidden: ['address-excluded', 'address-held', 'address-in-quarantine'] },
];
const codeOf = (fault: string) => fault.split(' ')[0]!;

describe('faults of an input that cannot be read in parts', () => {
  it('are all still there once those parts are mended, but for their own', () => {
    let told = 0;
    fc.assert(
      fc.property(someObjects, someObjects, fc.array(fc.tuple(fc.nat(), someMistake), { minLength: 1, maxLength: 3 }), (before, objects, mistakes) => {
        fc.pre(objects.length > 0);
        const held = hold(ground, ...before);
        const documents = objects.map(renderObject);
        const faulty = [...documents];
        for (const [index, mistake] of mistakes) {
          const at = index % documents.length;
          faulty[at] = mistaken(documents[at]!, mistake) ?? faulty[at]!;
        }
        const mended = new Set(planFaultsOf(held, ...documents));
        const mayHide = hiding.flatMap(({ by, hidden }) => ([...mended].some((fault) => by.includes(codeOf(fault))) ? hidden : []));
        for (const fault of planFaultsOf(held, ...faulty)) {
          assert.ok(mended.has(fault) || mayHide.includes(codeOf(fault)), `${fault} is no fault of those there are: ${[...mended].join(', ')}`);
          told += 1;
        }
      }),
      { numRuns: 200 },
    );
    assert.ok(told > 100, `too few faults to mean anything: ${told}`);
  });

  const elsewhere = { subject: { namespace: 'elsewhere' } };
  for (const [what, document, mayHide] of [
    ['service', misspelt(externalService('elsewhere/other')), []],
    ['policy', misspelt(policy('elsewhere/other', { subjects: [{ namespace: 'elsewhere' }], to: [{ service: 'other' }] })), ['listener-conflict', 'server-name-conflict']],
    ['pool', misspelt(pool('other', ['192.0.2.0/24'])), []],
    ['binding', misspelt(binding('elsewhere/other', { ...elsewhere, pool: 'other' })), ['pool-exhausted']],
    ['gateway', misspelt(gateway('other')), ['gateway-ambiguous', 'listener-conflict', 'server-name-conflict']],
    ['text', 'nothing: [that, there, is\n', ['gateway-ambiguous', 'listener-conflict', 'pool-exhausted', 'server-name-conflict']],
  ] as const) {
    it(`are the same beside a faulty ${what} that they have nothing to do with${mayHide.length === 0 ? '' : `, but for ${mayHide.join(', ')}`}`, () => {
      fc.assert(
        fc.property(someObjects, someObjects, (before, objects) => {
          const held = hold(ground, ...before);
          const documents = objects.map(renderObject);
          const sure = (faults: readonly string[]) => faults.filter((fault) => !(mayHide as readonly string[]).includes(codeOf(fault)));
          assert.deepEqual(sure(planFaultsOf(held, document, ...documents)), sure(planFaultsOf(held, ...documents)));
        }),
        { numRuns: 50 },
      );
    });
  }
});
