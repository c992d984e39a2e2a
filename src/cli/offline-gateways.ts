/** Gateways of manifests, for commands that render what a data plane would be told, without a control plane. */
import type { Condition } from '../core/plan/condition.ts';
import { inOneSentence } from '../core/fault-text.ts';
import { SallyportError } from '../core/errors.ts';
import type { DesiredObject, EgressGateway, GatewayClass } from '../core/objects/index.ts';
import type { PlannedGateway } from '../core/plan/plan.ts';
import type { CliContext } from './context.ts';
import { buildOffline, type OfflineOptions, type OfflinePlan } from './offline.ts';

export interface GatewayOptions extends OfflineOptions {
  /** Only this EgressGateway. */
  readonly gateway?: string;
}

export interface OfflineGateways extends OfflinePlan {
  /** At least one. */
  readonly gateways: readonly PlannedGateway[];
}

export interface OfflineGateway extends OfflinePlan {
  readonly gateway: PlannedGateway;
}

/** Those of a class, and those of class `sallyport` as if they were of it, where it needs nothing told. Throws `not-found` where there is none. */
export async function offlineGateways(context: CliContext, options: GatewayOptions, gatewayClass: GatewayClass): Promise<OfflineGateways> {
  const { plan, objects } = await buildOffline(context, options, (objects) => as(gatewayClass, objects));
  const gateways = plan.gateways.filter((gateway) => gateway.class === gatewayClass && (options.gateway === undefined || options.gateway === gateway.name));
  if (gateways.length === 0) throw new SallyportError('not-found', options.gateway === undefined ? `there is no EgressGateway ${gatewayClass === 'kernel' ? 'of class kernel ' : ''}in the manifests` : `there is no EgressGateway ${JSON.stringify(options.gateway)}`, { hint: plan.gateways.length === 0 ? 'add one, and -f its file too' : `there are ${plan.gateways.map(({ name }) => name).join(', ')}` });
  return { plan, objects, gateways };
}

/** The one that there is. Throws `usage` where there are several. */
export async function offlineGateway(context: CliContext, options: GatewayOptions, gatewayClass: GatewayClass): Promise<OfflineGateway> {
  const { gateways, ...offline } = await offlineGateways(context, options, gatewayClass);
  const [gateway, ...more] = gateways;
  if (more.length > 0) throw new SallyportError('usage', 'several gateways, each of which is told something else', { hint: `--gateway ${gateways.map(({ name }) => name).join(' | ')}` });
  return { ...offline, gateway: gateway! };
}

/** Whoever is beside another gateway stays what it is: it is there for what that class cannot do. */
function as(gatewayClass: GatewayClass, objects: readonly DesiredObject[]): readonly DesiredObject[] {
  if (gatewayClass === 'kernel') return objects; // it would have to be told its interface
  const isGateway = (object: DesiredObject): object is EgressGateway => object.kind === 'EgressGateway';
  const beside = new Set(objects.filter(isGateway).map(({ spec }) => spec.handOver));
  return objects.map((object) => (isGateway(object) && object.spec.class === 'sallyport' && !beside.has(object.metadata.name) ? { ...object, spec: { ...object.spec, class: gatewayClass } } : object));
}

export function sayConditions(context: CliContext, conditions: readonly Condition[]): void {
  for (const condition of conditions) context.say(`warning: ${condition.object}: ${inOneSentence(condition)}`);
}
