import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
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
