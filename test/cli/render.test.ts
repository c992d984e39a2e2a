import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nonexistent/socket');
const example = 'manifests/examples/bookinfo-forward-proxy.yaml';

interface Rendered {
  readonly gateway: string;
  readonly resources: readonly { readonly '@type': string; readonly name: string }[];
}

describe('sallyport render', () => {
  it('gives the resources of each gateway as YAML, without a control plane', async () => {
    const { status, out, err } = await sallyport(['render', 'envoy', '-f', example]);
    assert.deepEqual([status, err], [0, '']);
    const [rendered, ...more] = parseAllDocuments(out).map((document) => document.toJS() as Rendered);
    assert.deepEqual([more.length, rendered?.gateway], [0, 'egress-1']);
    assert.deepEqual([...new Set(rendered!.resources.map((resource) => resource['@type'].split('.').at(-1)))].sort(), ['Cluster', 'Listener']);
  });

  it('gives the same as JSON', async () => {
    const yaml = await sallyport(['render', 'envoy', '-f', example]);
    const json = JSON.parse((await sallyport(['render', 'envoy', '-f', example, '-o', 'json'])).out) as { readonly kind: string; readonly items: unknown };
    assert.deepEqual([json.kind, json.items], ['RenderedList', [parseAllDocuments(yaml.out)[0]!.toJS()]]);
  });

  it('says which gateways there are where one is unknown, and names every fault of the manifests', async () => {
    const unknown = await sallyport(['render', 'envoy', '-f', example, '--gateway', 'egress-9']);
    assert.deepEqual([unknown.status, unknown.out, unknown.err], [3, '', 'error: there is no EgressGateway "egress-9"\nhint: there are egress-1\n']);
    const none = await sallyport(['render', 'envoy', '-f', '-'], { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n' });
    assert.equal(none.status, 3);
    const faulty = await sallyport(['render', 'envoy', '-f', '-'], { stdin: 'kind: Nothing\n' });
    assert.equal(faulty.status, 2);
  });
});

describe('sallyport render bigip', () => {
  const gateway = (name: string): string => `apiVersion: sallyport.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: ${name}}\nspec: {class: bigip, listen: [{address: 10.4.0.10, port: 15443}], bigip: {partition: Egress}}\n`;

  it('gives a declaration, and says what has to be on the box before it', async () => {
    const { status, out, err } = await sallyport(['render', 'bigip', '-f', example]);
    const declaration = JSON.parse(out) as Record<string, unknown>;
    assert.deepEqual([status, declaration['class'], declaration['id'], 'sallyport_egress-1' in declaration], [0, 'ADC', 'egress-1', true]);
    assert.equal(err, 'note: to be imported on the box first: the certificate of spiffe://cluster.local/ns/sallyport-system/sa/egress-1 as /Common/sallyport_egress-1.crt, its issuers as /Common/sallyport_egress-1_chain.crt, its key as /Common/sallyport_egress-1.key, the trust bundle as /Common/sallyport_egress-1_ca.crt\n');
    assert.deepEqual((await sallyport(['render', 'bigip', '-f', example, '-o', 'as3'])).out, out);
  });

  it('gives it to CIS as a ConfigMap, as kubectl reads YAML', async () => {
    const [as3, cis] = await Promise.all(['as3', 'cis'].map(async (output) => await sallyport(['render', 'bigip', '-f', example, '-o', output])));
    const { kind, data } = parse(cis!.out, { version: '1.1' }) as { kind: string; data: { template: string } };
    assert.deepEqual([cis!.status, cis!.err, kind, (JSON.parse(data.template) as { declaration: unknown }).declaration], [0, as3!.err, 'ConfigMap', JSON.parse(as3!.out)]);
  });

  it('gives text for tmsh, and says which folder has to be there before it', async () => {
    const { status, out, err } = await sallyport(['render', 'bigip', '-f', example, '-o', 'tmsh']);
    assert.equal(status, 0);
    assert.match(out, /^# Gateway egress-1, revision [0-9a-f]{64}\.\n\nltm node \/sallyport_egress-1\/10\.4\.0\.201 \{\n {4}address 10\.4\.0\.201\n\}\n/);
    assert.match(err, /^note: to be made on the box first: tmsh create auth partition sallyport_egress-1; tmsh create sys folder \/sallyport_egress-1\/shared$/m);
  });

  it('gives one at a time', async () => {
    const several = await sallyport(['render', 'bigip', '-f', '-'], { stdin: [gateway('a'), gateway('b')].join('---\n') });
    assert.deepEqual([several.status, several.out, several.err], [2, '', 'error: several gateways, each of which is told something else\nhint: --gateway a | b\n']);
    const one = await sallyport(['render', 'bigip', '-f', '-', '--gateway', 'b'], { stdin: [gateway('a'), gateway('b')].join('---\n') });
    assert.deepEqual([one.status, Object.keys(JSON.parse(one.out) as object).at(-1)], [0, 'Egress']);
  });

  it('says what of the plan it refuses', async () => {
    const shared = (await readFile(example, 'utf8')).replace(/(kind: SnatPool[^]*?spec:\n)/, '$1  sharing: {mode: PortBlocks, blockSize: 1024}\n');
    const { status, err } = await sallyport(['render', 'bigip', '-f', '-'], { stdin: shared });
    assert.equal(status, 0);
    assert.match(err, /^warning: bookinfo\/bigip-proxy-svc:httpconnect-3128: a BIG-IP cannot keep to ports 1024-2047 of /m);
  });
});

describe('sallyport render firewall', () => {
  const list = async (...args: readonly string[]) => await sallyport(['render', 'firewall', '-f', example, ...args]);
  let directory: string;
  before(async () => (directory = await mkdtemp(join(tmpdir(), 'sallyport-firewall-'))));
  after(async () => await rm(directory, { recursive: true }));

  it('says what has to pass, and why, without a control plane', async () => {
    const { status, out } = await list();
    assert.equal(status, 0);
    assert.deepEqual(out.trim().split('\n')[1]!.split(/ {2,}/), ['gateway', 'tcp', '10.4.0.65:1024-65535', '10.4.0.201:3128', 'bookinfo/bigip-proxy-svc:httpconnect-3128 for bookinfo by bookinfo/bookinfo-to-proxy from bookinfo/bookinfo']);
  });

  it('writes it as firewalls read it', async () => {
    assert.match((await list('-o', 'cisco-asa')).out, /^access-list SALLYPORT-OUT extended permit tcp host 10\.4\.0\.65 range 1024 65535 host 10\.4\.0\.201 eq 3128$/m);
  });

  it('says what has changed since a list that was saved', async () => {
    const saved = join(directory, 'list.json');
    await writeFile(saved, (await list('-o', 'json')).out);
    assert.equal((await list('--since', saved)).out, 'nothing has changed for the firewall\n');
    const moved = await sallyport(['render', 'firewall', '-f', '-', '--since', saved], { stdin: (await readFile(example, 'utf8')).replaceAll('10.4.0.201', '10.4.0.202') });
    assert.deepEqual(moved.out.trim().split('\n').slice(1).map((line) => line.split(/ {2,}/).filter((_, column) => [0, 4].includes(column))), [['add', '10.4.0.202:3128'], ['remove', '10.4.0.201:3128']]);
  });

  it('refuses to compare with what is no such list, and to tell a change as a whole', async () => {
    const other = await list('--since', example);
    assert.deepEqual([other.status, other.out], [2, '']);
    assert.match(other.err, /no allow list .*\n.*-o json/s);
    const asRules = await list('--since', example, '-o', 'csv');
    assert.equal(asRules.status, 2);
  });
});
