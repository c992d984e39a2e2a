import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { version } from '../../src/cli/commands/version.ts';
import { parseManifests } from '../../src/core/manifest/manifest.ts';
import { workloadSpiffeId, type TrustDomain } from '../../src/core/spiffe-id.ts';
import { formatExplained } from '../../src/generate/index.ts';
import { withConditions, withRange } from '../../src/install/chart.ts';
import { chartFiles, installObjects, installOptions, type InstallOptions } from '../../src/install/index.ts';
import { requirePeer } from '../support/peers.ts';

const root = new URL('../../', import.meta.url).pathname;
const chart = join(root, 'charts/sallyport');
const schema = installOptions(version);
const written = 'Written by the program: UPDATE_GOLDEN=1 npx mocha test/install/chart.test.ts';
/** A template's is Helm's comment: one that renders to a comment of YAML only would be an object without a kind. */
const headerOf = (file: string): string => (file.startsWith('templates/') ? `{{- /* ${written} */ -}}\n` : file.endsWith('.yaml') ? `# ${written}\n` : '');

interface Named {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const nameOf = ({ kind, metadata: { name, namespace } }: Named): string => `${kind} ${namespace ?? ''}/${name}`;
const byName = (objects: readonly Named[]): Readonly<Record<string, Named>> => Object.fromEntries(objects.map((object) => [nameOf(object), object]));
const parse = (text: string): Readonly<Record<string, Named>> => byName(parseAllDocuments(text).flatMap((document) => (document.contents === null ? [] : [document.toJS() as Named])));

describe('what is installed', () => {
  const path = join(root, 'manifests/install/sallyport.yaml');
  const text = `# ${written}\n${formatExplained(installObjects(schema.parse({})))}`;

  it('stands in manifests/install as the program says it', () => {
    if (process.env['UPDATE_GOLDEN'] === '1') {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
    }
    assert.equal(readFileSync(path, 'utf8'), text, 'UPDATE_GOLDEN=1 writes it again');
  });

  it('is the chart that the program makes, and no file beside', () => {
    const files = new Map([...chartFiles(version)].map(([name, content]) => [name, `${headerOf(name)}${content}`]));
    if (process.env['UPDATE_GOLDEN'] === '1') {
      rmSync(chart, { recursive: true, force: true });
      for (const [name, content] of files) {
        mkdirSync(dirname(join(chart, name)), { recursive: true });
        writeFileSync(join(chart, name), content);
      }
    }
    assert.deepEqual(globSync('**/*.*', { cwd: chart }).sort(), [...files.keys()].sort());
    for (const [name, content] of files) assert.equal(readFileSync(join(chart, name), 'utf8'), content, `${name}: UPDATE_GOLDEN=1 writes it again`);
  });

  it('is explained by a guide whose gateway is the one that is installed', () => {
    const guide = readFileSync(join(root, 'docs/guides/kubernetes.md'), 'utf8');
    const [, text] = /```yaml\n([^]*?)```/.exec(guide)!;
    const parsed = parseManifests([{ file: 'kubernetes.md', text: text! }]);
    assert.deepEqual(parsed.faults(), []);
    const [gateway] = parsed.objects.map(({ object }) => object);
    assert.ok(gateway?.kind === 'EgressGateway');
    const account = installObjects(schema.parse({ gateways: [gateway.metadata.name] })).find(({ object }) => object['kind'] === 'ServiceAccount' && nameOf(object as unknown as Named).endsWith(`/${gateway.metadata.name}`));
    assert.equal(gateway.spec.identity, workloadSpiffeId('cluster.local' as TrustDomain, { namespace: (account?.object as unknown as Named).metadata.namespace!, serviceAccount: gateway.metadata.name }));
  });

  it('lets in at every port of the control plane, sends only there, and means its pods', () => {
    interface Found {
      readonly spec: {
        readonly selector: Readonly<Record<string, unknown>>;
        readonly podSelector: object;
        readonly ports: readonly { readonly targetPort: number }[];
        readonly ingress: readonly { readonly ports: readonly { readonly port: number }[] }[];
        readonly template: { readonly metadata: { readonly labels: object }; readonly spec: { readonly containers: readonly { readonly args: readonly string[]; readonly ports: readonly { readonly containerPort: number }[] }[] } };
      };
    }
    for (const options of [{}, { webhooks: false }, { syslogTls: true, syslogAllow: ['f5=10.0.0.4'] }]) {
      const objects = installObjects(schema.parse(options)).map(({ object }) => object as unknown as Named & Found);
      const find = (kind: string): Found => objects.find((object) => object.kind === kind && object.metadata.name === 'sallyport')!;
      const services = objects.filter(({ kind }) => kind === 'Service');
      const [workload, policy, budget] = ['StatefulSet', 'NetworkPolicy', 'PodDisruptionBudget'].map(find) as [Found, Found, Found];
      const { metadata, spec } = workload.spec.template;
      const listened = spec.containers[0]!.args.flatMap((argument) => /\[::\]:(\d+)$/.exec(argument)?.slice(1).map(Number) ?? []);
      const sorted = (numbers: readonly number[]): readonly number[] => numbers.toSorted((a, b) => a - b);
      assert.deepEqual(sorted(spec.containers[0]!.ports.map(({ containerPort }) => containerPort)), sorted(listened));
      assert.deepEqual(sorted(policy.spec.ingress.flatMap(({ ports }) => ports.map(({ port }) => port))), sorted(listened));
      assert.ok(services.flatMap(({ spec: { ports } }) => ports).every(({ targetPort }) => listened.includes(targetPort)));
      for (const selector of [...services.map(({ spec: { selector } }) => selector), workload.spec.selector['matchLabels'], budget.spec.selector['matchLabels'], (policy.spec.podSelector as { readonly matchLabels: object }).matchLabels]) assert.deepEqual(selector, metadata.labels);
    }
  });

  it('has no two objects of one name', () => {
    const names = installObjects(schema.parse({ gateways: ['a', 'b'], olderForm: true })).map(({ object }) => nameOf(object as unknown as Named));
    assert.deepEqual(names, [...new Set(names)]);
  });
});

describe('the chart, rendered by Helm,', function () {
  let helm: (...args: readonly string[]) => Promise<string>;
  let home: string;
  before(async function () {
    const program = requirePeer(this, 'helm');
    home = await mkdtemp(join(tmpdir(), 'sallyport-helm-'));
    helm = async (...args) => (await promisify(execFile)(program, args, { env: { HOME: home } })).stdout;
  });
  after(() => rm(home, { recursive: true, force: true }));

  async function render(values: Readonly<Record<string, unknown>>, namespace = 'default'): Promise<Readonly<Record<string, Named>>> {
    const file = join(home, 'values.json');
    writeFileSync(file, JSON.stringify(values));
    return parse(await helm('template', 'anything', chart, '--namespace', namespace, '--kube-version', '1.35.4', '--values', file));
  }

  const sets: readonly [what: string, values: Partial<InstallOptions>][] = [
    ['without a word', {}],
    ['with everything', { namespace: 'egress', image: 'images.example:5000/mesh/sallyport:1', replicas: 3, trustDomain: 'example.org', clusterDomain: 'example.internal', ledgerStorage: '100Gi', storageClass: 'fast', ledgerOtlp: 'https://collector.observability:4318/otlp', ledgerOtlpCa: 'collector-ca', ledgerOtlpHeaders: 'collector-headers', bigipCredentials: ['f5', '5', 'f5.example'], syslogTls: true, syslogAllow: ['f5=10.0.0.4/31', 'f5=fd00::', 'f5.example=10.0.0.8-10.0.0.10'], gateways: ['egress-1', '2'], olderForm: true }],
    ['without webhooks', { webhooks: false }],
    ['with a collector', { ledgerOtlp: 'https://[2001:db8::1]:14318' }],
    ['with a collector of its own CA', { ledgerOtlp: 'https://collector:443', ledgerOtlpCa: 'collector-ca' }],
    ['with a collector that wants headers', { ledgerOtlp: 'https://collector:443', ledgerOtlpHeaders: 'collector-headers', webhooks: false }],
    ['with files for no collector', { ledgerOtlpCa: 'collector-ca', ledgerOtlpHeaders: 'collector-headers' }],
    ['with the credentials of a BIG-IP', { bigipCredentials: ['f5'] }],
    ['with the log of BIG-IPs over TLS', { syslogTls: true }],
    ['with the log of BIG-IPs over plain TCP', { syslogAllow: ['f5=10.0.0.4'], webhooks: false }],
    ['with the least', { replicas: 1, webhooks: false, storageClass: '', gateways: ['null'] }],
  ];
  for (const [what, values] of sets) {
    it(`is what is installed ${what}`, async () => {
      assert.deepEqual(await render(values), parse(formatExplained(installObjects(schema.parse(values)))));
    });
  }

  it('has nothing that Helm warns of', async () => {
    assert.match(await helm('lint', '--strict', '--quiet', chart), /^$/);
  });

  it('does not make the namespace that it is installed into', async () => {
    const names = Object.keys(await render({}, 'sallyport-system'));
    assert.ok(!names.includes('Namespace /sallyport-system'));
    assert.equal(names.length, Object.keys(await render({})).length - 1);
  });

  const refused: readonly [what: string, values: Readonly<Record<string, unknown>>][] = [
    ['a value that there is not', { replica: 3 }],
    ['an image that is more than a name', { image: 'a" b' }],
    ['no replica', { replicas: 0 }],
    ['a half replica', { replicas: 1.5 }],
    ['a collector in the clear', { ledgerOtlp: 'http://collector:4318' }],
    ['a collector without a port', { ledgerOtlp: 'https://collector' }],
    ['a secret within an URL', { ledgerOtlp: 'https://user:secret@collector:4318' }],
    ['a secret of no name', { bigipCredentials: [''] }],
    ['a sender without a gateway', { syslogAllow: ['10.0.0.4'] }],
    ['a sender whose address is none', { syslogAllow: ['f5=10.0.0.300'] }],
    ['a gateway that no node could be labelled with', { gateways: ['Egress 1'] }],
  ];
  for (const [what, values] of refused) {
    it(`refuses ${what}, as the command does`, async () => {
      assert.equal(schema.safeParse(values).success, false);
      await assert.rejects(render(values), /values don't meet the specifications of the schema/);
    });
  }
});

describe('a template with conditions', () => {
  it('surrounds what goes without a condition', () => {
    assert.equal(withConditions('a\nb\nc\nd', [{ condition: 'x', text: 'a\nd' }]), 'a\n{{- if x }}\nb\nc\n{{- end }}\nd');
  });
  it('tells conditions apart, and joins them where both are needed', () => {
    assert.equal(withConditions('a\nb\nc', [{ condition: 'x', text: 'b\nc' }, { condition: 'y', text: 'a\nb' }]), '{{- if x }}\na\n{{- end }}\nb\n{{- if y }}\nc\n{{- end }}');
    assert.equal(withConditions('a\nb', [{ condition: 'x', text: 'a' }, { condition: 'y', text: 'a' }]), 'a\n{{- if and x y }}\nb\n{{- end }}');
  });
  it('leaves away a condition that follows from one beside it', () => {
    assert.equal(withConditions('a\nb\nc', [{ condition: 'x', text: 'a\nc' }, { condition: '(or x y)', text: 'a', impliedBy: ['x', 'y'] }]), 'a\n{{- if x }}\nb\n{{- end }}\n{{- if (or x y) }}\nc\n{{- end }}');
  });
  it('is not made of what changes', () => {
    assert.throws(() => withConditions('a\nb', [{ condition: 'x', text: 'a\nc' }]), /adds more than lines/);
  });
});

describe('a template with a list', () => {
  const list = (text: string): string => withRange(text, '$x', 'y');
  it('repeats the item in which a value stands first, with all that is in it', () => {
    assert.equal(list('a:\n  - b:\n      c: "{{ $x }}"\n      d:\n        - "{{ $x }}/1"\n  - e\nf'), 'a:\n{{- range $x := y }}\n  - b:\n      c: "{{ $x }}"\n      d:\n        - "{{ $x }}/1"\n{{- end }}\n  - e\nf');
  });
  it('repeats a value that is an item itself', () => {
    assert.equal(list('- a\n- "{{ $x }}"\n- b'), '- a\n{{- range $x := y }}\n- "{{ $x }}"\n{{- end }}\n- b');
  });
  it('is as it was where the value does not stand', () => {
    assert.equal(list('- a\n- b'), '- a\n- b');
  });
});
