import { ApiException, ApiextensionsV1Api, KubernetesObjectApi, type KubernetesObject } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { encodeObject } from '../../../src/core/manifest/manifest-text.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { customResourceDefinitions } from '../../../src/kubernetes/crd/definitions.ts';
import { anyEgressGateway, anyEgressPolicy, anyExternalService, anyReferenceGrant, anySnatBinding, anySnatPool, anyWorkloadEntry } from '../../support/arbitraries.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { requirePeer } from '../../support/peers.ts';

const file = (path: string): URL => new URL(`../../../${path}`, import.meta.url);

describe('files of custom resource definitions', () => {
  for (const definition of customResourceDefinitions) {
    const { name } = definition.metadata;
    const path = `manifests/crds/${name}.yaml`;
    it(`${path} is what the program says`, () => {
      const text = `# Written by the program: UPDATE_GOLDEN=1 npx mocha test/kubernetes/crd/definitions.test.ts\n${stringify(definition, { lineWidth: 0 })}`;
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file(path), text);
      assert.equal(readFileSync(file(path), 'utf8'), text, 'UPDATE_GOLDEN=1 writes it again');
    });
  }
});

describe('custom resource definitions at an API server', function () {
  const server = useKubernetes(this);
  let objects: KubernetesObjectApi;
  let kubectl: (...args: readonly string[]) => Promise<string>;
  before(async function () {
    const program = requirePeer(this, 'kubectl');
    objects = KubernetesObjectApi.makeApiClient(server().kubeConfig());
    const kubeconfig = await server().kubeConfigFile();
    kubectl = async (...args) => (await promisify(execFile)(program, args, { env: { KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig) } })).stdout;
    await kubectl('create', '-f', file('manifests/crds').pathname);
    for (const name of ['bookinfo', 'monitoring', 'payments', 'sallyport-system', 'treasury']) await kubectl('create', 'namespace', name);
  });

  /** Words of its refusal; undefined where it takes the object. */
  async function refusalOf(object: unknown): Promise<string | undefined> {
    try {
      await objects.create(object as KubernetesObject, undefined, 'All', undefined);
      return undefined;
    } catch (error) {
      if (error instanceof ApiException && error.code === 422) return (JSON.parse(String(error.body)) as { message: string }).message;
      throw error;
    }
  }

  it('are structural, and established', async () => {
    const extensions = server().kubeConfig().makeApiClient(ApiextensionsV1Api);
    await waitFor('the definitions', 10_000, async () => {
      const { items } = await extensions.listCustomResourceDefinition();
      const conditions = items.flatMap(({ metadata, status }) => (status?.conditions ?? []).map(({ type, status: value }) => `${metadata?.name ?? ''} ${type} ${value}`));
      assert.deepEqual(conditions.filter((each) => each.includes('NonStructuralSchema')), []);
      return conditions.filter((each) => each.endsWith('Established True')).length === customResourceDefinitions.length ? true : undefined;
    });
  });

  it('take whatever is valid without Kubernetes', async () => {
    const anyCustomObject = fc.oneof(anyEgressGateway, anyEgressPolicy, anyExternalService, anyReferenceGrant, anySnatBinding, anySnatPool, anyWorkloadEntry);
    for (const object of fc.sample(anyCustomObject, 150)) {
      const written = encodeObject(object) as { readonly apiVersion: string; readonly kind: string; readonly metadata: { readonly name: string; readonly namespace?: string } };
      const { name, namespace } = written.metadata;
      const refusal = await refusalOf({ ...written, metadata: { name, ...(namespace === undefined ? {} : { namespace: 'payments' }) } });
      assert.equal(refusal, undefined, JSON.stringify(written));
    }
  });

  const service = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name: 'x', namespace: 'payments' }, spec: { addresses: ['192.0.2.7'], ports: [{ port: 21 }], ...spec } });
  const binding = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatBinding', metadata: { name: 'x', namespace: 'payments' }, spec: { subject: { namespace: 'a' }, pool: 'eu', ...spec } });
  const policy = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'EgressPolicy', metadata: { name: 'x', namespace: 'payments' }, spec: { subjects: [{ namespace: 'a' }], to: [{ service: 's' }], ...spec } });
  const pool = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatPool', metadata: { name: 'x' }, spec: { addresses: ['192.0.2.0/24'], ...spec } });
  const gateway = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'EgressGateway', metadata: { name: 'x' }, spec: { class: 'sallyport', listen: [{ address: '127.0.0.1', port: 1 }], ...spec } });
  const grant = (spec: object) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ReferenceGrant', metadata: { name: 'x', namespace: 'payments' }, spec: { from: [{ group: 'sallyport.dev', kind: 'EgressPolicy', namespace: 'a' }], to: [{ group: 'sallyport.dev', kind: 'ExternalService' }], ...spec } });
  const refused: readonly [what: string, object: unknown, words: RegExp][] = [
    ['addresses beside hosts', service({ hosts: ['a.example'] }), /exactly one of "addresses", "hosts"/],
    ['neither', service({ addresses: undefined }), /exactly one of "addresses", "hosts"/],
    ['what is no address', service({ addresses: ['192.0.2.300'] }), /must be an IPv4 or IPv6 address/],
    ['a port twice', service({ ports: [{ port: 21 }, { port: 21, name: 'b', protocol: 'FTP' }] }), /must not repeat a port/],
    ['a port of no such number', service({ ports: [{ port: 65_536 }] }), /less than or equal to 65535/],
    ['TLS with what is not FTPS', service({ ports: [{ port: 21, protocol: 'FTP', tls: {} }] }), /"tls" goes with protocol FTPS/],
    ['FTP options with what is not FTP', service({ ports: [{ port: 21, ftp: {} }] }), /"ftp" goes with protocol FTP or FTPS/],
    ['pass-through without its ports', service({ ports: [{ port: 21, protocol: 'FTPS', tls: { mode: 'PassThrough' } }] }), /"dataPorts" goes with mode PassThrough/],
    ['data ports that end before they begin', service({ ports: [{ port: 21, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 9, last: 8 } } }] }), /must not end before it begins/],
    ['no port', service({ ports: [] }), /at least 1/],
    ['a reverse port twice', service({ reverse: [{ port: 1 }, { port: 1, name: 'b' }] }), /must not repeat a port/],
    ['a subject of two kinds', policy({ subjects: [{ namespace: 'a', service: { name: 's' } }] }), /exactly one of "namespace", "namespaceSelector", "service"/],
    ['a subject of none', policy({ subjects: [{}] }), /exactly one of/],
    ['a service account behind a Service', policy({ subjects: [{ service: { name: 's' }, serviceAccount: 'x' }] }), /only what goes with it/],
    ['a selector of nothing', policy({ subjects: [{ namespaceSelector: { matchLabels: {} } }] }), /must name a label/],
    ['a port that is neither name nor number', policy({ to: [{ service: 's', ports: ['A B'] }] }), /should match/],
    ['an authority without a port', policy({ constraints: { connectAuthorities: ['example.com'] } }), /should match/],
    ['a pool beside addresses', binding({ addresses: ['192.0.2.1'] }), /exactly one of "pool", "addresses"/],
    ['two addresses of one family', binding({ pool: undefined, addresses: ['192.0.2.1', '192.0.2.2'] }), /two addresses of one family/],
    ['blocks without a size', pool({ sharing: { mode: 'PortBlocks' } }), /needs what goes with its mode/],
    ['a size without blocks', pool({ sharing: { mode: 'Exclusive', blockSize: 64 } }), /needs what goes with its mode/],
    ['a mode that there is not', pool({ sharing: { mode: 'Lottery' } }), /supported values: "Exclusive", "PortBlocks"/],
    ['names of namespaces beside all of them', pool({ namespaces: { from: 'All', names: ['a'] } }), /needs what goes with its from/],
    ['a selector of namespaces that selects nothing', gateway({ namespaces: { from: 'Selector', selector: { matchLabels: {} } } }), /must name a label/],
    ['a grant to what nothing may refer to', grant({ to: [{ group: 'sallyport.dev', kind: 'SnatPool' }] }), /supported values: "ExternalService"/],
    ['a grant to nobody', grant({ from: [] }), /at least 1/],
    ['a grant to what is of another group', grant({ from: [{ group: '', kind: 'EgressPolicy', namespace: 'a' }] }), /supported values: "sallyport.dev"/],
    ['a quarantine of no time', pool({ quarantine: 'long' }), /should match/],
    ['a class that there is not', gateway({ class: 'nginx' }), /supported values/],
    ['what goes with another class', gateway({ bigip: {} }), /"bigip" goes with class bigip/],
    ['a partition that is everybody\'s', gateway({ class: 'bigip', bigip: { partition: 'Common' } }), /must not be Common/],
    ['a kernel with listeners', gateway({ class: 'kernel', kernel: { interface: 'eth0' } }), /each class but kernel needs "listen"/],
    ['a kernel without an interface', gateway({ class: 'kernel', listen: [] }), /"kernel" goes with class kernel, which needs it/],
    ['a gateway that nobody can find', gateway({ listen: [] }), /each class but kernel needs "listen"/],
    ['ports that end before they begin', gateway({ localPorts: { first: 9, last: 8 } }), /must not end before it begins/],
  ];
  for (const [what, object, words] of refused) {
    it(`refuse ${what}`, async () => {
      assert.match((await refusalOf(object)) ?? 'taken', words);
    });
  }

  it('name a field that they do not know, to whoever asks for strictness as kubectl does', async () => {
    await assert.rejects(kubectl('create', '--dry-run=server', '-f', file('test/kubernetes/crd/misspelt.yaml').pathname), /unknown field \\?"spec.protcol/);
  });

  it('take every example as it stands, and fill in what it leaves out', async () => {
    for (const name of ['bookinfo-forward-proxy', 'dns-syslog-snmp', 'ftp-partner', 'older-external-service', 'sftp-partner', 'tenants']) await kubectl('apply', '-f', file(`manifests/examples/${name}.yaml`).pathname);
    const pool = JSON.parse(await kubectl('get', 'snatpools', '-o', 'json')) as { readonly items: readonly { readonly spec: object }[] };
    assert.ok(pool.items.length > 0 && pool.items.every(({ spec }) => 'quarantine' in spec && 'sharing' in spec));
  });

  it('answer in columns, by short names and by category', async () => {
    assert.match(await kubectl('get', 'exts', '-A'), /^NAMESPACE +NAME +ACCEPTED +GATEWAY +ENFORCED +AGE\n/);
    assert.match(await kubectl('get', 'egp', '-A', '-o', 'wide'), /^NAMESPACE +NAME +ACCEPTED +ENFORCED +REVISION +MESSAGE +AGE\n/);
    assert.match(await kubectl('get', 'egw'), /^NAME +CLASS +ACCEPTED +CONNECTED +WARNED +AGE\n/);
    assert.match(await kubectl('get', 'snatb', '-A'), /^NAMESPACE +NAME +ACCEPTED +ADDRESS +ENFORCED +AGE\n/);
    assert.match(await kubectl('get', 'sallyport', '-A', '-o', 'name'), /externalservice.externalservice.example.com\/my-external-service1/);
  });
});
