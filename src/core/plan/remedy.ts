/** What to apply so that a denied workload is let out: manifests that grant exactly what was asked, and nothing to anybody else. */
import { stringify } from 'yaml';
import { addressSpaceOf, familiesOf } from '../snat/address-space.ts';
import { coversAuthority, parseAuthority } from './authority.ts';
import { bindingOfSubject, orderBindings, resolveBinding } from './bindings.ts';
import { grantFor } from './decide.ts';
import { keyOf, type DesiredState } from '../desired-state.ts';
import { ownerOf } from '../snat/holder.ts';
import { familyOf, type IpFamily } from '../ip-address.ts';
import { dnsLabel, dnsSubdomain } from '../objects/common.ts';
import { apiVersion, transportOf, type Kind } from '../objects/index.ts';
import { byText } from '../order.ts';
import type { Plan, ServedProtocol, ServicePort, ServicePortId } from './plan.ts';
import { proposeService } from './service-proposal.ts';
import type { WorkloadName } from '../spiffe-id.ts';
import { namedPortOf, servicePortId } from './targets.ts';
import { grantManifest, isOpenTo, mayRefer, reachOf, type Referrer, type RootNamespace } from '../tenancy.ts';

export type Remedy =
  | { readonly ok: true; /** YAML. */ readonly manifests: string }
  /** Why no manifest would do. */
  | { readonly ok: false; readonly obstacle: string };

export interface Denied {
  readonly workload: WorkloadName;
  /** Null where nothing answers to the target. */
  readonly servicePort: ServicePort | null;
  /** As it was asked for. */
  readonly target: string;
  /** What a CONNECT would name. */
  readonly authority: string | null;
}

/** What the manifests of a grant need to know of a service port, there already or proposed. */
interface Destination {
  /** Of the port that stands for it in policies and bindings, or its own where none does. */
  readonly id: ServicePortId;
  readonly namespace: string;
  readonly name: string;
  /** As `namedPortOf`. */
  readonly named: string | null;
  readonly protocol: ServedProtocol;
  /** Of its addresses; empty where only names are known. */
  readonly families: ReadonlySet<IpFamily>;
}

/** RFC 5737 and RFC 3849: for documentation, and nobody's. */
const exampleSources = { ipv4: '192.0.2.10', ipv6: '2001:db8::10' } as const;

/**
 * Manifests that, applied to `desired`, let the workload out. Placeholders, as for the address of a gateway or a pool that
 * is not there yet, are marked by a comment. Whether a pool still has a free address is for `allocate` to say.
 */
export function remedyFor({ workload, servicePort, target, authority }: Denied, plan: Plan, desired: DesiredState, rootNamespace: RootNamespace): Remedy {
  const refuse = (obstacle: string): Remedy => ({ ok: false, obstacle });
  const documents: string[] = [];
  const add = (manifest: Readonly<Record<string, unknown>>, comment?: string) => documents.push(`${comment === undefined ? '' : `# ${comment}\n`}${stringify(manifest, { lineWidth: 0, compat: 'yaml-1.1' })}`);

  if (!dnsLabel.safeParse(workload.namespace).success || !dnsSubdomain.safeParse(workload.serviceAccount).success) return refuse('a manifest cannot name this identity: its parts are no Kubernetes names');
  const asked = authority === null ? null : parseAuthority(authority);
  if (asked === undefined) return refuse('the authority is not of the form host:port');

  let destination: Destination;
  if (servicePort === null) {
    const proposal = proposeService(target, workload.namespace, plan, desired, rootNamespace);
    if (!proposal.ok) return proposal;
    const { namespace, name, portName, address, manifest, comment } = proposal;
    add(manifest, comment);
    destination = { id: servicePortId(keyOf(proposal), portName), namespace, name, named: portName, protocol: 'TCP', families: new Set(address === undefined ? [] : [familyOf(address)]) };
  } else {
    const { service, portName, protocol, targets } = servicePort;
    const desiredService = desired.ExternalService.get(keyOf(service))!;
    const named = namedPortOf(desiredService, portName);
    const brought = plan.servicePorts.filter((other) => keyOf(other.service) === keyOf(service) && (named === null || namedPortOf(desiredService, other.portName) === named));
    const rival = brought.map((each) => agentRival(workload, each, plan)).find((each) => each !== undefined);
    if (rival !== undefined) return refuse(`its agent offers ${rival.id} on the same address and port: first set "agentAddress" of one of the two services to another loopback address`);
    destination = { id: servicePortId(keyOf(service), named ?? portName), ...service, named, protocol, families: new Set(targets.flatMap((each) => (each.kind === 'address' ? [familyOf(each.address)] : []))) };
  }

  if (desired.EgressGateway.size === 0) add(gatewayManifest(desired), 'replace the address by one on which the gateway listens');

  const to = [{ service: destination.name, ...(destination.namespace !== workload.namespace && { namespace: destination.namespace }), ...(destination.named !== null && { ports: [destination.named] }) }];
  const metadata = (kind: Kind) => ({ name: freeName(`${workload.serviceAccount}-to-${destination.name}`, workload.namespace, desired, kind), namespace: workload.namespace });
  const grant = servicePort === null ? undefined : grantFor(servicePort, workload);
  const referrers: Referrer[] = [];
  const limit = asked === null || destination.protocol !== 'HTTPConnect' ? null : asked;
  if (grant === undefined || (limit !== null && grant.connectAuthorities !== null && !coversAuthority(grant.connectAuthorities, limit))) {
    const constraints = limit === null ? {} : { constraints: { connectAuthorities: [`${limit.host.includes(':') ? `[${limit.host}]` : limit.host}:${limit.port}`] } };
    referrers.push({ kind: 'EgressPolicy', namespace: workload.namespace });
    add({ apiVersion, kind: 'EgressPolicy', metadata: metadata('EgressPolicy'), spec: { subjects: [{ ...workload }], to, ...constraints } }, destination.named === null ? 'the way back is for whoever may use the service' : undefined);
  }

  const need = bindingNeed(workload, destination, desired);
  if (need === 'change') return refuse(`its SnatBinding for this very port has no address of a family that ${destination.id} has: change that binding`);
  if (need === 'add') {
    const pools = [...desired.SnatPool.values()].sort((a, b) => byText(a.metadata.name, b.metadata.name));
    const pool = pools.filter(({ spec }) => isOpenTo(spec.namespaces, workload.namespace, rootNamespace, desired.Namespace)).find((candidate) => destination.families.size === 0 || familiesOf(addressSpaceOf(candidate)).some((family) => destination.families.has(family)));
    const poolName = pool?.metadata.name ?? freeName('pool', '', desired, 'SnatPool');
    if (pool === undefined) {
      const family = destination.families.has('ipv6') && !destination.families.has('ipv4') ? 'ipv6' : 'ipv4';
      add({ apiVersion, kind: 'SnatPool', metadata: { name: poolName }, spec: { addresses: [exampleSources[family]] } }, 'replace the address by those that the gateway may leave from');
    }
    referrers.push({ kind: 'SnatBinding', namespace: workload.namespace });
    add({ apiVersion, kind: 'SnatBinding', metadata: metadata('SnatBinding'), spec: { subject: { ...workload }, pool: poolName, targets: to } });
  }
  const reach = reachOf(rootNamespace, desired.ReferenceGrant.values());
  const barred = referrers.filter((from) => !mayRefer(from, destination, reach));
  if (barred.length > 0) add(grantManifest(freeName(`${workload.namespace}-to-${destination.name}`, destination.namespace, desired, 'ReferenceGrant'), barred, destination), `by whoever may write in namespace "${destination.namespace}"`);
  return { ok: true, manifests: documents.join('---\n') };
}

/** Whether the workload needs a further binding at this port. One for this account and port alone (for the way back, this service) moves no other address, and yields only to its like. */
function bindingNeed(workload: WorkloadName, { id, namespace, name, named, families }: Destination, desired: DesiredState): 'none' | 'add' | 'change' {
  const mine = [...desired.SnatBinding.values()].filter((binding) => ownerOf(binding).namespace === workload.namespace);
  const ordered = orderBindings(mine.map((binding) => resolveBinding(binding, desired, new Map(), reachOf(undefined, []))));
  const best = bindingOfSubject(ordered, workload, id);
  if (best === undefined) return 'add';
  const { pool, addresses = [] } = desired.SnatBinding.get(best.key)!.spec;
  const space = pool === undefined ? undefined : desired.SnatPool.get(pool);
  const given = new Set(space === undefined ? addresses.map(familyOf) : familiesOf(addressSpaceOf(space)));
  if (families.size === 0 || [...given].some((family) => families.has(family))) return 'none';
  return best.owner.kind === 'serviceAccount' && best.scopes.includes(named === null ? keyOf({ namespace, name }) : id) ? 'change' : 'add';
}

/** Another service port that the workload has a grant for and that its agent would offer in the same place. Of the way back it offers nothing. */
function agentRival(workload: WorkloadName, { id, protocol, agentListen: { address, port } }: ServicePort, plan: Plan): ServicePort | undefined {
  if (protocol === 'Reverse') return undefined;
  return plan.servicePorts.find((other) => other.id !== id && other.protocol !== 'Reverse' && other.agentListen.port === port && other.agentListen.address === address && transportOf(other.protocol) === transportOf(protocol) && (grantFor(other, workload)?.snat ?? null) !== null);
}

function gatewayManifest(desired: DesiredState) {
  const taken = new Set([...desired.ExternalService.values()].flatMap(({ spec }) => spec.ports.map(({ listen }) => listen?.port)));
  let port = 15443;
  while (taken.has(port)) port += 1;
  return { apiVersion, kind: 'EgressGateway', metadata: { name: 'gateway' }, spec: { class: 'sallyport', listen: [{ address: '127.0.0.1', port }] } };
}

const nameLengthMax = 240; // of 253 (DNS-1123 subdomain), so that a number fits behind

/** A name that no object of the kind has, so that applying replaces nothing. */
function freeName(wanted: string, namespace: string, desired: DesiredState, kind: Kind): string {
  const base = wanted.slice(0, nameLengthMax).replace(/[^a-z0-9]+$/, '');
  let name = base;
  for (let count = 2; desired[kind].has(keyOf({ namespace, name })); count += 1) name = `${base}-${count}`;
  return name;
}
