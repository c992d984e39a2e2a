import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nonexistent/socket');
const header = (kind: string, name: string) => `apiVersion: sallyport.dev/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\n`;
const gateway = `${header('EgressGateway', 'gw')}spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 15443}]}\n`;
const service = `${header('ExternalService', 's')}spec: {addresses: [10.9.0.1], ports: [{port: 80}]}\n`;
const pool = (name: string, addresses: string) => `${header('SnatPool', name)}spec: {addresses: [${addresses}]}\n`;
const binding = (name: string, spec: string) => `${header('SnatBinding', name)}spec: {subject: {namespace: ns1}, ${spec}}\n`;
const policy = `${header('EgressPolicy', 'p')}spec: {subjects: [{namespace: ns1}], to: [{service: s}]}\n`;
const documents = (...texts: readonly string[]) => texts.join('---\n');

describe('sallyport validate', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-validate-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** Validates a file of this text; its messages with the file's name in place of its path. */
  async function validate(text: string, ...options: readonly string[]): Promise<{ status: number; out: string; err: string }> {
    const path = join(directory, 'input.yaml');
    writeFileSync(path, text);
    const { status, out, err } = await sallyport(['validate', '-f', path, ...options]);
    return { status, out, err: err.replaceAll(path, 'input.yaml') };
  }

  it('holds tenants to what is theirs only where it is told the root namespace, the older form being of that', async () => {
    const foreign = documents(gateway, service, policy);
    assert.equal((await validate(foreign)).status, 0);
    const { status, err } = await validate(foreign, '--root-namespace', 'sallyport-system');
    assert.equal(status, 2);
    assert.match(err, /^input\.yaml:14:19 EgressPolicy default\/p spec\.subjects\[0\]: .*not about "ns1".* \[subject-foreign\]$/m);
    assert.equal((await validate(foreign, '--root-namespace', 'default')).status, 0);
    assert.match((await sallyport(['validate', '-f', 'manifests/examples/older-external-service.yaml', '--root-namespace', 'top'])).out, /^EgressPolicy top\/my-external-service1 valid$/m);
  });

  it('finds nothing wrong with the examples, and needs no control plane for it', async () => {
    const { status, out, err } = await sallyport(['validate', '-f', 'manifests/examples']);
    assert.equal(status, 0);
    assert.match(out, /^ExternalService payments\/partner-ftp valid$/m);
    for (const line of err.trimEnd().split('\n')) assert.match(line, /^warning: .*(\[subject-service-unknown\]|hint: )/); // the older form names Services that nobody has applied
  });

  for (const [what, text, said] of [
    ['broken YAML', 'apiVersion: sallyport.dev/v1alpha1\nkind: [SnatPool\n', /^input\.yaml:\d+:\d+: .*\[yaml-invalid\]$/m],
    ['an unknown field', service.replace('addresses:', 'adresses:'), /^input\.yaml:4:8 .*"adresses".*\[field-unknown\]\n {2}hint: did you mean "addresses"/m],
    ['a wrong kind', service.replace('kind: ExternalService', 'kind: ExternalServise'), /^input\.yaml:2:7 .*"ExternalServise".*\[kind-unknown\]\n {2}hint: did you mean "ExternalService"/m],
    ['a wrong version', service.replace('v1alpha1', 'v2'), /^input\.yaml:1:13 .*\[api-version-unknown\]$/m],
    ['an object that is there twice', documents(service, service), /^input\.yaml:8:18 .*input\.yaml:3:18 \[object-duplicate\]$/m],
    ['a policy for an unknown service', documents(gateway, policy), /^input\.yaml:\d+:\d+ EgressPolicy default\/p spec\.to\[0\]\.service: .*\[policy-service-unknown\]$/m],
    ['overlapping pools', documents(pool('a', '10.0.0.1-10.0.0.9'), pool('b', '10.0.0.9')), /^input\.yaml:\d+:\d+ SnatPool b? ?.*\[pools?-overlap[a-z]*\]$/m],
    ['an address outside every pool', documents(pool('a', '10.0.0.1'), binding('x', 'addresses: [10.0.0.2]')), /^input\.yaml:9:\d+ SnatBinding default\/x spec\.addresses\[0\]: .*"?10\.0\.0\.2"?.*\[[a-z-]+\]$/m],
    ['an address held by another', documents(pool('a', '10.0.0.1'), binding('x', 'addresses: [10.0.0.1]'), binding('y', 'addresses: [10.0.0.1]').replace('namespace: ns1', 'namespace: ns2')), /^input\.yaml:\d+:\d+ SnatBinding default\/[xy] spec\.addresses\[0\]: .*\[[a-z-]+\]$/m],
    ['IPv4 where the target is IPv6', documents(gateway, service.replace('10.9.0.1', '"2001:db8::1"'), pool('a', '10.0.0.1'), policy, binding('x', 'pool: a')), /^input\.yaml:\d+:\d+ .*IPv[46].*\[[a-z-]+\]$/m],
    ['port 0', service.replace('port: 80', 'port: 0'), /^input\.yaml:4:\d+ ExternalService default\/s spec\.ports\[0\]\.port: .*\[value-out-of-range\]$/m],
    ['port 70000', service.replace('port: 80', 'port: 70000'), /^input\.yaml:4:\d+ ExternalService default\/s spec\.ports\[0\]\.port: .*\[value-out-of-range\]$/m],
    ['a SPIFFE ID with a query', service.replace('ports:', 'subjectAltNames: ["spiffe://cluster.local/a?b"], ports:'), /^input\.yaml:4:\d+ .*spec\.subjectAltNames\[0\]: .*\[spiffe-id-invalid\]$/m],
    ['two bindings that are equally specific', documents(pool('a', '10.0.0.1-10.0.0.9'), binding('x', 'pool: a'), binding('y', 'pool: a')), /^input\.yaml:\d+:\d+ SnatBinding default\/[xy].*default\/[xy].*\[[a-z-]+\]$/m],
    ['10,000 levels', `${'['.repeat(10_000)}${']'.repeat(10_000)}`, /^input\.yaml:1:\d+: .*\[nesting-too-deep\]$/m],
    ['50 MB', '# nothing\n'.repeat(5_000_000), /^input\.yaml:1:1: .*\[file-too-large\]$/m],
  ] as const) {
    it(`names the place of ${what}`, async () => {
      const { status, out, err } = await validate(text);
      assert.deepEqual([status, out], [2, '']);
      assert.match(err, /^error: (a fault|\d+ faults) in the manifests$/m);
      assert.match(err, said);
    });
  }

  it('names the faults of all files at once, a file that is too large among them', async () => {
    writeFileSync(join(directory, 'a.yaml'), service.replace('port: 80', 'port: 0'));
    writeFileSync(join(directory, 'b.yaml'), Buffer.alloc(17 << 20, '#'));
    writeFileSync(join(directory, 'c.yaml'), documents(service.replace('name: s', 'name: s2').replace('ports', 'prots'), pool('p', '1.2.3'), 'just text\n'));
    const { status, err } = await sallyport(['validate', '-f', directory]);
    assert.equal(status, 2);
    const places = err.split('\n').flatMap((line) => /([abc])\.yaml:\d+:\d+.*\[([a-z-]+)\]$/.exec(line)?.slice(1).join(' ') ?? []);
    assert.deepEqual(places, ['a value-out-of-range', 'b file-too-large', 'c field-unknown', 'c address-invalid', 'c document-not-mapping']);
  });

  it('reads no more of endless input than a manifest may have', async () => {
    const { status, err } = await sallyport(['validate', '-f', '-'], { stdin: '#'.repeat(17 << 20) });
    assert.equal(status, 2);
    assert.match(err, /\(standard input\):1:1: .*\[file-too-large\]/);
  });

  it('says which file or folder cannot be read', async () => {
    for (const [path, said] of [['missing.yaml', /missing\.yaml" cannot be read \(ENOENT\)/], ['.', /holds no \.yaml/]] as const) {
      const { status, err } = await sallyport(['validate', '-f', join(directory, path)]);
      assert.equal(status, 2);
      assert.match(err, said);
    }
  });
});
