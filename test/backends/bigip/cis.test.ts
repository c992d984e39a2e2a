import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { renderAs3, renderCis } from '../../../src/backends/bigip/index.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import * as world from '../../core/world.ts';
import { loadKubernetesSchemas } from '../../support/kubernetes-schemas.ts';
import { requirePeer } from '../../support/peers.ts';
import { bigipOf, exampleWorld } from './example-world.ts';

const render = (plan: Plan) => renderCis(plan, bigipOf(plan));

describe('what CIS is given', () => {
  it('is the declaration, in a ConfigMap that it looks for', () => {
    const plan = exampleWorld();
    const { configMap: { data, ...configMap }, conditions } = render(plan);
    const { declaration, conditions: expected } = renderAs3(plan, bigipOf(plan));
    assert.deepEqual(configMap, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-edge', labels: { f5type: 'virtual-server', as3: 'true' } } });
    assert.deepEqual([JSON.parse(data.template), conditions], [{ class: 'AS3', action: 'deploy', persist: true, declaration }, expected]);
  });

  it('is a ConfigMap as its schema wants it', function () {
    const schemas = loadKubernetesSchemas(requirePeer(this, 'kubernetesOpenApi'), undefined);
    const { configMap } = render(exampleWorld());
    const mislabelled: object = { metadata: { ...configMap.metadata, labels: { as3: true } } };
    assert.deepEqual(schemas.faultsOf(configMap), []);
    assert.equal(schemas.faultsOf({ ...configMap, ...mislabelled }).length, 1);
  });

  it('is refused where no ConfigMap could hold it', () => {
    const policies = Array.from({ length: 40 }, (_, index) => world.policy(`out/p${index}`, { subjects: Array.from({ length: 100 }, (_, each) => ({ namespace: `n${index}`, serviceAccount: `an-account-with-a-long-name-${each}` })), to: [{ service: 's' }, { service: 't' }] }));
    const plan = world.planOf(world.gateway('gw', { class: 'bigip', listen: [{ address: '10.0.0.1', port: 15443 }] }), world.externalService('out/s'), world.externalService('out/t', { agentAddress: '127.0.1.9' }), ...policies);
    assert.throws(() => render(plan), /the declaration has 1\d{6} bytes, and a ConfigMap holds 1048576/);
  });
});

/** Beside the checkout, and no part of it. */
const definitions = join(import.meta.dirname, '../../../../shared/cis/customresourcedefinitions.yml');

if (!existsSync(definitions)) process.stderr.write(`\n  F5's definitions of CIS are not at ${definitions}: what its custom resources cannot say is not looked up here\n`);
else describe('the custom resources of CIS', () => {
  const specs = (): Readonly<Record<string, { readonly required?: readonly string[]; readonly properties: object }>> =>
    Object.fromEntries(parseAllDocuments(readFileSync(definitions, 'utf8')).map((document) => document.toJS() as Definition).map(({ spec }) => [spec.names.kind, spec.versions[0]!.schema.openAPIV3Schema.properties.spec]));

  interface Definition {
    readonly spec: { readonly names: { readonly kind: string }; readonly versions: readonly { readonly schema: { readonly openAPIV3Schema: { readonly properties: { readonly spec: { readonly properties: object } } } } }[] };
  }

  it('have no words for data groups, SNAT pools by identity or certificates that are asked for, and no virtual server without a pool', () => {
    const { TransportServer, ...others } = specs();
    const properties = JSON.stringify([TransportServer, ...Object.values(others)]);
    assert.deepEqual(['TransportServer', ...Object.keys(others)].sort(), ['ExternalDNS', 'IngressLink', 'Policy', 'TLSProfile', 'TransportServer', 'VirtualServer']);
    assert.doesNotMatch(properties, /data-?group|snat-?pool|snatAddresses|peerCert|clientAuth|authenticationMode/i);
    assert.deepEqual(TransportServer?.required, ['virtualServerPort', 'pool', 'mode']);
  });
});
