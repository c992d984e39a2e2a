/**
 * The older form (`externalservice.example.com/v1alpha1`, k8s-ext-connector) in terms of ours. One object becomes
 *
 * - an ExternalService: workloads use its `targetPort`, the external server listens on its `port`;
 * - an EgressPolicy that lets the Services of `sources` go there, and nobody else;
 * - a SnatBinding a Service, with fixed addresses, for this external service only;
 * - a SnatPool a source address, named by the address alone, so that several older objects that use one address for
 *   the same Service bring the same pool. Two Services on one address are refused later, as two holders of it.
 *
 * The reverse direction (from the external server to the Service) is off unless `bidirectional` names its ports, which is our addition to the
 * older form: k8s-ext-connector opens every port of the Service.
 */
import { familyOf, parseAddressRange, type IpAddress } from '../ip-address.ts';
import { invariant, type FieldPath } from '../errors.ts';
import { apiVersion, defaultPortName, olderApiVersion, type DesiredObject, type EgressPolicy, type ExternalService, type OlderExternalService, type SnatBinding, type SnatPool } from '../objects/index.ts';

/** Marks what was converted with the form and the object that it came from. */
export const convertedFromAnnotation = 'sallyport.dev/converted-from';

export interface ConvertedObject {
  readonly object: DesiredObject;
  /** The field of the older object that a field of this one came from. */
  readonly originOf: (path: FieldPath) => FieldPath;
}

/**
 * Converts one object. What it makes is valid if the older one is, and the same for the same object. It speaks about Services of any
 * namespace: where that is the root namespace's alone, policy and bindings are put there, and the pools are for no tenant.
 */
export function convertOlderExternalService(older: OlderExternalService, rootNamespace?: string): readonly ConvertedObject[] {
  const { name, namespace } = older.metadata;
  const speaker = rootNamespace ?? namespace;
  const target = { service: name, ...(speaker !== namespace && { namespace }) };
  const { targetIP, sources, ports, bidirectional } = older.spec;
  const converted = { annotations: { [convertedFromAnnotation]: `${olderApiVersion} ${namespace}/${name}` } };

  const service: ExternalService = {
    apiVersion,
    kind: 'ExternalService',
    metadata: { name, namespace, ...(older.metadata.labels !== undefined && { labels: older.metadata.labels }), annotations: { ...older.metadata.annotations, ...converted.annotations } },
    spec: {
      addresses: [targetIP],
      ports: ports.map(({ protocol, port, targetPort = port, name: portName = defaultPortName(protocol, targetPort) }) => ({ name: portName, port: targetPort, targetPort: port, protocol })),
      ...(bidirectional !== undefined && { reverse: bidirectional.map((port) => ({ ...port, name: port.name ?? defaultPortName('reverse', port.port) })) }),
    },
  };

  const bySource = groupBySource(sources);
  const policy: EgressPolicy = {
    apiVersion,
    kind: 'EgressPolicy',
    metadata: { name, namespace: speaker, ...converted },
    spec: { subjects: bySource.map(({ subject }) => ({ service: subject })), to: [target] },
  };
  const bindings = bySource.map(({ subject, entries }): ConvertedObject => {
    const object: SnatBinding = {
      apiVersion,
      kind: 'SnatBinding',
      metadata: { name: `${name}.${subject.namespace}.${subject.name}`, namespace: speaker, ...converted }, // labels without dots, so two sources never make one name
      spec: { subject: { service: subject }, addresses: entries.map(({ address }) => address), targets: [target] },
    };
    const originOf = ([area, field, index]: FieldPath): FieldPath => {
      if (area !== 'spec') return ['metadata'];
      const entry = entries[field === 'addresses' ? Number(index ?? 0) : 0] ?? entries[0]!;
      return ['spec', 'sources', entry.index, field === 'addresses' ? 'sourceIP' : 'service'];
    };
    return { object, originOf };
  });

  const firstUses = new Map<IpAddress, number>();
  for (const [index, { sourceIP }] of sources.entries()) if (!firstUses.has(sourceIP)) firstUses.set(sourceIP, index);
  const pools = Array.from(firstUses, ([address, index]): ConvertedObject => ({ object: poolOf(address, rootNamespace === undefined ? {} : { namespaces: { from: 'None' } }), originOf: () => ['spec', 'sources', index, 'sourceIP'] }));

  return [
    { object: service, originOf: serviceOrigin(older) },
    { object: policy, originOf: policyOrigin(bySource.map(({ entries }) => entries[0]!.index)) },
    ...bindings,
    ...pools,
  ];
}

interface Source {
  readonly subject: { readonly namespace: string; readonly name: string };
  /** One per family, with its place in `sources`. */
  readonly entries: readonly { readonly address: IpAddress; readonly index: number }[];
}

/** The sources by Service, in their order. An address that is there twice for one Service counts once. */
function groupBySource(sources: OlderExternalService['spec']['sources']): readonly Source[] {
  const groups = Map.groupBy(
    sources.map((source, index) => ({ ...source, index })),
    ({ service }) => `${service.namespace}/${service.name}`,
  );
  return Array.from(groups.values(), (group) => ({
    subject: group[0]!.service,
    entries: Array.from(new Map(group.toReversed().map(({ sourceIP, index }) => [sourceIP, index])), ([address, index]) => ({ address, index })).toSorted((a, b) => a.index - b.index),
  }));
}

/** The pool of one address. It depends on the address alone, so that every object that names the address makes the same one. */
function poolOf(address: IpAddress, access: Pick<SnatPool['spec'], 'namespaces'>): SnatPool {
  const range = parseAddressRange(address);
  invariant(range.ok, `address ${address} is a range of one`);
  return {
    apiVersion,
    kind: 'SnatPool',
    metadata: { name: `older-${nameOfAddress(address)}`, annotations: { [convertedFromAnnotation]: olderApiVersion } },
    spec: { addresses: [range.range], exclude: [], quarantine: 86_400_000, sharing: { mode: 'Exclusive' }, ...access },
  };
}

/** An address as part of a DNS name: `192.168.122.200`, `2001-db8-0-0-0-0-0-1`. */
function nameOfAddress(address: IpAddress): string {
  if (familyOf(address) === 'ipv4') return address;
  const [head = '', tail] = address.split('::').map((part) => (part === '' ? [] : part.split(':')).join('-'));
  if (tail === undefined) return head;
  const groups = (part: string) => (part === '' ? [] : part.split('-'));
  const zeros = Array.from({ length: 8 - groups(head).length - groups(tail).length }, () => '0');
  return [...groups(head), ...zeros, ...groups(tail)].join('-');
}

function serviceOrigin(older: OlderExternalService): ConvertedObject['originOf'] {
  return (path) => {
    const [area, field, index, detail] = path;
    if (area !== 'spec') return path;
    if (field === 'reverse') return ['spec', 'bidirectional', ...path.slice(2)];
    if (field !== 'ports') return field === 'addresses' ? ['spec', 'targetIP'] : ['spec'];
    const used = older.spec.ports[Number(index)]?.targetPort === undefined ? 'port' : 'targetPort';
    const origin = detail === 'port' ? [used] : detail === 'targetPort' ? ['port'] : detail === undefined ? [] : [detail];
    return ['spec', 'ports', ...(index === undefined ? [] : [index]), ...origin];
  };
}

function policyOrigin(firstIndexes: readonly number[]): ConvertedObject['originOf'] {
  return ([area, field, index]) => {
    if (area !== 'spec') return ['metadata'];
    const source = field === 'subjects' ? firstIndexes[Number(index)] : undefined;
    return source === undefined ? ['spec', 'sources'] : ['spec', 'sources', source, 'service'];
  };
}
