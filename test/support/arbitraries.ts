/** Arbitrary valid objects of every kind, as `parseManifests` would give them. */
import fc from 'fast-check';
import { numberToAddress, parseAddress, parseAddressRange, familyOf, type AddressRange, type IpAddress, type IpFamily } from '../../src/core/ip-address.ts';
import {
  apiGroup,
  apiVersion,
  dataPortName,
  defaultPortName,
  ftpDataModes,
  driftPolicies,
  ftpsHandshakes,
  protocols,
  type DesiredObject,
  type EgressGateway,
  type EgressPolicy,
  type ExternalService,
  type ExternalServicePort,
  type KubernetesService,
  type NamespaceObject,
  type ReferenceGrant,
  type SnatBinding,
  type SnatPool,
  type WorkloadEntry,
} from '../../src/core/objects/index.ts';
import { unknownCommandRules } from '../../src/core/ftp/rules.ts';
import { parseSpiffeId, type SpiffeId } from '../../src/core/spiffe-id.ts';
import { makePki } from './pki.ts';

const plain = { noNullPrototype: true } as const; // as the reader gives them

export const anyDnsLabel = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,10}[a-z0-9])?$/);
export const anyDnsName = fc.array(anyDnsLabel, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
/** Never all digits and dots: that would read as an address. */
export const anyHostName = anyDnsName.map((name) => `h${name}`);
export const anyPort = fc.integer({ min: 1, max: 65_535 });

export const anyIpv4 = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value) => numberToAddress('ipv4', value));
/** Without the IPv4-mapped ones, which are read as IPv4. */
export const anyIpv6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value) => numberToAddress('ipv6', value)).filter((address) => parseAddress(address) === address);
export const anyAddress: fc.Arbitrary<IpAddress> = fc.oneof(anyIpv4, anyIpv6);

const bits: Readonly<Record<IpFamily, number>> = { ipv4: 32, ipv6: 128 };

/** An address, a range or a block, of any size. */
export const anyAddressRange: fc.Arbitrary<AddressRange> = fc
  .constantFrom<IpFamily>('ipv4', 'ipv6')
  .chain((family) => {
    const number = fc.bigInt({ min: 0n, max: 2n ** BigInt(bits[family]) - 1n });
    const single = number.map((value) => numberToAddress(family, value));
    const span = fc.tuple(number, number).map(([a, b]) => `${numberToAddress(family, a < b ? a : b)}-${numberToAddress(family, a < b ? b : a)}`);
    const block = fc.tuple(number, fc.integer({ min: 0, max: bits[family] })).map(([value, prefix]) => {
      const size = 2n ** BigInt(bits[family] - prefix);
      return `${numberToAddress(family, (value / size) * size)}/${prefix}`;
    });
    return fc.oneof(single, span, block);
  })
  .map(parseAddressRange)
  .filter((parsed) => parsed.ok) // blocks at an IPv4-mapped IPv6 address are refused
  .map(({ range }) => range);

export const anySpiffeId: fc.Arbitrary<SpiffeId> = fc.tuple(anyDnsName, fc.array(fc.stringMatching(/^[A-Za-z0-9_-]{1,8}$/), { maxLength: 4 })).map(([domain, path]) => {
  const parsed = parseSpiffeId(['spiffe:/', domain, ...path].join('/'));
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.id;
});

const anyDuration = fc.integer({ min: 0, max: 3_650 * 86_400_000 });
const anyTimeout = fc.integer({ min: 1, max: 24 * 86_400_000 });

// Text that YAML or one of its readers could take for something else.
const anyText = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 20 }), fc.constantFrom('yes', 'null', '~', '1e3', '0o7', '0x1f', '- a', 'a: b', '# a', '*a', '&a', '!a', ' a ', 'a\nb\n', '\ta', '{', '<<', '2001-01-01', '\u2028', '\u0000'));
const anyKey = fc.stringMatching(/^[a-z0-9][a-z0-9./-]{0,12}$/);
const anyTexts = fc.dictionary(anyKey, anyText, { maxKeys: 4, noNullPrototype: true });
const labelling = { labels: anyTexts, annotations: anyTexts };
/** As pools and gateways say for whom they are. */
const anyAllowedNamespaces = fc.oneof(
  fc.record({ from: fc.constantFrom('All' as const, 'None' as const) }, plain),
  fc.record({ from: fc.constant('Names' as const), names: fc.array(anyDnsLabel, { minLength: 1, maxLength: 3 }) }, plain),
  fc.record({ from: fc.constant('Selector' as const), selector: fc.record({ matchLabels: fc.dictionary(anyKey, anyText, { minKeys: 1, maxKeys: 3, noNullPrototype: true }) }, plain) }, plain),
);
const clusterMetadata = fc.record({ name: anyDnsName, ...labelling }, { requiredKeys: ['name'], ...plain });
const namespacedMetadata = fc.record({ name: anyDnsName, namespace: anyDnsLabel, ...labelling }, { requiredKeys: ['name', 'namespace'], ...plain });

const anyPortRange = fc.tuple(anyPort, anyPort).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) }));

const anyEndpoint = fc.record({ address: anyAddress, port: anyPort }, plain);

const anyDrift = fc.constantFrom(...driftPolicies);
const anyKernelSettings = fc.record({ interface: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/), drift: anyDrift }, plain);
const anyBigipSettings = fc.record(
  {
    management: fc.array(fc.record({ host: fc.oneof(anyHostName, anyAddress), port: anyPort }, plain), { minLength: 1, maxLength: 2 }),
    credentials: anyDnsName,
    partition: fc.stringMatching(/^[A-Z][0-9A-Za-z_.-]{0,20}$/).filter((name) => name !== 'Common'),
    drift: anyDrift,
    logTo: fc.array(anyEndpoint, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: ['drift'], ...plain },
);

const anyGatewaySpec = fc.record(
  {
    handOver: anyDnsName,
    identity: anySpiffeId,
    localPorts: anyPortRange,
    namespaces: anyAllowedNamespaces,
    ftp: fc.record({ passivePorts: anyPortRange }, { requiredKeys: [], ...plain }),
    limits: fc.record({
      connectionsPerIdentity: fc.integer({ min: 1, max: 1_000_000 }),
      handshakeTimeout: anyTimeout,
      connectTimeout: anyTimeout,
      idleTimeout: anyTimeout,
      ftpDataTimeout: anyTimeout,
      udpFlowsPerIdentity: fc.integer({ min: 1, max: 60_000 }),
      udpIdleTimeout: anyTimeout,
    }, plain),
  },
  { requiredKeys: ['limits'], ...plain },
);
const anyListeners = { listen: fc.array(anyEndpoint, { minLength: 1, maxLength: 3 }), advertise: fc.array(anyEndpoint, { minLength: 1, maxLength: 3 }) };
/** What goes with a class. */
const anyGatewayClass = fc.oneof(
  fc.record({ class: fc.constantFrom('sallyport' as const, 'envoy' as const), ...anyListeners }, { requiredKeys: ['class', 'listen'], ...plain }),
  fc.record({ class: fc.constant('bigip' as const), ...anyListeners, bigip: anyBigipSettings }, { requiredKeys: ['class', 'listen'], ...plain }),
  fc.record({ class: fc.constant('kernel' as const), listen: fc.constant<EgressGateway['spec']['listen']>([]), kernel: anyKernelSettings }, plain),
);

export const anyEgressGateway: fc.Arbitrary<EgressGateway> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('EgressGateway'),
  metadata: clusterMetadata,
  spec: fc.tuple(anyGatewayClass, anyGatewaySpec).map(([ofClass, common]) => ({ ...ofClass, ...common })),
}, plain);

const { rootPem } = makePki();
const anyFtpOptions = fc.record({ dataMode: fc.constantFrom(...ftpDataModes), recordDigest: fc.boolean() }, plain);
const anyTlsOptions = fc.oneof(
  fc.record({ mode: fc.constant('Originate' as const), handshake: fc.constantFrom(...ftpsHandshakes), serverName: fc.oneof(anyHostName, anyAddress), caCertificates: fc.constant(rootPem) }, { requiredKeys: ['mode', 'handshake'], ...plain }),
  fc.record({ mode: fc.constant('PassThrough' as const), handshake: fc.constantFrom(...ftpsHandshakes), dataPorts: fc.tuple(fc.integer({ min: 1, max: 65_408 }), fc.nat({ max: 127 })).map(([first, more]) => ({ first, last: first + more })) }, plain),
);

const portFields = {
  name: fc.option(anyDnsLabel, { nil: undefined }),
  port: anyPort,
  targetPort: anyPort,
  listen: fc.record({ address: anyAddress, port: anyPort }, { requiredKeys: ['port'], ...plain }),
};
const requiredKeys = ['name', 'port', 'protocol'] as const;
const anyServicePort = fc.oneof(
  fc.record({ ...portFields, protocol: fc.constantFrom(...protocols.filter((protocol) => protocol !== 'FTP' && protocol !== 'FTPS')) }, { requiredKeys: [...requiredKeys], ...plain }),
  fc.record({ ...portFields, protocol: fc.constant('FTP' as const), ftp: anyFtpOptions }, { requiredKeys: [...requiredKeys], ...plain }),
  fc.record({ ...portFields, protocol: fc.constant('FTPS' as const), ftp: anyFtpOptions, tls: anyTlsOptions }, { requiredKeys: [...requiredKeys], ...plain }),
);

const anyExternalServicePorts = fc
  .uniqueArray(anyServicePort, { minLength: 1, maxLength: 4, selector: ({ port }) => port })
  .map((ports) => ports.map((port): ExternalServicePort => ({ ...port, name: port.name ?? defaultPortName(port.protocol, port.port) })))
  .filter(areTheirOwn);

/** Numbers and names of ports and of the data ports within: each is there once. */
function areTheirOwn(ports: readonly ExternalServicePort[]): boolean {
  const dataPorts = ports.flatMap(({ name, tls }) => {
    const { first, last } = tls?.dataPorts ?? { first: 1, last: 0 };
    return Array.from({ length: last - first + 1 }, (_, index) => ({ name: dataPortName(name, first + index), port: first + index }));
  });
  const all = [...ports, ...dataPorts];
  return new Set(all.map(({ name }) => name)).size === all.length && new Set(all.map(({ port }) => port)).size === all.length;
}

const anyReversePorts = fc
  .uniqueArray(fc.record({ name: fc.option(anyDnsLabel, { nil: undefined }), port: anyPort, workloadPort: anyPort }, { requiredKeys: ['name', 'port'], ...plain }), { minLength: 1, maxLength: 3, selector: ({ port }) => port })
  .map((ports) => ports.map((port) => ({ ...port, name: port.name ?? defaultPortName('reverse', port.port) })))
  .filter((ports) => new Set(ports.map(({ name }) => name)).size === ports.length);

const serviceDetails = {
  ports: anyExternalServicePorts,
  reverse: anyReversePorts,
  gateway: anyDnsName,
  serverNames: fc.array(anyHostName, { maxLength: 3 }),
  subjectAltNames: fc.array(anySpiffeId, { minLength: 1, maxLength: 3 }),
  agentAddress: anyAddress,
};

export const anyExternalService: fc.Arbitrary<ExternalService> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('ExternalService'),
  metadata: namespacedMetadata,
  spec: fc.oneof(
    fc.record({ addresses: fc.array(anyAddress, { minLength: 1, maxLength: 3 }), ...serviceDetails }, { requiredKeys: ['addresses', 'ports'], ...plain }),
    fc.record({ hosts: fc.array(anyHostName, { minLength: 1, maxLength: 3 }), ...serviceDetails }, { requiredKeys: ['hosts', 'ports'], ...plain }),
  ),
}, plain);

const anyServiceTarget = fc.record(
  { service: anyDnsName, namespace: anyDnsLabel, ports: fc.array(fc.oneof(anyPort, anyDnsLabel), { minLength: 1, maxLength: 3 }) },
  { requiredKeys: ['service'], ...plain },
);
const namespaceSubject = fc.record({ namespace: anyDnsLabel, serviceAccount: anyDnsName }, { requiredKeys: ['namespace'], ...plain });
const serviceSubject = fc.record({ service: fc.record({ namespace: anyDnsLabel, name: anyDnsName }, { requiredKeys: ['name'], ...plain }) }, plain);
const selectorSubject = fc.record(
  { namespaceSelector: fc.record({ matchLabels: fc.dictionary(anyKey, anyText, { minKeys: 1, maxKeys: 3, noNullPrototype: true }) }, plain), serviceAccount: anyDnsName },
  { requiredKeys: ['namespaceSelector'], ...plain },
);
const anyAuthority = fc.tuple(fc.constantFrom('', '*.'), anyHostName, fc.oneof(anyPort.map(String), fc.constant('*'))).map(([wildcard, host, port]) => `${wildcard}${host}:${port}`);

const anyFtpConstraints = fc.record(
  {
    readOnly: fc.boolean(),
    noDelete: fc.boolean(),
    paths: fc.array(fc.array(anyDnsLabel, { maxLength: 3 }).map((segments) => `/${segments.join('/')}`), { minLength: 1, maxLength: 3 }),
    users: fc.array(anyDnsLabel, { minLength: 1, maxLength: 3 }),
    maxTransferBytes: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    maxBytesPerSecond: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    unknownCommands: fc.constantFrom(...unknownCommandRules),
  },
  { requiredKeys: [], ...plain },
);

export const anyEgressPolicy: fc.Arbitrary<EgressPolicy> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('EgressPolicy'),
  metadata: namespacedMetadata,
  spec: fc.record(
    {
      subjects: fc.array(fc.oneof(namespaceSubject, selectorSubject, serviceSubject), { minLength: 1, maxLength: 4 }),
      to: fc.array(anyServiceTarget, { minLength: 1, maxLength: 4 }),
      constraints: fc.record({ connectAuthorities: fc.array(anyAuthority, { minLength: 1, maxLength: 3 }), ftp: anyFtpConstraints }, { requiredKeys: [], ...plain }),
    },
    { requiredKeys: ['subjects', 'to'], ...plain },
  ),
}, plain);

const bindingDetails = { subject: fc.oneof(namespaceSubject, serviceSubject), targets: fc.array(anyServiceTarget, { minLength: 1, maxLength: 3 }) };

export const anySnatBinding: fc.Arbitrary<SnatBinding> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('SnatBinding'),
  metadata: namespacedMetadata,
  spec: fc.oneof(
    fc.record({ pool: anyDnsName, ...bindingDetails }, { requiredKeys: ['pool', 'subject'], ...plain }),
    fc.record({ addresses: fc.uniqueArray(anyAddress, { minLength: 1, maxLength: 2, selector: familyOf }), ...bindingDetails }, { requiredKeys: ['addresses', 'subject'], ...plain }),
  ),
}, plain);

export const anySnatPool: fc.Arbitrary<SnatPool> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('SnatPool'),
  metadata: clusterMetadata,
  spec: fc.record({
    addresses: fc.array(anyAddressRange, { minLength: 1, maxLength: 4 }),
    exclude: fc.array(anyAddress, { maxLength: 3 }),
    quarantine: anyDuration,
    sharing: fc.oneof(fc.record({ mode: fc.constant('Exclusive') }, plain), fc.record({ mode: fc.constant('PortBlocks'), blockSize: fc.integer({ min: 16, max: 32_256 }) }, plain)),
    namespaces: anyAllowedNamespaces,
  }, { requiredKeys: ['addresses', 'exclude', 'quarantine', 'sharing'], ...plain }),
}, plain);

const anyGroup = fc.constant(apiGroup);

export const anyReferenceGrant: fc.Arbitrary<ReferenceGrant> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('ReferenceGrant'),
  metadata: namespacedMetadata,
  spec: fc.record({
    from: fc.array(fc.record({ group: anyGroup, kind: fc.constantFrom('EgressPolicy' as const, 'SnatBinding' as const), namespace: anyDnsLabel }, plain), { minLength: 1, maxLength: 3 }),
    to: fc.array(fc.record({ group: anyGroup, kind: fc.constant('ExternalService' as const), name: anyDnsName }, { requiredKeys: ['group', 'kind'], ...plain }), { minLength: 1, maxLength: 3 }),
  }, plain),
}, plain);

export const anyWorkloadEntry: fc.Arbitrary<WorkloadEntry> = fc.record({
  apiVersion: fc.constant(apiVersion),
  kind: fc.constant('WorkloadEntry'),
  metadata: namespacedMetadata,
  spec: fc.record({ addresses: fc.array(anyAddress, { minLength: 1, maxLength: 3 }), namespace: anyDnsLabel, serviceAccount: anyDnsName }, { requiredKeys: ['addresses', 'serviceAccount'], ...plain }),
}, plain);

export const anyNamespaceObject: fc.Arbitrary<NamespaceObject> = fc.record({ apiVersion: fc.constant('v1'), kind: fc.constant('Namespace'), metadata: clusterMetadata }, plain);
export const anyKubernetesService: fc.Arbitrary<KubernetesService> = fc.record({ apiVersion: fc.constant('v1'), kind: fc.constant('Service'), metadata: namespacedMetadata }, plain);

export const anyDesiredObject: fc.Arbitrary<DesiredObject> = fc.oneof(anyEgressGateway, anyEgressPolicy, anyExternalService, anyKubernetesService, anyNamespaceObject, anyReferenceGrant, anySnatBinding, anySnatPool, anyWorkloadEntry);
