/**
 * The AS3 declaration for a cluster whose F5 Container Ingress Services (k8s-bigip-ctlr) drive the box: a ConfigMap, which they hand to AS3
 * as it is. Their custom resources cannot say it, and why is docs/decisions/0806.
 *
 * Source: docs/config_examples/configmap/user-defined-configmap of F5Networks/k8s-bigip-ctlr.
 */
import { SallyportError } from '../../core/errors.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import { renderAs3 } from './as3.ts';

/** Its namespace is one that CIS watches, which whoever applies it knows. */
export interface CisConfigMap {
  readonly apiVersion: 'v1';
  readonly kind: 'ConfigMap';
  readonly metadata: { readonly name: string; readonly labels: { readonly f5type: 'virtual-server'; readonly as3: 'true' } };
  readonly data: { readonly template: string };
}

export interface RenderedConfigMap {
  readonly configMap: CisConfigMap;
  /** What of the plan is refused, as by `renderAs3`. */
  readonly conditions: readonly Condition[];
}

/** What an API server stores of a ConfigMap's data ("ConfigMaps" of Kubernetes' documentation: 1 MiB). */
const dataBytesMax = 1_048_576;

/** Certificate and key are files on the box (`importedIdentity`). Throws where a ConfigMap cannot hold it. */
export function renderCis(plan: Plan, gateway: PlannedGateway): RenderedConfigMap {
  const { declaration, conditions } = renderAs3(plan, gateway);
  const template = JSON.stringify({ class: 'AS3', action: 'deploy', persist: true, declaration }, null, 2);
  const bytes = Buffer.byteLength(template);
  if (bytes > dataBytesMax) throw new SallyportError('usage', `the declaration has ${bytes} bytes, and a ConfigMap holds ${dataBytesMax}`, { hint: 'let the control plane drive the box, or give it the declaration itself: -o as3' });
  return { configMap: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `sallyport-${gateway.name}`, labels: { f5type: 'virtual-server', as3: 'true' } }, data: { template } }, conditions };
}
