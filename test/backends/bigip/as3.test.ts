import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { importedIdentity, issuedIdentity, renderAs3 } from '../../../src/backends/bigip/index.ts';
import type { As3Object } from '../../../src/backends/bigip/as3-object.ts';
import { iruleText } from '../../../src/backends/bigip/irule-text.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import * as world from '../../core/world.ts';
import { bigipOf, exampleWorld } from './example-world.ts';

const render = (plan: Plan) => renderAs3(plan, bigipOf(plan));
/** The application's objects. */
const objectsOf = (plan: Plan): Readonly<Record<string, As3Object>> => {
  const { partition } = bigipOf(plan).bigip!;
  const { class: _class, template: _template, ...objects } = (render(plan).declaration as unknown as Record<string, Record<string, Record<string, As3Object>>>)[partition]!['shared']!;
  return objects;
};
const ofClass = (plan: Plan, name: string): readonly As3Object[] => Object.values(objectsOf(plan)).filter((object) => object.class === name);

const gateway = (spec: Parameters<typeof world.gateway>[1] = {}) => world.gateway('gw', { class: 'bigip', listen: [{ address: '10.0.0.1', port: 15443 }], ...spec });
const granted = (...objects: readonly DesiredObject[]): Plan =>
  world.planOf(world.pool('own', ['203.0.113.1']), world.binding('shop/shop', { subject: { namespace: 'shop' }, addresses: ['203.0.113.1'] }), world.policy('out/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 's' }] }), ...objects);

/** Tests of its own hold what the iRule says. */
const withoutRule = (text: string): string => text.replaceAll(JSON.stringify(iruleText({ partition: 'Sallyport', logs: true })), '"iruleText"');

describe('an AS3 declaration of a gateway', () => {
  it('is as its golden file has it', () => {
    const file = join(import.meta.dirname, 'golden/example-world.json');
    const text = withoutRule(`${JSON.stringify(render(exampleWorld()), undefined, 2)}\n`);
    assert.ok(text.includes('"iruleText"'));
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'), 'UPDATE_GOLDEN=1 writes it again');
  });

  it('is the same for the same plan, in whatever order it comes', () => {
    const plan = exampleWorld();
    const text = JSON.stringify(render(plan));
    const shuffled = fc.tuple(fc.shuffledSubarray([...plan.servicePorts], { minLength: plan.servicePorts.length }), fc.nat());
    fc.assert(fc.property(shuffled, ([servicePorts, seed]) => {
      const grants = (index: number) => (seed % (index + 2) === 0 ? servicePorts[index]!.grants.toReversed() : servicePorts[index]!.grants);
      assert.equal(JSON.stringify(render({ ...plan, servicePorts: servicePorts.map((servicePort, index) => ({ ...servicePort, grants: grants(index) })) })), text);
    }));
  });

  it('says the revision of the plan', () => {
    const plan = exampleWorld();
    assert.equal(render(plan).declaration['remark'], plan.revision);
  });

  it('sends nothing upstream by itself: no virtual server has a pool or an address to leave from', () => {
    const servers = ofClass(exampleWorld(), 'Service_TCP');
    assert.equal(servers.length, 5);
    for (const server of servers) assert.deepEqual([server['pool'], server['snat'], (server['iRules'] as string[])[0], server['serverTLS']], [undefined, 'none', 'sallyport', 'client-ssl']);
  });

  it('has FTP profiles where FTP is relayed only, and tells the data ports where they are told', () => {
    const files = (spec = {}) => objectsOf(granted(gateway({ bigip: { acceptRisks: ['UnprovenFtpData'] }, ...spec }), world.externalService('out/s', { ports: [{ port: 21, protocol: 'FTP', listen: { port: 21 } }, { port: 990, protocol: 'FTPS', listen: { port: 990 }, tls: { mode: 'PassThrough', dataPorts: { first: 40_000, last: 40_000 } } }] })));
    const { 'vs_10.0.0.1_21': own, 'vs_10.0.0.1_990': sealed, 'vs_10.0.0.1_15443': shared, 'sallyport-ftp': rule } = files({ ftp: { passivePorts: { first: 30_000, last: 30_009 } } });
    assert.deepEqual([own?.['profileFTP'], own?.['iRules'], shared?.['profileFTP'], shared?.['iRules']], [{ use: 'ftp' }, ['sallyport', 'sallyport-ftp'], undefined, ['sallyport']]);
    assert.equal(rule?.['iRule'], 'when SERVER_CONNECTED {\n    FTP::port 30000 30009\n}\n');
    assert.deepEqual([sealed?.['profileFTP'], sealed?.['iRules']], [undefined, ['sallyport']], 'what nobody can read is a stream');
    const { 'vs_10.0.0.1_21': without, 'sallyport-ftp': noRule } = files();
    assert.deepEqual([without?.['iRules'], noRule], [['sallyport'], undefined]);
    assert.deepEqual(ofClass(granted(gateway(), world.externalService('out/s')), 'FTP_Profile'), []);
  });

  it('has timeouts and limits of the gateway', () => {
    const objects = (limits: object) => objectsOf(granted(gateway({ limits }), world.externalService('out/s')));
    const { tcp, 'client-ssl': tls, 'address_203.0.113.1': address } = objects({ idleTimeout: '90s', handshakeTimeout: '1500ms', connectionsPerIdentity: 7 });
    assert.deepEqual([tcp?.['idleTimeout'], tls?.['handshakeTimeout'], address?.['maxConnections']], [90, 2, 7]);
    assert.equal(objects({ idleTimeout: '2d' })['tcp']?.['idleTimeout'], 86_400, 'no TCP profile holds more than a day');
  });

  it('gives up a connection within the timeout, and sends a SYN more than once where there is time', () => {
    const waits = (connectTimeout: string) => {
      const { synMaxRetrans, synRtoBase } = objectsOf(granted(gateway({ limits: { connectTimeout } }), world.externalService('out/s')))['tcp'] as unknown as { synMaxRetrans: number; synRtoBase: number };
      return [synMaxRetrans, Array.from({ length: synMaxRetrans + 1 }, (_, index) => synRtoBase * 2 ** index).reduce((sum, wait) => sum + wait, 0)];
    };
    assert.deepEqual(['500ms', '3s', '10s', '1m'].map(waits), [[0, 500], [0, 3_000], [2, 9_996], [4, 59_985]]);
  });

  it('tries servers in their order, and watches them where there is a choice', () => {
    const poolOf = (spec: object) => objectsOf(granted(gateway(), world.externalService('out/s', spec)))['pool_out_s_tcp-443'];
    assert.deepEqual(poolOf({ addresses: ['198.51.100.1'] }), { class: 'Pool', members: [{ servicePort: 443, serverAddresses: ['198.51.100.1'], priorityGroup: 1 }] });
    assert.deepEqual(poolOf({ addresses: ['198.51.100.2', '198.51.100.1'] }), {
      class: 'Pool',
      members: [{ servicePort: 443, serverAddresses: ['198.51.100.2'], priorityGroup: 2 }, { servicePort: 443, serverAddresses: ['198.51.100.1'], priorityGroup: 1 }],
      reselectTries: 1,
      monitors: [{ use: 'connects' }],
    });
    assert.deepEqual(poolOf({ hosts: ['a.example'] })?.['members'], [{ servicePort: 443, addressDiscovery: 'fqdn', hostname: 'a.example', autoPopulate: true, addressFamily: 'IPv4', priorityGroup: 1 }]);
  });

  it('asks for both families of a name where everyone has both, by nodes of two names', () => {
    const plan = world.planOf(gateway(), world.pool('own', ['203.0.113.1', '2001:db8:1::1']), world.binding('shop/shop', { subject: { namespace: 'shop' }, addresses: ['203.0.113.1', '2001:db8:1::1'] }), world.policy('out/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 's' }] }), world.externalService('out/s', { hosts: ['a.example'] }));
    const members = objectsOf(plan)['pool_out_s_tcp-443']?.['members'] as { addressFamily: string; fqdnPrefix?: string }[];
    assert.deepEqual(members.map(({ addressFamily, fqdnPrefix }) => [addressFamily, fqdnPrefix]), [['IPv4', undefined], ['IPv6', 'ipv6.']]);
  });

  it('has a log only where it is to go somewhere', () => {
    const logs = (spec = {}) => objectsOf(granted(gateway(spec), world.externalService('out/s')));
    assert.equal(logs()['log'], undefined);
    assert.equal(logs()['sallyport']?.['iRule'], iruleText({ partition: 'sallyport_gw', logs: false }));
    const { log, 'log-stream': stream, 'log-receivers': receivers, sallyport } = logs({ bigip: { logTo: [{ address: '10.0.0.5', port: 6514 }] } });
    assert.deepEqual([log?.['destinations'], stream?.['pool'], receivers?.['members']], [[{ use: 'log-stream' }], { use: 'log-receivers' }, [{ servicePort: 6514, serverAddresses: ['10.0.0.5'] }]]);
    assert.equal(sallyport?.['iRule'], iruleText({ partition: 'sallyport_gw', logs: true }));
  });

  it('says nothing of services that another gateway serves', () => {
    const plan = granted(gateway(), world.gateway('other'), world.externalService('out/s', { gateway: 'other' }));
    assert.deepEqual([ofClass(plan, 'Pool'), ofClass(plan, 'SNAT_Pool'), objectsOf(plan)['grants']?.['records']], [[], [], []]);
  });
});

describe('the identity of a BIG-IP', () => {
  const block = (name: string, content: string): string => `-----BEGIN ${name}-----\n${content}\n-----END ${name}-----\n`;

  it('is declared leaf first, its issuers apart', () => {
    const [leaf, intermediate, root] = ['AAAA', 'BBBB', 'CCCC'].map((content) => block('CERTIFICATE', content)) as [string, string, string];
    const issued = { certificateChainPem: leaf + intermediate + root, privateKeyPem: block('PRIVATE KEY', 'KKKK'), trustBundlePem: root };
    assert.deepEqual(issuedIdentity(issued), { certificate: leaf, privateKey: issued.privateKeyPem, chain: intermediate + root, trustBundle: root });
    assert.equal(issuedIdentity({ ...issued, certificateChainPem: leaf }).chain, null);
  });

  it('is otherwise in files that somebody imports by names told apart by gateway, so that no key is in what is rendered', () => {
    assert.deepEqual(importedIdentity({ name: 'edge' }), { certificate: { bigip: '/Common/sallyport_edge.crt' }, privateKey: { bigip: '/Common/sallyport_edge.key' }, chain: { bigip: '/Common/sallyport_edge_chain.crt' }, trustBundle: { bigip: '/Common/sallyport_edge_ca.crt' } });
    assert.ok(!JSON.stringify(render(exampleWorld())).includes('PRIVATE KEY'));
  });
});
