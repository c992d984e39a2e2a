import assert from 'node:assert/strict';
import { create, toBinary, type DescMessage, type MessageInitShape } from '@bufbuild/protobuf';
import fc from 'fast-check';
import {
  decodeAgentUpstream,
  decodeGatewaySettings,
  decodeRevocationList,
  decodeServicePort,
  decodeTrustBundle,
  decodeWorkloadAddress,
  encodeAgentUpstream,
  encodeGatewaySettings,
  encodeRevocationList,
  encodeServicePort,
  encodeTrustBundle,
  encodeWorkloadAddress,
} from '../../src/api/table-codec.ts';
import type { AgentUpstream } from '../../src/core/plan/agent-view.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { driftPolicies, ftpDataModes, ftpsHandshakes } from '../../src/core/objects/index.ts';
import { unknownCommandRules, type FtpConstraints } from '../../src/core/ftp/rules.ts';
import { servedProtocols, type Endpoint, type Grant, type PlannedGateway, type PortRange, type ServicePort, type ServicePortId, type Target } from '../../src/core/plan/plan.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { SecretSchema } from '../../src/proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { AgentUpstreamSchema, GatewaySettingsSchema, ServicePortSchema, WorkloadAddressSchema } from '../../src/proto/sallyport/v1alpha1/table_pb.ts';
import { anyAddress, anyDnsLabel, anyDnsName, anyHostName, anyIpv4, anyIpv6, anyPort, anySpiffeId } from '../support/arbitraries.ts';

const plain = { noNullPrototype: true } as const;
const runs = { numRuns: 200 };

const anyEndpoint: fc.Arbitrary<Endpoint> = fc.record({ address: anyAddress, port: anyPort }, plain);
const anyPortRange: fc.Arbitrary<PortRange> = fc.tuple(anyPort, anyPort).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));
const anyFtpTls = fc.oneof(fc.constant({ mode: 'PassThrough' as const }), fc.record({ mode: fc.constant('Originate' as const), handshake: fc.constantFrom(...ftpsHandshakes), serverName: fc.option(anyHostName), caCertificates: fc.option(fc.constant('-----BEGIN CERTIFICATE-----')) }, plain));
const anyProtocol = fc.constantFrom(...servedProtocols);
const anyName = fc.record({ service: fc.record({ namespace: anyDnsLabel, name: anyDnsName }, plain), portName: anyDnsLabel }, plain).map(({ service, portName }) => ({
  id: `${service.namespace}/${service.name}:${portName}` as ServicePortId,
  service,
  portName,
}));
const anyKey = fc.tuple(anyDnsLabel, anyDnsName).map(([namespace, name]) => `${namespace}/${name}`);
const anyTarget: fc.Arbitrary<Target> = fc.oneof(
  fc.record({ kind: fc.constant('address' as const), address: anyAddress, port: anyPort }, plain),
  fc.record({ kind: fc.constant('host' as const), host: anyHostName, port: anyPort }, plain),
);

const anySnatAndBinding: fc.Arbitrary<Pick<Grant, 'snat' | 'binding'>> = fc.oneof(
  fc.constant({ snat: null, binding: null }),
  fc.tuple(anyKey, fc.option(fc.record({ address: anyIpv4, ports: anyPortRange }, plain), { nil: undefined }), fc.option(fc.record({ address: anyIpv6, ports: anyPortRange }, plain), { nil: undefined }))
    .filter(([, ipv4, ipv6]) => ipv4 !== undefined || ipv6 !== undefined)
    .map(([binding, ipv4, ipv6]) => ({ binding, snat: { ...(ipv4 !== undefined && { ipv4 }), ...(ipv6 !== undefined && { ipv6 }) } })),
);
const anyFtpConstraints: fc.Arbitrary<FtpConstraints> = fc.record({
  readOnly: fc.boolean(),
  noDelete: fc.boolean(),
  paths: fc.option(fc.array(anyDnsName.map((name) => `/${name}`), { minLength: 1, maxLength: 3 })),
  users: fc.option(fc.array(anyDnsName, { minLength: 1, maxLength: 3 })),
  maxTransferBytes: fc.option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  maxBytesPerSecond: fc.option(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  unknownCommands: fc.constantFrom(...unknownCommandRules),
}, plain);
const anyGrant: fc.Arbitrary<Grant> = fc
  .tuple(
    fc.record({ namespace: anyDnsLabel, serviceAccount: anyDnsName }, { requiredKeys: ['namespace'], ...plain }),
    fc.array(anyKey, { maxLength: 3 }),
    anySnatAndBinding,
    fc.option(fc.array(fc.tuple(anyHostName, anyPort).map(([host, port]) => `${host}:${port}`), { maxLength: 3 })), // an empty list allows nothing, null anything
    fc.option(fc.array(anyFtpConstraints, { maxLength: 3 })),
  )
  .map(([subject, policies, snatAndBinding, connectAuthorities, ftp]) => ({ subject, policies, ...snatAndBinding, connectAuthorities, ftp }));

const anyServicePort: fc.Arbitrary<ServicePort> = fc
  .tuple(
    anyName,
    fc.record(
      {
        port: anyPort,
        protocol: anyProtocol,
        gateway: fc.oneof(fc.constant(''), anyDnsName),
        entrance: fc.oneof(fc.constant(''), anyDnsName),
        hosts: fc.array(anyHostName, { maxLength: 3 }),
        serverNames: fc.array(anyHostName, { maxLength: 3 }),
        listen: fc.option(anyEndpoint),
        targets: fc.array(anyTarget, { maxLength: 3 }),
        serverIdentities: fc.array(anySpiffeId, { maxLength: 3 }),
        agentListen: anyEndpoint,
        ftp: fc.option(fc.record({ dataMode: fc.constantFrom(...ftpDataModes), recordDigest: fc.boolean(), tls: fc.option(anyFtpTls) }, plain)),
        grants: fc.array(anyGrant, { maxLength: 5 }),
      },
      plain,
    ),
  )
  .map(([name, rest]) => ({ ...name, ...rest }));

const anyUpstream: fc.Arbitrary<AgentUpstream> = fc
  .tuple(anyName, fc.record({ protocol: anyProtocol, listen: anyEndpoint, gateways: fc.array(anyEndpoint, { maxLength: 3 }), serverName: anyHostName, serverIdentities: fc.array(anySpiffeId, { maxLength: 3 }) }, plain))
  .map(([name, rest]) => ({ ...name, ...rest }));

const anyTimeoutMs = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const anyTrustDomain = anyDnsName as fc.Arbitrary<TrustDomain>;
const anyGateway: fc.Arbitrary<PlannedGateway> = fc.record(
  {
    name: anyDnsName,
    class: fc.constant('sallyport' as const),
    identity: anySpiffeId,
    listen: fc.array(anyEndpoint, { maxLength: 3 }),
    advertise: fc.array(anyEndpoint, { maxLength: 3 }),
    ftpPassivePorts: fc.option(anyPortRange),
    localPorts: anyPortRange,
    handOver: fc.constant(null),
    bigip: fc.constant(null),
    kernel: fc.option(fc.record({ interface: anyDnsLabel, drift: fc.constantFrom(...driftPolicies) }, plain)),
    limits: fc.record({ connectionsPerIdentity: fc.integer({ min: 1, max: 1_000_000 }), handshakeTimeoutMs: anyTimeoutMs, connectTimeoutMs: anyTimeoutMs, idleTimeoutMs: anyTimeoutMs, ftpDataTimeoutMs: anyTimeoutMs, udpFlowsPerIdentity: fc.integer({ min: 1, max: 60_000 }), udpIdleTimeoutMs: anyTimeoutMs }, plain),
  },
  plain,
);

const anyWorkload = fc.record({ namespace: anyDnsLabel, serviceAccount: anyDnsName }, plain);

/** Every decoder, with messages that it takes. */
const decoders: readonly (readonly [string, (bytes: Uint8Array) => unknown, fc.Arbitrary<Uint8Array>])[] = [
  ['ServicePort', decodeServicePort, anyServicePort.map(encodeServicePort)],
  ['AgentUpstream', decodeAgentUpstream, anyUpstream.map(encodeAgentUpstream)],
  ['GatewaySettings', decodeGatewaySettings, fc.tuple(anyGateway, anyTrustDomain).map(([gateway, trustDomain]) => encodeGatewaySettings(gateway, trustDomain))],
  ['WorkloadAddress', decodeWorkloadAddress, fc.tuple(anyAddress, anyWorkload).map(([address, workload]) => encodeWorkloadAddress(address, workload))],
  ['RevocationList', decodeRevocationList, fc.array(fc.string()).map(encodeRevocationList)],
  ['trust bundle', decodeTrustBundle, fc.string().map(encodeTrustBundle)],
];

describe('table codec', () => {
  describe('gives back what it was given:', () => {
    it('a service port with its grants', () => {
      fc.assert(fc.property(anyServicePort, (servicePort) => assert.deepEqual(decodeServicePort(encodeServicePort(servicePort)), servicePort)), runs);
    });

    it('an upstream of an agent', () => {
      fc.assert(fc.property(anyUpstream, (upstream) => assert.deepEqual(decodeAgentUpstream(encodeAgentUpstream(upstream)), upstream)), runs);
    });

    it('the settings of a gateway', () => {
      fc.assert(
        fc.property(anyGateway, anyTrustDomain, (gateway, trustDomain) => {
          const { name, identity, listen, ftpPassivePorts, limits, kernel } = gateway;
          assert.deepEqual(decodeGatewaySettings(encodeGatewaySettings(gateway, trustDomain)), { name, trustDomain, identity, listen, ftpPassivePorts, limits, kernel });
        }),
        runs,
      );
    });

    it('who is behind an address', () => {
      fc.assert(fc.property(anyAddress, anyWorkload, (address, workload) => assert.deepEqual(decodeWorkloadAddress(encodeWorkloadAddress(address, workload)), { address, workload })), runs);
    });

    it('revoked serial numbers and a trust bundle', () => {
      fc.assert(fc.property(fc.array(fc.string({ unit: 'grapheme' })), (serialNumbers) => assert.deepEqual(decodeRevocationList(encodeRevocationList(serialNumbers)), serialNumbers)), runs);
      fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (pem) => assert.equal(decodeTrustBundle(encodeTrustBundle(pem)), pem)), runs);
    });
  });

  const isRefusal = (error: unknown): boolean => error instanceof SallyportError && error.code === 'request-invalid';

  describe('refuses as request-invalid', () => {
    for (const [what, decode, anyBytes] of decoders) {
      it(`whatever is no ${what}: cut, changed or made up, and nothing else is thrown`, () => {
        const damaged = fc.oneof(
          fc.uint8Array({ maxLength: 64 }),
          fc.tuple(anyBytes, fc.nat()).map(([bytes, at]) => bytes.subarray(0, bytes.length === 0 ? 0 : at % bytes.length)),
          fc.tuple(anyBytes, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([bytes, at, mask]) => bytes.map((byte, index) => (bytes.length > 0 && index === at % bytes.length ? byte ^ mask : byte))),
        );
        fc.assert(
          fc.property(damaged, (bytes) => {
            try {
              decode(bytes);
            } catch (error) {
              assert.ok(isRefusal(error), String(error));
            }
          }),
          runs,
        );
        assert.throws(() => decode(Uint8Array.of(0xff)), isRefusal);
      });
    }

    const port: MessageInitShape<typeof ServicePortSchema> = { namespace: 'a', name: 'b', portName: 'c', port: 1, protocol: 'TCP', agentListen: { address: '127.0.0.1', port: 1 } };
    const grant = { namespace: 'a' };
    const ports = { first: 1, last: 2 };
    const upstream: MessageInitShape<typeof AgentUpstreamSchema> = { namespace: 'a', name: 'b', portName: 'c', protocol: 'TCP', listen: { address: '127.0.0.1', port: 1 } };
    const settings: MessageInitShape<typeof GatewaySettingsSchema> = { name: 'g', trustDomain: 'cluster.local', identity: 'spiffe://cluster.local/g' };
    const encoded = <Schema extends DescMessage>(schema: Schema, message: MessageInitShape<Schema>) => toBinary(schema, create(schema, message));
    const servicePort = (change: MessageInitShape<typeof ServicePortSchema>) => () => decodeServicePort(encoded(ServicePortSchema, { ...port, ...change } as typeof port));
    const agentUpstream = (change: MessageInitShape<typeof AgentUpstreamSchema>) => () => decodeAgentUpstream(encoded(AgentUpstreamSchema, { ...upstream, ...change } as typeof upstream));
    const gatewaySettings = (change: MessageInitShape<typeof GatewaySettingsSchema>) => () => decodeGatewaySettings(encoded(GatewaySettingsSchema, { ...settings, ...change } as typeof settings));

    const workloadAddress = (change: MessageInitShape<typeof WorkloadAddressSchema>) => () => decodeWorkloadAddress(encoded(WorkloadAddressSchema, { address: '10.0.0.1', namespace: 'a', serviceAccount: 'b', ...change }));

    it('takes the messages that the cases below change', () => {
      for (const decode of [servicePort({}), servicePort({ grants: [{ ...grant, ipv4: { address: '10.0.0.1', ports }, binding: 'a/b' }] }), agentUpstream({}), gatewaySettings({}), gatewaySettings({ kernel: { interface: 'eth1', drift: 'Repair' } }), workloadAddress({})]) assert.doesNotThrow(decode);
    });

    for (const [what, decode] of [
      ['an address that is none', workloadAddress({ address: '10.0.0' })],
      ['an address with nobody behind it', workloadAddress({ namespace: '' })],
      ['an address behind which an account has no name', workloadAddress({ serviceAccount: '' })],
      ['a kernel without its interface', gatewaySettings({ kernel: { drift: 'Repair' } })],
      ['a drift policy of a later version', gatewaySettings({ kernel: { interface: 'eth1', drift: 'Ask' } })],
      ['no namespace', servicePort({ namespace: '' })],
      ['no port name', servicePort({ portName: '' })],
      ['port 0', servicePort({ port: 0 })],
      ['port 65536', servicePort({ port: 65_536 })],
      ['a protocol of a later version', servicePort({ protocol: 'QUIC' })],
      ['a mode of FTPS of a later version', servicePort({ protocol: 'FTP', ftp: { dataMode: 'Passive', tls: { mode: 'Intercept' } } })],
      ['a handshake of FTPS of a later version', servicePort({ protocol: 'FTP', ftp: { dataMode: 'Passive', tls: { mode: 'Originate', handshake: 'Quick' } } })],
      ['an FTP data mode of a later version', servicePort({ protocol: 'FTP', ftp: { dataMode: 'Extended' } })],
      ['no place at the agent', servicePort({ agentListen: undefined! })],
      ['a listener that is no address', servicePort({ listen: { address: 'gateway', port: 1 } })],
      ['a listener at port 0', servicePort({ listen: { address: '10.0.0.1', port: 0 } })],
      ['a target that is nowhere', servicePort({ targets: [{ port: 1 }] })],
      ['a target without a host name', servicePort({ targets: [{ port: 1, place: { case: 'host', value: '' } }] })],
      ['a target at no address', servicePort({ targets: [{ port: 1, place: { case: 'address', value: '010.0.0.1' } }] })],
      ['a server identity that is no SPIFFE ID', servicePort({ serverIdentities: ['https://a'] })],
      ['a grant with a binding and no address', servicePort({ grants: [{ ...grant, binding: 'a/b' }] })],
      ['a grant with an address and no binding', servicePort({ grants: [{ ...grant, ipv4: { address: '10.0.0.1', ports } }] })],
      ['a grant with an address and no source ports', servicePort({ grants: [{ ...grant, ipv4: { address: '10.0.0.1' }, binding: 'a/b' }] })],
      ['source ports that end before they begin', servicePort({ grants: [{ ...grant, ipv6: { address: '::1', ports: { first: 9, last: 8 } }, binding: 'a/b' }] })],
      ['source ports from 0', servicePort({ grants: [{ ...grant, ipv6: { address: '::1', ports: { first: 0, last: 8 } }, binding: 'a/b' }] })],
      ['source ports beyond 65535', servicePort({ grants: [{ ...grant, ipv6: { address: '::1', ports: { first: 1, last: 65_536 } }, binding: 'a/b' }] })],
      ['an upstream without a listener', agentUpstream({ listen: undefined! })],
      ['an upstream at a gateway that is no address', agentUpstream({ gateways: [{ address: 'egress-1', port: 1 }] })],
      ['an upstream with a server identity that is none', agentUpstream({ serverIdentities: ['spiffe://a?b'] })],
      ['a gateway of no trust domain', gatewaySettings({ trustDomain: 'Cluster.Local' })],
      ['a gateway without an identity', gatewaySettings({ identity: '' })],
      ['a gateway with passive ports from 0', gatewaySettings({ ftpPassivePorts: { first: 0, last: 1 } })],
      ['a secret that holds no trust bundle', () => decodeTrustBundle(encoded(SecretSchema, { name: 'ROOTCA' }))],
    ] as const) {
      it(what, () => assert.throws(decode, isRefusal));
    }
  });
});
