import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandResult } from './support/command-line.ts';

const head = (kind: string, name: string, version = 'v1alpha1') => `apiVersion: sallyport.dev/${version}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop}\n`;
const clusterHead = (kind: string, name: string) => head(kind, name).replace(', namespace: shop', '');
const documents = (...texts: readonly string[]) => texts.join('---\n');
const service = (name: string, spec: string) => `${head('ExternalService', name)}spec: {${spec}}\n`;
const pool = (name: string, addresses: string) => `${clusterHead('SnatPool', name)}spec: {addresses: [${addresses}]}\n`;
const binding = (name: string, namespace: string, spec: string) => `${head('SnatBinding', name)}spec: {subject: {namespace: ${namespace}}, ${spec}}\n`;
const policy = (name: string, ...services: readonly string[]) => `${head('EgressPolicy', name)}spec: {subjects: [{namespace: six}], to: [${services.map((each) => `{service: ${each}}`).join(', ')}]}\n`;

/** One of every kind of mistake, over several files. Documents have five lines, the line that parts them among them. */
const input = {
  'addresses.yaml': documents(
    pool('eu', '10.4.0.1-10.4.0.9'),
    pool('us', '10.4.0.9-10.4.0.20'),
    pool('typo', '10.5.0.1').replace('addresses', 'adresses'),
    binding('outside', 'nobody', 'addresses: [192.0.2.1]'),
    binding('first', 'one', 'addresses: [10.4.0.1]'),
    binding('second', 'two', 'addresses: [10.4.0.1]'),
    binding('third', 'six', 'pool: eu'),
    binding('tie-a', 'tie', 'pool: eu'),
    binding('tie-b', 'tie', 'pool: eu'),
    binding('of-typo', 'typo', 'pool: typo'),
    binding('misspelt', 'other', 'pol: eu'),
  ),
  'policies.yaml': documents(policy('to-nowhere', 'nowhere'), policy('to-faulty', 'low', 'old', 'odd', 'broken', 'partner'), policy('to-six', 'six'), `${head('EgressPolicy', 'no-list')}spec: {subjects: {namespace: six}, to: [{service: six}]}\n`),
  'services.yaml': documents(
    service('low', 'addresses: [10.9.0.1], ports: [{port: 0}, {port: 70000}]'),
    service('six', 'addresses: ["2001:db8::6"], ports: [{port: 80}]'),
    service('secure', 'addresses: [10.9.0.1], ports: [{port: 80}], subjectAltNames: ["spiffe://cluster.local/a?b"]'),
    service('partner', 'adresses: [10.9.0.2], ports: [{port: 80}]'),
    service('odd', 'addresses: [10.9.0.3], ports: [{port: 80}]').replace('ExternalService', 'ExternalServise'),
    service('old', 'addresses: [10.9.0.4], ports: [{port: 80}]').replace('v1alpha1', 'v1'),
    service('twice', 'addresses: [10.9.0.5], ports: [{port: 80}]'),
    service('twice', 'addresses: [10.9.0.6], ports: [{port: 80}]'),
  ),
  'text.yaml': documents(service('broken', 'addresses: [10.9.0.7], ports: [{port: 80}'), 'a: b: c\n'),
};

const expected = [
  'addresses.yaml:9:20 pools-overlap',
  'addresses.yaml:14:8 field-unknown',
  'addresses.yaml:19:50 address-outside-pools',
  'addresses.yaml:29:47 address-held',
  'addresses.yaml:34:1 snat-family-mismatch',
  'addresses.yaml:39:1 binding-conflict',
  'addresses.yaml:44:1 binding-conflict',
  'addresses.yaml:54:37 field-unknown',
  'policies.yaml:4:53 policy-service-unknown',
  'policies.yaml:19:8 type-wrong',
  'services.yaml:4:46 value-out-of-range',
  'services.yaml:4:57 value-out-of-range',
  'services.yaml:14:70 spiffe-id-invalid',
  'services.yaml:19:8 field-unknown',
  'services.yaml:22:7 kind-unknown',
  'services.yaml:26:13 api-version-unknown',
  'services.yaml:38:18 object-duplicate',
  'text.yaml:4:49 yaml-invalid',
  'text.yaml:4:50 yaml-invalid',
  'text.yaml:6:4 yaml-invalid',
];

/** `file:line:column code` of each fault that was told, as long as each has a place. */
const told = ({ err }: CommandResult) => err.split('\n').flatMap((line) => /^\S*?([a-z]+\.yaml:\d+:\d+)(?: .*)?: .*\[([a-z-]+)\]$/.exec(line)?.slice(1).join(' ') ?? []);

describe('an input with every kind of fault', () => {
  let directory: string;
  let server: TestControl;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-faults-'));
    for (const [file, text] of Object.entries(input)) writeFileSync(join(directory, file), text);
    server = await startTestControl();
    await server.apply(documents(`${clusterHead('EgressGateway', 'gate')}spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 15443}]}\n`, service('bank', 'addresses: [10.9.0.9], ports: [{port: 443}]')));
  });
  after(async () => {
    await server.close();
    rmSync(directory, { recursive: true });
  });

  for (const command of ['apply', 'validate'] as const) {
    it(`is told all of them at once, with their places, by ${command}, and changes nothing`, async () => {
      const sallyport = commandLine(join(server.directory, 'admin.sock'));
      const everything = async () => [(await sallyport(['status'])).out, (await sallyport(['get', 'es', '-A', '-o', 'yaml'])).out];
      const before = await everything();
      const result = await sallyport([command, '-f', directory]);
      assert.deepEqual([result.status, result.out], [2, '']);
      assert.deepEqual(told(result), expected);
      assert.match(result.err, new RegExp(`^error: ${expected.length} faults`));
      assert.match(result.err, /hint: did you mean "addresses"\?/);
      assert.deepEqual(await everything(), before);
    });
  }
});
