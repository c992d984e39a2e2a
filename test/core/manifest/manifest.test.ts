import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { manifestFaultCodes, parseManifests, type ManifestFaultCode } from '../../../src/core/manifest/manifest.ts';
import { describeRef, refOf } from '../../../src/core/desired-state.ts';
import type { Fault } from '../../../src/core/errors.ts';
import { schemas } from '../../../src/core/objects/index.ts';

function faultsOf(...texts: readonly string[]): readonly Fault[] {
  return parseManifests(texts.map((text, index) => ({ file: `${index + 1}.yaml`, text }))).faults();
}

function objectsOf(...texts: readonly string[]) {
  const parsed = parseManifests(texts.map((text, index) => ({ file: `${index + 1}.yaml`, text })));
  assert.deepEqual(parsed.faults(), []);
  return parsed.objects;
}

/** `line:column code message (hint)`. */
function short({ position, code, message, hint }: Fault): string {
  return `${position!.line}:${position!.column} ${code} ${message}${hint === undefined ? '' : ` (${hint})`}`;
}

const head = (kind: string, name = 'a') => `apiVersion: sallyport.dev/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\nspec:\n`;
const service = (spec: string) => `${head('ExternalService')}${spec}`;
const policy = (subjects: string) => `${head('EgressPolicy')}  to: [{service: s}]\n  subjects: ${subjects}`;
const sound = service('  addresses: [10.0.0.1]\n  ports: [{port: 80}]\n');

describe('reading manifests', () => {
  it('reads several documents and files, in their order', () => {
    const objects = objectsOf(`${sound}---\n${head('SnatPool', 'p')}  addresses: [10.0.0.1]\n`, 'apiVersion: v1\nkind: Namespace\nmetadata: {name: n}');
    assert.deepEqual(objects.map(({ object }) => describeRef(refOf(object))), ['ExternalService default/a', 'SnatPool p', 'Namespace n']);
  });

  it('reads JSON, also with tabs', () => {
    const text = JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'n' }, spec: { ports: [] } }, null, '\t');
    assert.deepEqual(objectsOf(text).map(({ object }) => object), [{ apiVersion: 'v1', kind: 'Service', metadata: { name: 's', namespace: 'n' } }]);
  });

  it('reads text with a byte order mark and with Windows line ends', () => {
    const objects = objectsOf(`\uFEFF${sound.replaceAll('\n', '\r\n')}`);
    assert.deepEqual(objects[0]!.positionOf(['spec', 'ports', 0, 'port']), { file: '1.yaml', line: 6, column: 18 });
  });

  for (const [what, text] of [
    ['nothing', ''],
    ['comments only', '# nothing\n---\n# here\n---\n'],
    ['null', '~'],
  ] as const) {
    it(`finds no object in ${what}`, () => assert.deepEqual(objectsOf(text), []));
  }

  it('unfolds lists, also lists of lists', () => {
    const [first, second] = objectsOf('apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- apiVersion: v1\n  kind: List\n  items:\n  - apiVersion: v1\n    kind: Namespace\n    metadata: {name: b}\n');
    assert.deepEqual([first!.object.metadata.name, second!.object.metadata.name], ['a', 'b']);
    assert.deepEqual(second!.positionOf(['metadata', 'name']), { file: '1.yaml', line: 10, column: 22 });
  });

  it('follows aliases to the value of their anchor', () => {
    const [object] = objectsOf(service('  addresses: &all [10.0.0.1]\n  ports:\n  - {port: &p 80, targetPort: *p}\n'));
    assert.deepEqual(object!.object.kind === 'ExternalService' && object!.object.spec.ports, [{ name: 'tcp-80', port: 80, targetPort: 80, protocol: 'TCP' }]);
  });

  it('gives every port of an external service a name', () => {
    const [object] = objectsOf(service('  addresses: [10.0.0.1]\n  ports: [{port: 8000}, {port: 3128, protocol: HTTPConnect}, {port: 21, name: control, protocol: FTP}]\n'));
    assert.deepEqual(object!.object.kind === 'ExternalService' && object!.object.spec.ports.map(({ name }) => name), ['tcp-8000', 'httpconnect-3128', 'control']);
  });

  it('ignores what a Kubernetes API server adds', () => {
    const [object] = objectsOf(`${sound.replace('{name: a}', '{name: a, uid: x, resourceVersion: "7", generation: 2, managedFields: [{}]}')}status: {anything: [1]}\n`);
    assert.deepEqual(object!.object, objectsOf(sound)[0]!.object);
  });

  it('keeps to YAML 1.2, where "yes" and "no" are text', () => {
    const [object] = objectsOf('%YAML 1.1\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: no, labels: {a: yes}}');
    assert.deepEqual(object!.object.metadata, { name: 'no', labels: { a: 'yes' } });
  });
});

describe('positions', () => {
  const [located] = objectsOf(service('  addresses: [10.0.0.1]\n  ports:\n    - port: 80\n      listen:\n        port: 81\n    - &second\n      port: 82\n'));
  for (const [path, line, column] of [
    [['kind'], 2, 7],
    [['spec'], 4, 1],
    [['spec', 'addresses'], 5, 3],
    [['spec', 'addresses', 0], 5, 15],
    [['spec', 'ports'], 6, 3],
    [['spec', 'ports', 0], 7, 7],
    [['spec', 'ports', 0, 'port'], 7, 13],
    [['spec', 'ports', 0, 'listen'], 8, 7],
    [['spec', 'ports', 0, 'listen', 'port'], 9, 15],
    [['spec', 'ports', 0, 'listen', 'address'], 8, 7],
    [['spec', 'ports', 1, 'port'], 11, 13],
    [['spec', 'ports', 7, 'port'], 6, 3],
    [['spec', 'gateway'], 4, 1],
    [['nothing', 'here'], 1, 1],
  ] as const) {
    it(`of ${path.join('.')} is ${line}:${column}`, () => assert.deepEqual(located!.positionOf(path), { file: '1.yaml', line, column }));
  }
});

describe('faults of manifests', () => {
  const cases: readonly (readonly [string, string, readonly string[]])[] = [
    ['YAML that cannot be read', 'a: b: c', ['1:4 yaml-invalid the YAML cannot be read: nested mappings are not allowed in compact mappings']],
    ['a text without its end', 'kind: "Name', ['1:12 yaml-invalid the YAML cannot be read: missing closing "quote']],
    ['a tag', 'kind: !binary aGk=', ['1:7 yaml-invalid the YAML cannot be read: unresolved tag: !binary']],
    ['a tag of YAML itself that JSON has no value for', 'kind: !!binary aGk=', ['1:7 yaml-invalid the YAML cannot be read: unresolved tag: tag:yaml.org,2002:binary']],
    ['a key that is a list', '? [a]\n: b', ['1:3 yaml-invalid a key must be text, not a list, a mapping or an alias']],
    ['an alias without an anchor', 'kind: *a', ['1:7 yaml-invalid alias "*a" has no anchor "&a" before it']],
    ['an alias within its own anchor', 'kind: &a [*a]', ['1:11 yaml-invalid alias "*a" has no anchor "&a" before it']],
    ['a key that is there twice', `${sound}  gateway: a\n  gateway: b\n`, ['8:3 yaml-key-duplicate key "gateway" is there twice (keep one of them)']],
    ['a list as a document', '[1]', ['1:1 document-not-mapping an object must be a mapping, not a list (begin with "apiVersion: sallyport.dev/v1alpha1" and "kind:")']],
    ['text as a document', 'hello', ['1:1 document-not-mapping an object must be a mapping, not a single value (begin with "apiVersion: sallyport.dev/v1alpha1" and "kind:")']],
    ['a list of objects that holds none', 'apiVersion: v1\nkind: List\nitems: [7]', ['3:9 document-not-mapping an object must be a mapping, not a single value (begin with "apiVersion: sallyport.dev/v1alpha1" and "kind:")']],
    ['a list of objects without items', 'apiVersion: v1\nkind: List\nitems: 7', ['3:8 type-wrong items must be a list']],
    ['a misspelt kind', head('EgresPolicy'), ['2:7 kind-unknown kind "EgresPolicy" is not known (did you mean "EgressPolicy"? the kinds are EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding, SnatPool, WorkloadEntry)']],
    ['a kind in the wrong case', head('externalservice'), ['2:7 kind-unknown kind "externalservice" is not known (did you mean "ExternalService"? the kinds are EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding, SnatPool, WorkloadEntry)']],
    ['a foreign kind', 'apiVersion: apps/v1\nkind: Deployment', ['2:7 kind-unknown kind "Deployment" is not known (the kinds are EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding, SnatPool, WorkloadEntry)']],
    ['a kind that objects have anyway', 'apiVersion: v1\nkind: constructor', ['2:7 kind-unknown kind "constructor" is not known (the kinds are EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding, SnatPool, WorkloadEntry)']],
    ['no kind and no version', 'metadata: {name: a}', ['1:1 field-missing the object lacks the field "kind" (the kinds are EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding, SnatPool, WorkloadEntry)', '1:1 field-missing the object lacks the field "apiVersion"']],
    ['a wrong version', sound.replace('v1alpha1', 'v1'), ['1:13 api-version-unknown apiVersion must be "sallyport.dev/v1alpha1", not "sallyport.dev/v1"']],
    ['a missing version', sound.slice(sound.indexOf('\n') + 1), ['1:1 field-missing the object lacks the field "apiVersion"']],
    ['no metadata', 'apiVersion: v1\nkind: Namespace', ['1:1 field-missing the object lacks the field "metadata"']],
    ['an empty mapping', 'apiVersion: v1\nkind: Namespace\nmetadata:', ['3:1 type-wrong metadata must be a mapping, not empty']],
    ['a misspelt field', `${sound}  gatway: g\n`, ['7:3 field-unknown spec has an unknown field "gatway" (did you mean "gateway"?)']],
    ['an unknown field', `${sound}  zzz: 1\n`, ['7:3 field-unknown spec has an unknown field "zzz" (the fields here are "addresses", "hosts", "ports", "reverse", "gateway", "serverNames", "subjectAltNames" and "agentAddress")']],
    ['a field named like a prototype', `${sound}  __proto__: {a: 1}\n`, ['7:3 field-unknown spec has an unknown field "__proto__" (the fields here are "addresses", "hosts", "ports", "reverse", "gateway", "serverNames", "subjectAltNames" and "agentAddress")']],
    ['a misspelt required field, once', service('  addresses: [10.0.0.1]\n  prots: [{port: 80}]\n'), ['6:3 field-unknown spec has an unknown field "prots" (did you mean "ports"?)']],
    ['port 0 and port 70000', service('  addresses: [10.0.0.1]\n  ports: [{port: 0}, {port: 70000}]\n'), ['6:18 value-out-of-range spec.ports[0].port must be from 1 to 65535, not 0', '6:29 value-out-of-range spec.ports[1].port must be from 1 to 65535, not 70000']],
    ['a port as text', service('  addresses: [10.0.0.1]\n  ports: [{port: "80"}]\n'), ['6:18 type-wrong spec.ports[0].port must be a whole number from 1 to 65535, not "80"']],
    ['an unknown protocol', service('  addresses: [10.0.0.1]\n  ports: [{port: 80, protocol: tcp}]\n'), ['6:32 value-unknown spec.ports[0].protocol must be "TCP", "HTTPConnect", "FTP", "FTPS" or "UDP", not "tcp" (did you mean "TCP"?)']],
    ['a port that is there twice, beside a faulty one', service('  addresses: [10.0.0.1]\n  ports: [{port: 80}, {port: x}, {port: 80, name: b}]\n'), ['6:30 type-wrong spec.ports[1].port must be a whole number from 1 to 65535, not "x"', '6:41 port-duplicate spec.ports[2].port: TCP port 80 is already taken by entry 1 of the list']],
    ['a UDP port that is there twice, beside the TCP port of its number', service('  addresses: [10.0.0.1]\n  ports: [{port: 53, protocol: UDP}, {port: 53}, {port: 53, protocol: UDP, name: b}]\n'), ['6:57 port-duplicate spec.ports[2].port: UDP port 53 is already taken by entry 1 of the list']],
    ['a port name that is there twice, once by default', service('  addresses: [10.0.0.1]\n  ports: [{port: 80}, {port: 81, name: tcp-80}]\n'), ['6:40 port-name-duplicate spec.ports[1].name: port name "tcp-80" is already taken by entry 1 of the list']],
    ['neither addresses nor hosts', service('  ports: [{port: 80}]\n'), ['4:1 field-missing spec: needs either "addresses" or "hosts"']],
    ['a misspelt field of which one must be there, once', service('  adresses: [10.0.0.1]\n  ports: [{port: 80}]\n'), ['5:3 field-unknown spec has an unknown field "adresses" (did you mean "addresses"?)']],
    ['neither addresses nor hosts, beside a faulty field', service('  ports: [{port: x}]\n'), ['4:1 field-missing spec: needs either "addresses" or "hosts"', '5:18 type-wrong spec.ports[0].port must be a whole number from 1 to 65535, not "x"']],
    ['options of a protocol that the port does not speak', service('  addresses: [10.0.0.1]\n  ports: [{port: 80, ftp: {dataMode: Active}}]\n'), ['6:22 fields-exclusive spec.ports[0].ftp: it goes with protocol FTP or FTPS, not TCP']],
    ['both addresses and hosts, one of them faulty', service('  ports: [{port: 80}]\n  addresses: [300.0.0.1]\n  hosts: [a.example]\n'), ['4:1 fields-exclusive spec: takes "addresses" or "hosts", not both', '6:15 address-invalid spec.addresses[0]: "300.0.0.1" is not an IPv4 or IPv6 address']],
    ['an empty list', service('  addresses: []\n  ports: [{port: 80}]\n'), ['5:3 value-out-of-range spec.addresses must have at least 1 entry, not 0']],
    ['a SPIFFE ID with a query', `${sound}  subjectAltNames: ["spiffe://td/a?b"]\n`, ['7:21 spiffe-id-invalid spec.subjectAltNames[0]: "spiffe://td/a?b" has a query, which a SPIFFE ID must not have']],
    ['a number where text is due', sound.replace('{name: a}', '{name: a, labels: {x: 1}}'), ['3:33 type-wrong metadata.labels.x must be text, not 1 (put it in quotes: "1")']],
    ['a label that is too long', sound.replace('{name: a}', `{name: a, labels: {x: ${'y'.repeat(64)}}}`), ['3:33 value-out-of-range metadata.labels.x must have at most 63 characters, not 64']],
    ['a label key that is too long', sound.replace('{name: a}', `{name: a, labels: {${'y'.repeat(318)}: x}}`), [`3:30 value-invalid metadata.labels["${'y'.repeat(64)}"...]: its key must have at most 317 characters`]],
    ['a name that is no DNS name', sound.replace('{name: a}', '{name: A_b}'), ['3:18 value-invalid metadata.name must be a lower-case DNS name, not "A_b"']],
    ['a host that is an address', service('  hosts: [10.0.0.1]\n  ports: [{port: 80}]\n'), ['5:11 value-invalid spec.hosts[0] must be a host name, not an address']],
    ['a time span without a unit', `${head('SnatPool')}  addresses: [10.0.0.1]\n  quarantine: "5"\n`, ['6:15 duration-invalid spec.quarantine: "5" is not a time span such as "30s", "5m", "24h" or "7d", of at most ten years']],
    ['a range with host bits', `${head('SnatPool')}  addresses: [10.0.0.1/8]\n`, ['5:15 address-invalid spec.addresses[0]: "10.0.0.1/8" has host bits set; the block is 10.0.0.0/8']],
    ['an unknown mode', `${head('SnatPool')}  addresses: [10.0.0.1]\n  sharing: {mode: exclusive}\n`, ['6:19 value-unknown spec.sharing.mode must be "Exclusive" or "PortBlocks", not "exclusive" (did you mean "Exclusive"?)']],
    ['a missing mode', `${head('SnatPool')}  addresses: [10.0.0.1]\n  sharing: {blockSize: 64}\n`, ['6:3 field-missing spec.sharing lacks the field "mode"']],
    ['a field of another mode', `${head('SnatPool')}  addresses: [10.0.0.1]\n  sharing: {mode: Exclusive, blockSize: 64}\n`, ['6:30 fields-exclusive spec.sharing.blockSize does not go with mode "Exclusive" (keep one or the other)']],
    ['two fixed addresses of one family', `${head('SnatBinding')}  subject: {namespace: n}\n  addresses: [10.0.0.1, 10.0.0.2]\n`, ['6:3 value-invalid spec.addresses must not hold two addresses of one family']],
    ['a timeout of nothing', `${head('EgressGateway')}  class: sallyport\n  listen: [{address: 127.0.0.1, port: 1}]\n  limits: {idleTimeout: 0s}\n`, ['7:25 value-invalid spec.limits.idleTimeout must be from 1ms to 24d']],
    ['a timeout beyond what timers can do', `${head('EgressGateway')}  class: sallyport\n  listen: [{address: 127.0.0.1, port: 1}]\n  limits: {idleTimeout: 25d}\n`, ['7:25 value-invalid spec.limits.idleTimeout must be from 1ms to 24d']],
    ['passive ports that end before they begin', `${head('EgressGateway')}  class: sallyport\n  listen: [{address: 127.0.0.1, port: 1}]\n  ftp: {passivePorts: {first: 2, last: 1}}\n`, ['7:9 value-invalid spec.ftp.passivePorts must not end before it begins']],
    ['a gateway class that there is not', `${head('EgressGateway')}  class: nginx\n  listen: [{address: 127.0.0.1, port: 1}]\n`, ['5:10 value-unknown spec.class must be "sallyport", "envoy", "bigip" or "kernel", not "nginx"']],
    ['what goes with another class', `${head('EgressGateway')}  class: envoy\n  listen: [{address: 127.0.0.1, port: 1}]\n  bigip: {partition: egress}\n  kernel: {interface: eth0}\n`, ['7:3 fields-exclusive spec.bigip: it goes with class bigip, not envoy', '8:3 fields-exclusive spec.kernel: it goes with class kernel, not envoy']],
    ['a partition that is everybody\'s', `${head('EgressGateway')}  class: bigip\n  listen: [{address: 127.0.0.1, port: 1}]\n  bigip: {partition: Common}\n`, ['7:22 value-invalid spec.bigip.partition must not be Common, which is not ours']],
    ['listeners of a kernel, and no interface', `${head('EgressGateway')}  class: kernel\n  listen: [{address: 127.0.0.1, port: 1}]\n`, ['4:1 value-invalid spec.kernel must name the interface towards the external services', '6:3 fields-exclusive spec.listen: a kernel has no listeners: workloads reach the external services by their own addresses']],
    ['a gateway that nobody can find', `${head('EgressGateway')}  class: sallyport\n`, ['4:1 value-invalid spec.listen must name an address and port at which workloads find it']],
    ['a CONNECT authority without a port', `${policy('[{namespace: n}]')}\n  constraints: {connectAuthorities: [a.example]}\n`, ['7:38 value-invalid spec.constraints.connectAuthorities[0] must be "host:port", "*.domain:port" or "host:*", not "a.example"']],
    ['an ftp path that is relative, and one that is not in its shortest form', `${policy('[{namespace: n}]')}\n  constraints: {ftp: {paths: [outgoing, /ok, /a/]}}\n`, ['7:31 path-invalid spec.constraints.ftp.paths[0]: "outgoing" does not begin with "/" (write the absolute path as the server names it, without a slash at its end, as in "/outgoing")', '7:46 path-invalid spec.constraints.ftp.paths[2]: "/a/" is not in its shortest form, "/a" (write the absolute path as the server names it, without a slash at its end, as in "/outgoing")']],
    ['an ftp limit of nothing', `${policy('[{namespace: n}]')}\n  constraints: {ftp: {maxTransferBytes: 0, maxBytesPerSecond: -1}}\n`, ['7:41 value-out-of-range spec.constraints.ftp.maxTransferBytes must be at least 1, not 0', '7:63 value-out-of-range spec.constraints.ftp.maxBytesPerSecond must be at least 1, not -1']],
    ['an ftp rule that is misspelt', `${policy('[{namespace: n}]')}\n  constraints: {ftp: {readonly: true, unknownCommands: refuse}}\n`, ['7:23 field-unknown spec.constraints.ftp has an unknown field "readonly" (did you mean "readOnly"?)', '7:56 value-unknown spec.constraints.ftp.unknownCommands must be "Refuse" or "Pass", not "refuse" (did you mean "Refuse"?)']],
    ['an ftp user that no command line can hold', `${policy('[{namespace: n}]')}\n  constraints: {ftp: {users: ["a\\nb"]}}\n`, ['7:31 value-invalid spec.constraints.ftp.users[0] must be without control characters, not "a\\nb"']],
    // Subjects are one of several shapes: the fault is about the one that was meant.
    ['a subject that is two things', policy('[{namespace: n, service: {name: s}}]'), ['6:29 fields-exclusive spec.subjects[0].service does not go with namespace "n" (keep one or the other)']],
    ['a misspelt subject', policy('[{namespac: n}]'), ['6:15 field-unknown spec.subjects[0] has an unknown field "namespac" (did you mean "namespace"?)']],
    ['a misspelt field beside a right one', policy('[{namespace: n, serviceAcount: s}]'), ['6:29 field-unknown spec.subjects[0] has an unknown field "serviceAcount" (did you mean "serviceAccount"?)']],
    ['an empty subject', policy('[{}]'), ['6:14 field-missing spec.subjects[0] needs "namespace", "namespaceSelector" or "service"']],
    ['a subject with only a service account', policy('[{serviceAccount: s}]'), ['6:14 field-missing spec.subjects[0] needs "namespace" or "namespaceSelector"']],
    ['a fault deep within a subject', policy('[{service: {name: S}}]'), ['6:31 value-invalid spec.subjects[0].service.name must be a lower-case DNS name, not "S"']],
    ['a subject that is text', policy('[bookinfo]'), ['6:14 type-wrong spec.subjects[0] must be a mapping, not "bookinfo"']],
    ['a selector without labels', policy('[{namespaceSelector: {matchLabels: {}}}]'), ['6:35 value-invalid spec.subjects[0].namespaceSelector.matchLabels must name a label']],
    ['a target port that is neither', `${head('EgressPolicy')}  subjects: [{namespace: n}]\n  to: [{service: s, ports: [true, 0, A]}]\n`, ['6:29 type-wrong spec.to[0].ports[0] must be text or a number, not true', '6:35 value-out-of-range spec.to[0].ports[1] must be from 1 to 65535, not 0', '6:38 value-invalid spec.to[0].ports[2] must be lower-case letters, digits and "-", at most 63, starting and ending with a letter or digit, not "A"']],
  ];
  for (const [what, text, expected] of cases) it(`name ${what}`, () => assert.deepEqual(faultsOf(text).map(short), expected));

  it('name the object and the field', () => {
    const [fault] = faultsOf(service('  addresses: [10.0.0.1]\n  ports: [{port: 0}]\n'));
    assert.deepEqual(fault?.object, { kind: 'ExternalService', namespace: 'default', name: 'a' });
    assert.deepEqual(fault.path, ['spec', 'ports', 0, 'port']);
  });

  it('name both places of an object that is there twice, also across files and when it is faulty', () => {
    const faults = faultsOf(sound, `# second\n${service('  addresses: [10.0.0.1]\n  ports: [{port: 0}]\n')}`);
    assert.deepEqual(faults.map((fault) => [fault.position?.file, short(fault)]), [
      ['2.yaml', '4:18 object-duplicate ExternalService default/a is already there at 1.yaml:3:18 (keep one of them)'],
      ['2.yaml', '7:18 value-out-of-range spec.ports[0].port must be from 1 to 65535, not 0'],
    ]);
  });

  it('tell objects of one name in two namespaces, or of two kinds, apart', () => {
    objectsOf(sound, sound.replace('{name: a}', '{name: a, namespace: b}'), `${head('SnatPool')}  addresses: [10.0.0.1]\n`);
  });

  it('of every document and file come together, in the order of the input', () => {
    const faults = faultsOf(`${head('Foo')}---\na: b: c\n---\n${service('  hosts: 7\n')}`, 'apiVersion: v1\nkind: Namespace\nmetadata: {name: n}', '[]');
    assert.deepEqual(faults.map(({ code, position }) => `${position!.file}:${position!.line} ${code}`), ['1.yaml:2 kind-unknown', '1.yaml:6 yaml-invalid', '1.yaml:11 field-missing', '1.yaml:12 type-wrong', '3.yaml:1 document-not-mapping']);
  });

  it('do not show more of a value than is needed to find it', () => {
    const [fault] = faultsOf(service(`  addresses: ["${'x'.repeat(100_000)}"]\n  ports: [{port: 1}]\n`));
    assert.ok(fault!.message.length < 200, fault!.message);
  });

  it('have codes of the list, which is sorted', () => {
    const seen = new Set(cases.flatMap(([, text]) => faultsOf(text).map(({ code }) => code)));
    assert.deepEqual([...seen].filter((code) => !manifestFaultCodes.includes(code as ManifestFaultCode)), []);
    assert.deepEqual(manifestFaultCodes, manifestFaultCodes.toSorted());
  });

  it('are explained in the reference, each once and in the order of the list', () => {
    const reference = readFileSync(join(import.meta.dirname, '../../../docs/reference/faults.md'), 'utf8');
    const [, section = ''] = /^## Faults of manifests$(.*?)(?=^## |$(?![^]))/ms.exec(reference) ?? [];
    assert.deepEqual([...section.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code), manifestFaultCodes);
  });
});

describe('every kind', () => {
  for (const [kind, schema] of Object.entries(schemas)) {
    it(`${kind} refuses what is not there, and says so by name`, () => {
      const faults = faultsOf(`apiVersion: ${schema.shape.apiVersion.value}\nkind: ${kind}\nmetadata: {nam: a}\n`);
      const lacksSpec = 'spec' in schema.shape ? ['1:1 field-missing the object lacks the field "spec"'] : [];
      assert.deepEqual(faults.map(short), [...lacksSpec, '3:12 field-unknown metadata has an unknown field "nam" (did you mean "name"?)']);
    });
  }
});
