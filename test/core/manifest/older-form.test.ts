import assert from 'node:assert/strict';
import { describeRef, refOf } from '../../../src/core/desired-state.ts';
import { parseManifests, type LocatedObject } from '../../../src/core/manifest/manifest.ts';
import { convertedFromAnnotation } from '../../../src/core/manifest/older-form.ts';
import type { DesiredObject, Kind } from '../../../src/core/objects/index.ts';

const older = (name: string, spec: string) => `apiVersion: externalservice.example.com/v1alpha1
kind: ExternalService
metadata:
  name: ${name}
spec:
${spec}`;
const text = older(
  'db',
  `  targetIP: 192.168.122.139
  sources:
    - service: {namespace: ns1, name: web}
      sourceIP: 192.168.122.200
    - service: {namespace: ns2, name: batch}
      sourceIP: 192.168.122.201
  ports:
    - {protocol: TCP, port: 5432, targetPort: 15432}
    - {port: 8000}
`,
);

function convert(...texts: readonly string[]): readonly LocatedObject[] {
  const parsed = parseManifests(texts.map((each, index) => ({ file: `${index + 1}.yaml`, text: each })));
  assert.deepEqual(parsed.faults(), []);
  return parsed.objects;
}

function faultsOf(...texts: readonly string[]): readonly string[] {
  const parsed = parseManifests(texts.map((each, index) => ({ file: `${index + 1}.yaml`, text: each })));
  return parsed.faults().map(({ code, message, position }) => `${position!.file}:${position!.line}:${position!.column} ${code} ${message}`);
}

function only<K extends Kind>(objects: readonly LocatedObject[], kind: K): Extract<DesiredObject, { kind: K }>[] {
  return objects.map(({ object }) => object).filter((object) => object.kind === kind) as Extract<DesiredObject, { kind: K }>[];
}

describe('the older external service', () => {
  it('leads back nowhere, unless it names the ports for that', () => {
    const [service] = only(convert(text), 'ExternalService');
    assert.equal(service!.spec.reverse, undefined);
    const [both] = only(convert(`${text}  bidirectional:\n    - {port: 80, workloadPort: 8080}\n    - {port: 443}\n`), 'ExternalService');
    assert.deepEqual(both!.spec.reverse, [{ name: 'reverse-80', port: 80, workloadPort: 8080 }, { name: 'reverse-443', port: 443 }]);
    assert.deepEqual(faultsOf(`${text}  bidirectional:\n    - {port: 80}\n    - {port: 80}\n`), ['1.yaml:17:14 port-duplicate spec.bidirectional[1].port: TCP port 80 is already taken by entry 1 of the list']);
  });

  it('becomes a service, a policy, a binding a source and a pool an address', () => {
    assert.deepEqual(convert(text).map(({ object }) => describeRef(refOf(object))), [
      'ExternalService external-services/db',
      'EgressPolicy external-services/db',
      'SnatBinding external-services/db.ns1.web',
      'SnatBinding external-services/db.ns2.batch',
      'SnatPool older-192.168.122.200',
      'SnatPool older-192.168.122.201',
    ]);
  });

  it('is reached at its targetPort, and reaches the server at its port', () => {
    const [service] = only(convert(text), 'ExternalService');
    assert.deepEqual(service!.spec.addresses, ['192.168.122.139']);
    assert.deepEqual(service!.spec.ports, [
      { name: 'tcp-15432', port: 15432, targetPort: 5432, protocol: 'TCP' },
      { name: 'tcp-8000', port: 8000, targetPort: 8000, protocol: 'TCP' },
    ]);
  });

  it('lets its sources in and nobody else, each from its own address and for this service only', () => {
    const objects = convert(text);
    const subjects = [{ namespace: 'ns1', name: 'web' }, { namespace: 'ns2', name: 'batch' }];
    assert.deepEqual(only(objects, 'EgressPolicy').map(({ spec }) => spec), [{ subjects: subjects.map((service) => ({ service })), to: [{ service: 'db' }] }]);
    assert.deepEqual(
      only(objects, 'SnatBinding').map(({ spec }) => spec),
      subjects.map((service, index) => ({ subject: { service }, addresses: [`192.168.122.20${index}`], targets: [{ service: 'db' }] })),
    );
  });

  it('brings a pool of exactly each source address', () => {
    const [pool] = only(convert(text), 'SnatPool');
    assert.deepEqual(pool!.spec.addresses.map(({ first, last }) => [first, last]), [[0xc0a87ac8n, 0xc0a87ac8n]]);
    assert.deepEqual(pool!.spec.sharing, { mode: 'Exclusive' });
  });

  it('marks what was made with where it came from', () => {
    const marks = convert(text).map(({ object }) => object.metadata.annotations?.[convertedFromAnnotation]);
    assert.deepEqual(new Set(marks.slice(0, 4)), new Set(['externalservice.example.com/v1alpha1 external-services/db']));
    assert.deepEqual(new Set(marks.slice(4)), new Set(['externalservice.example.com/v1alpha1']));
  });

  it('keeps a namespace, labels and annotations of its own', () => {
    const [service] = only(convert(text.replace('name: db', 'name: db\n  namespace: data\n  labels: {a: b}\n  annotations: {c: d}')), 'ExternalService');
    assert.equal(service!.metadata.namespace, 'data');
    assert.deepEqual(service!.metadata.labels, { a: 'b' });
    assert.equal(service!.metadata.annotations?.['c'], 'd');
  });

  it('shares the pool of an address with another one that names it', () => {
    const second = text.replace('name: db', 'name: other').replace('192.168.122.201', '192.168.122.202');
    assert.deepEqual(only(convert(text, second), 'SnatPool').map(({ metadata }) => metadata.name), ['older-192.168.122.200', 'older-192.168.122.201', 'older-192.168.122.202']);
    assert.deepEqual(only(convert(second, text), 'SnatPool').find(({ metadata }) => metadata.name.endsWith('200')), only(convert(text), 'SnatPool')[0]);
  });

  it('binds a Service to one address of each family', () => {
    const both = text.replace('namespace: ns2, name: batch', 'namespace: ns1, name: web').replace('192.168.122.201', 'FD00::00c8');
    const objects = convert(both);
    assert.deepEqual(only(objects, 'SnatBinding').map(({ spec }) => spec.addresses), [['192.168.122.200', 'fd00::c8']]);
    assert.deepEqual(only(objects, 'SnatPool').map(({ metadata }) => metadata.name), ['older-192.168.122.200', 'older-fd00-0-0-0-0-0-0-c8']);
    assert.deepEqual(objects[2]!.positionOf(['spec', 'addresses', 1]), { file: '1.yaml', line: 11, column: 17 });
  });

  for (const [address, name] of [
    ['::', 'older-0-0-0-0-0-0-0-0'],
    ['::1', 'older-0-0-0-0-0-0-0-1'],
    ['2001:db8::', 'older-2001-db8-0-0-0-0-0-0'],
    ['1:2:3:4:5:6:7:8', 'older-1-2-3-4-5-6-7-8'],
    ['1:0:0:2::3', 'older-1-0-0-2-0-0-0-3'],
  ] as const) {
    it(`names the pool of ${address} ${name}`, () => {
      const objects = convert(text.replace('192.168.122.200', `"${address}"`));
      assert.equal(only(objects, 'SnatPool')[0]!.metadata.name, name);
    });
  }

  it('takes a source that is there twice once', () => {
    const objects = convert(text.replace('namespace: ns2, name: batch', 'namespace: ns1, name: web').replace('192.168.122.201', '192.168.122.200'));
    assert.deepEqual(only(objects, 'SnatBinding').map(({ spec }) => spec.addresses), [['192.168.122.200']]);
    assert.equal(only(objects, 'EgressPolicy')[0]!.spec.subjects.length, 1);
  });

  it('points back to where it was written', () => {
    const [service, policy, , second, , pool] = convert(text);
    const places = [
      service!.positionOf(['metadata', 'name']),
      service!.positionOf(['spec', 'addresses', 0]),
      service!.positionOf(['spec', 'ports', 0, 'port']),
      service!.positionOf(['spec', 'ports', 0, 'targetPort']),
      service!.positionOf(['spec', 'ports', 1, 'port']),
      service!.positionOf(['spec', 'gateway']),
      policy!.positionOf(['spec', 'subjects', 1]),
      policy!.positionOf(['spec', 'to', 0]),
      second!.positionOf(['spec', 'subject']),
      second!.positionOf(['spec', 'addresses', 0]),
      pool!.positionOf(['spec', 'addresses', 0]),
    ];
    assert.deepEqual(
      places.map(({ line, column }) => `${line}:${column}`),
      ['4:9', '6:13', '13:47', '13:29', '14:14', '5:1', '10:7', '7:3', '10:7', '11:17', '11:17'],
    );
  });

  const bad: readonly (readonly [string, string, readonly string[]])[] = [
    ['a field of our form', `${text}  gateway: g\n`, ['1.yaml:15:3 field-unknown spec has an unknown field "gateway"']],
    ['a wrong version of it', text.replace('v1alpha1', 'v1'), ['1.yaml:1:13 api-version-unknown apiVersion must be "externalservice.example.com/v1alpha1", not "externalservice.example.com/v1"']],
    ['UDP, which it never had', text.replace('TCP', 'UDP'), ['1.yaml:13:18 value-unknown spec.ports[0].protocol must be "TCP", not "UDP"']],
    ['one port twice', text.replace('{port: 8000}', '{port: 1, targetPort: 15432}'), ['1.yaml:14:29 port-duplicate spec.ports[1].targetPort: TCP port 15432 is already taken by entry 1 of the list']],
    ['two addresses of one family for one Service', text.replace('namespace: ns2, name: batch', 'namespace: ns1, name: web'), ['1.yaml:11:17 source-ambiguous spec.sources[1].sourceIP: Service ns1/web cannot leave from 192.168.122.201: it already leaves from 192.168.122.200']],
    ['no sources', text.replace(/ {2}sources:\n(?: {4}.*\n){4}/, '  sources: []\n'), ['1.yaml:7:3 value-out-of-range spec.sources must have at least 1 entry, not 0']],
  ];
  for (const [what, faulty, expected] of bad) it(`refuses ${what}`, () => assert.deepEqual(faultsOf(faulty), expected));

  it('is the same object as one of our form with its name', () => {
    const ours = 'apiVersion: sallyport.dev/v1alpha1\nkind: ExternalService\nmetadata: {name: db, namespace: external-services}\nspec: {addresses: [10.0.0.1], ports: [{port: 1}]}\n';
    assert.deepEqual(faultsOf(text, ours), ['2.yaml:3:18 object-duplicate ExternalService external-services/db is already there at 1.yaml:4:9']);
  });

  it('does not silently replace an object that someone wrote under the name of one it makes', () => {
    const pool = (addresses: string) => `apiVersion: sallyport.dev/v1alpha1\nkind: SnatPool\nmetadata: {name: older-192.168.122.200}\nspec: {addresses: [${addresses}]}\n`;
    assert.deepEqual(faultsOf(pool('10.0.0.1'), text), ['2.yaml:9:17 object-duplicate SnatPool older-192.168.122.200 is already there at 1.yaml:3:18']);
  });
});
