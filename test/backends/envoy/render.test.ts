import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeResource, renderEnvoyGateway, renderEnvoySidecar, renderSvidSecret, renderTrustBundleSecret, resourceToJson, type EnvoyResource, type Rendered } from '../../../src/backends/envoy/index.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Plan, ServicePort } from '../../../src/core/plan/plan.ts';
import { grantTo, servicePort, settings, spiffeIdOf, trustDomain } from '../../support/gateway.ts';
import * as world from '../../core/world.ts';
import { plannedGateway, planOf as planOfPorts } from './envoy-gateway.ts';

const folder = join(import.meta.dirname, '../../../manifests/examples');
const objectsOf = (file: string): DesiredObject[] => parseManifests([{ file, text: readFileSync(join(folder, file), 'utf8') }]).objects.map(({ object }) => object);
const withoutGateways = (objects: readonly DesiredObject[]) => objects.filter(({ kind }) => kind !== 'EgressGateway');
const envoyGateway = world.gateway('egress-1', { class: 'envoy', listen: [{ address: '10.4.0.10', port: 15443 }] });

const examples: Readonly<Record<string, Plan>> = {
  'bookinfo-forward-proxy': world.planOf(envoyGateway, ...withoutGateways(objectsOf('bookinfo-forward-proxy.yaml'))),
  'ftp-partner-handed-over': world.planOf(
    world.gateway('egress-1', { class: 'envoy', listen: [{ address: '10.4.0.10', port: 15443 }], handOver: 'egress-ftp' }),
    world.gateway('egress-ftp', { listen: [{ address: '10.4.0.10', port: 15444 }], ftp: { passivePorts: { first: 30_000, last: 30_001 } } }),
    ...objectsOf('ftp-partner.yaml'),
  ),
  'older-external-service': world.planOf(envoyGateway, ...objectsOf('older-external-service.yaml')),
  'many-forms': world.planOf(
    world.gateway('egress-1', { class: 'envoy', listen: [{ address: '10.4.0.10', port: 15443 }, { address: '2001:db8::10', port: 15443 }] }),
    world.externalService('data/warehouse', { addresses: ['198.51.100.7', '2001:db8::7'], ports: [{ name: 'sql', port: 5432, listen: { port: 5432 } }] }),
    world.externalService('data/hosted', { hosts: ['a.partner.example', 'b.partner.example'], ports: [{ port: 443 }] }),
    world.policy('data/all', { subjects: [{ namespace: 'data' }, { namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'warehouse' }, { service: 'hosted' }] }),
    world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 4096 } }),
    world.pool('own', ['203.0.113.8', '203.0.113.21', '2001:db8::8']),
    world.binding('data/data', { subject: { namespace: 'data' }, addresses: ['203.0.113.8', '2001:db8::8'] }),
    world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }),
  ),
};

const render = (plan: Plan): Rendered => renderEnvoyGateway(plan, plan.gateways.find(({ name }) => name === 'egress-1')!);
const bytesOf = (resources: readonly EnvoyResource[]): ReadonlyMap<string, string> => new Map(resources.map((resource) => [`${resource.typeUrl} ${resource.name}`, Buffer.from(encodeResource(resource)).toString('hex')]));

function assertGolden(name: string, value: unknown): void {
  const file = join(import.meta.dirname, 'golden', `${name}.json`);
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
  assert.equal(text, readFileSync(file, 'utf8'), 'UPDATE_GOLDEN=1 writes it again');
}

describe('rendering for Envoy', () => {
  for (const [name, plan] of Object.entries(examples)) {
    it(`renders ${name} as its golden file has it`, () => {
      const { resources, conditions } = render(plan);
      assertGolden(name, { resources: resources.map(resourceToJson), conditions });
    });
  }

  it('renders a sidecar as its golden file has it', () => {
    const plan = examples['ftp-partner-handed-over']!;
    const { resources, conditions } = renderEnvoySidecar(plan, spiffeIdOf('payments', 'statement-upload'));
    assertGolden('sidecar', { resources: resources.map(resourceToJson), conditions });
  });

  it('gives the same for the same plan, whatever was rendered before', () => {
    for (const plan of Object.values(examples)) {
      const again = structuredClone(plan);
      assert.deepEqual(bytesOf(render(again).resources), bytesOf(render(plan).resources));
      assert.ok(render(plan).resources.every((resource, index) => render(plan).resources[index]?.name === resource.name));
    }
  });

  it('names each resource of a type once', () => {
    for (const plan of Object.values(examples)) assert.equal(bytesOf(render(plan).resources).size, render(plan).resources.length);
  });

  it('changes one listener of internal ones, and nothing else, for one changed policy among 20,000 grants', () => {
    const gateway = plannedGateway(15_443);
    const services = Array.from({ length: 1_000 }, (_, service): ServicePort => servicePort({ name: `service-${service}`, targetPort: 443, grants: Array.from({ length: 20 }, (_, grant) => grantTo(`team-${grant}`, `127.0.1.${grant + 1}`)) }));
    const before = renderEnvoyGateway(planOfPorts(services, [gateway]), gateway).resources;
    const changed = services.with(500, { ...services[500]!, grants: services[500]!.grants.slice(1) });
    const known = bytesOf(before);
    const after = renderEnvoyGateway(planOfPorts(changed, [gateway]), gateway).resources;
    const different = [...bytesOf(after)].filter(([key, bytes]) => known.get(key) !== bytes);
    assert.deepEqual(different.map(([key]) => key), ['type.googleapis.com/envoy.config.listener.v3.Listener service|egress/service-500:main']);
    assert.equal(after.length, before.length);
    assert.ok(different[0]![1].length / 2 < 25_000, `${different[0]![1].length / 2} bytes`);
    const same = new Set(before);
    assert.ok(after.filter((resource) => !same.has(resource)).length < 50, 'what did not change is not rendered again');
  });

  it('does not change a chain for a policy that says the same once more', () => {
    const gateway = plannedGateway(15_443);
    const before = servicePort({ targetPort: 443, grants: [grantTo('book', '127.0.1.1')] });
    const after = { ...before, grants: [{ ...before.grants[0]!, policies: ['book/egress', 'book/more'] }] };
    const [known, next] = [before, after].map((each) => bytesOf(renderEnvoyGateway(planOfPorts([each], [gateway]), gateway).resources));
    assert.deepEqual(next, known);
  });

  it('has the same bytes, and JSON, for a resource however often it is asked', () => {
    const { resources } = render(examples['many-forms']!);
    for (const resource of resources) assert.equal(encodeResource(resource), encodeResource(resource));
  });

  it('has an SVID and a trust bundle by the names that Envoys ask for, with revoked certificates where there are any', () => {
    assert.deepEqual(resourceToJson(renderSvidSecret({ certificateChainPem: 'CHAIN', privateKeyPem: 'KEY' })), {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
      name: 'default',
      tls_certificate: { certificate_chain: { inline_string: 'CHAIN' }, private_key: { inline_string: 'KEY' } },
    });
    assert.deepEqual(resourceToJson(renderTrustBundleSecret({ trustBundlePem: 'ROOT', revocationListPem: 'CRL' })), {
      '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
      name: 'ROOTCA',
      validation_context: { trusted_ca: { inline_string: 'ROOT' }, crl: { inline_string: 'CRL' }, only_verify_leaf_cert_crl: true },
    });
  });
});

describe('rendering a sidecar for Envoy', () => {
  const identity = spiffeIdOf('book', 'default');
  const served = (more: Partial<ServicePort> = {}): ServicePort => ({ ...servicePort({ targetPort: 443, grants: [grantTo('book', '127.0.1.1')] }), serverIdentities: [settings.identity], ...more });
  const rendered = (servicePorts: readonly ServicePort[], more: Parameters<typeof plannedGateway>[1] = {}) => renderEnvoySidecar(planOfPorts(servicePorts, [plannedGateway(15_443, more)]), identity);
  const codes = ({ conditions }: Rendered): string[] => conditions.map(({ code }) => code);

  it('has nothing for an identity that may use nothing', () => {
    assert.deepEqual(renderEnvoySidecar(planOfPorts([served()], [plannedGateway(15_443)]), spiffeIdOf('other', 'default')), { resources: [], conditions: [] });
    assert.deepEqual(renderEnvoySidecar(planOfPorts([served()], [plannedGateway(15_443)]), `spiffe://${trustDomain}/x` as typeof identity).resources, []);
  });

  it('offers nothing where others than the workload could reach it, or where nobody could be believed', () => {
    const exposed = rendered([served({ agentListen: { address: '10.0.0.1' as never, port: 443 } })]);
    assert.deepEqual([exposed.resources, codes(exposed)], [[], ['listener-exposed']]);
    const unbelieved = rendered([served({ serverIdentities: [] })]);
    assert.deepEqual([unbelieved.resources, codes(unbelieved)], [[], ['server-identity-missing']]);
  });

  it('offers nothing for datagrams, and says what can carry them', () => {
    const { resources, conditions } = rendered([served({ protocol: 'UDP' })]);
    assert.deepEqual([resources, conditions.map(({ code, hint }) => [code, hint])], [[], [['datagrams-unable', 'run "sallyport agent" beside the workload']]]);
  });

  it('says where data connections of FTP cannot come, and still offers the control connection', () => {
    const ftp = served({ protocol: 'FTP' });
    const without = rendered([ftp]);
    assert.deepEqual([without.resources.length, codes(without)], [2, ['ftp-data-unreachable']]);
    const passive = { ftpPassivePorts: { first: 24_000, last: 24_003 } };
    assert.deepEqual([rendered([ftp], passive).resources.length, codes(rendered([ftp], passive))], [7, []]);
    assert.deepEqual(codes(rendered([ftp], { ftpPassivePorts: { first: 24_000, last: 25_000 } })), ['ftp-data-unreachable']);
    const again = { ...ftp, id: 'egress/again:main' as ServicePort['id'], service: { namespace: 'egress', name: 'again' }, agentListen: { ...ftp.agentListen, port: 2_121 } };
    assert.deepEqual(codes(rendered([ftp, again], passive)), []);
    assert.deepEqual(codes(rendered([ftp, { ...again, serverIdentities: [identity] }], passive)), ['ftp-data-unreachable']);
  });
});
