/** Ports of protocol FTPS: what a gateway does with them, and the ports that one written port becomes. */
import assert from 'node:assert/strict';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import type { Plan, ServicePort } from '../../../src/core/plan/plan.ts';
import { makePki } from '../../support/pki.ts';
import { binding, build, externalService, gateway, planOf, policy, pool, state } from '../world.ts';

const caCertificates = makePki().rootPem;
const gw = gateway('gw');
const passThrough = { name: 'own', port: 2121, targetPort: 21, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 30_100, last: 30_101 } } } as const;
const audience = [pool('eu', ['10.0.0.0/24']), binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' }), policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank', ports: ['own'] }] })];

const portsOf = (plan: Plan): Readonly<Record<string, ServicePort>> => Object.fromEntries(plan.servicePorts.map((port) => [port.portName, port]));

describe('a port of protocol FTPS', () => {
  it('is FTP whose connections to the server the gateway secures, by AUTH TLS and the well-known authorities unless told otherwise', () => {
    const plan = planOf(gw, externalService('shop/bank', { ports: [{ name: 'a', port: 21, protocol: 'FTPS' }, { name: 'b', port: 990, protocol: 'FTPS', tls: { handshake: 'Implicit', serverName: 'FTP.bank.example', caCertificates }, ftp: { dataMode: 'Active' } }] }));
    const { a, b } = portsOf(plan);
    assert.deepEqual([a?.protocol, a?.ftp], ['FTP', { dataMode: 'Passive', recordDigest: false, tls: { mode: 'Originate', handshake: 'Explicit', serverName: null, caCertificates: null } }]);
    assert.deepEqual([b?.protocol, b?.ftp], ['FTP', { dataMode: 'Active', recordDigest: false, tls: { mode: 'Originate', handshake: 'Implicit', serverName: 'ftp.bank.example', caCertificates } }]);
  });

  it('passed through has a port for each data port, for whoever may use its control connection and from the same address', () => {
    const ports = portsOf(planOf(gw, externalService('shop/bank', { addresses: ['198.51.100.7'], ports: [passThrough] }), ...audience));
    assert.deepEqual(Object.keys(ports), ['own', 'own-30100', 'own-30101']);
    const [own, data] = [ports['own']!, ports['own-30100']!];
    assert.deepEqual([own.protocol, own.ftp?.tls], ['FTP', { mode: 'PassThrough' }]);
    assert.deepEqual([data.protocol, data.ftp, data.targets, data.agentListen.port], ['TCP', null, [{ kind: 'address', address: '198.51.100.7', port: 30_100 }], 30_100]);
    assert.ok(data.serverNames.every((name) => name.startsWith('outbound_.30100_._.')));
    assert.equal(own.grants.length, 1);
    assert.deepEqual(data.grants, own.grants);
  });

  it('passed through from the first byte on is TCP', () => {
    const { own } = portsOf(planOf(gw, externalService('shop/bank', { ports: [{ ...passThrough, tls: { ...passThrough.tls, handshake: 'Implicit' } }] })));
    assert.deepEqual([own?.protocol, own?.ftp], ['TCP', null]);
  });

  it('has no data port that the same agent offers for another service', () => {
    const other = externalService('shop/other', { ports: [{ name: 'a', port: 30_101 }] });
    const both = policy('shop/q', { subjects: [{ namespace: 'shop' }], to: [{ service: 'other' }] });
    const { faults } = build(state(gw, externalService('shop/bank', { ports: [passThrough] }), other, ...audience, both));
    assert.deepEqual(faults.map(({ code }) => code), ['agent-listener-conflict']);
  });

  const refused: readonly (readonly [string, string, string])[] = [
    ['data ports that nobody named', 'protocol: FTPS, tls: {mode: PassThrough}', 'spec.ports[0].tls.dataPorts'],
    ['data ports where the gateway reads them itself', 'protocol: FTPS, tls: {dataPorts: {first: 30000, last: 30001}}', 'spec.ports[0].tls.dataPorts'],
    ['more data ports than agents should listen on', 'protocol: FTPS, tls: {mode: PassThrough, dataPorts: {first: 30000, last: 30128}}', 'spec.ports[0].tls.dataPorts'],
    ['data ports the wrong way round', 'protocol: FTPS, tls: {mode: PassThrough, dataPorts: {first: 30001, last: 30000}}', 'spec.ports[0].tls.dataPorts'],
    ['authorities where the workload verifies the server', 'protocol: FTPS, tls: {mode: PassThrough, caCertificates: x, dataPorts: {first: 30000, last: 30001}}', 'spec.ports[0].tls.caCertificates'],
    ['authorities that are no certificates', 'protocol: FTPS, tls: {caCertificates: "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----"}', 'spec.ports[0].tls.caCertificates'],
    ['a server name that is none', 'protocol: FTPS, tls: {serverName: "ftp partner"}', 'spec.ports[0].tls.serverName'],
    ['a data port that is the control port', 'protocol: FTPS, tls: {mode: PassThrough, dataPorts: {first: 20, last: 22}}', 'spec.ports[0].tls.dataPorts'],
    ['the name of a data port for another port', 'protocol: FTPS, name: own, tls: {mode: PassThrough, dataPorts: {first: 30000, last: 30001}}}, {port: 22, name: own-30001', 'spec.ports[1].name'],
    ['tls for a port of another protocol', 'protocol: FTP, tls: {mode: Originate}', 'spec.ports[0].tls'],
  ];
  for (const [what, port, path] of refused) {
    it(`is refused with ${what}`, () => {
      const text = `{apiVersion: sallyport.dev/v1alpha1, kind: ExternalService, metadata: {name: a, namespace: b}, spec: {addresses: [192.0.2.1], ports: [{port: 21, ${port}}]}}`;
      const faults = parseManifests([{ file: 'a.yaml', text }]).faults([]);
      const places = faults.map((fault) => fault.path!.map((part) => (typeof part === 'number' ? `[${part}]` : `.${part}`)).join('').slice(1));
      assert.ok(places.includes(path), JSON.stringify(faults));
    });
  }
});
