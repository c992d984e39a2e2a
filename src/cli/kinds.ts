/** The names by which commands take kinds: singular, plural and short, in any case, as kubectl does. */
import { SallyportError } from '../core/errors.ts';
import type { Kind } from '../core/objects/index.ts';

interface KindName {
  readonly kind: Kind;
  readonly namespaced: boolean;
  readonly names: readonly string[];
}

const kindNames: readonly KindName[] = [
  { kind: 'EgressGateway', namespaced: false, names: ['egressgateway', 'egressgateways', 'gateway', 'gateways', 'gw'] },
  { kind: 'EgressPolicy', namespaced: true, names: ['egresspolicy', 'egresspolicies', 'policy', 'policies', 'ep'] },
  { kind: 'ExternalService', namespaced: true, names: ['externalservice', 'externalservices', 'es'] },
  { kind: 'Namespace', namespaced: false, names: ['namespace', 'namespaces', 'ns'] },
  { kind: 'ReferenceGrant', namespaced: true, names: ['referencegrant', 'referencegrants', 'refg'] },
  { kind: 'Service', namespaced: true, names: ['service', 'services', 'svc'] },
  { kind: 'SnatBinding', namespaced: true, names: ['snatbinding', 'snatbindings', 'binding', 'bindings', 'sb'] },
  { kind: 'SnatPool', namespaced: false, names: ['snatpool', 'snatpools', 'pool', 'pools', 'sp'] },
  { kind: 'WorkloadEntry', namespaced: true, names: ['workloadentry', 'workloadentries', 'we'] },
];

export function parseKind(text: string): KindName {
  const found = kindNames.find(({ names }) => names.includes(text.toLowerCase()));
  if (found === undefined) throw new SallyportError('usage', `${JSON.stringify(text)} is not a kind`, { value: text, hint: `kinds: ${kindNames.map(({ names }) => names[1]).join(', ')}` });
  return found;
}
