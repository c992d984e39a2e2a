import { Option, type Command } from 'commander';
import { renderEnvoyGateway, resourceToJson, type Rendered } from '../../backends/envoy/index.ts';
import { SallyportError } from '../../core/errors.ts';
import type { DesiredObject, EgressGateway } from '../../core/objects/index.ts';
import type { CliContext } from '../context.ts';
import { buildOffline } from '../offline.ts';
import { formatYaml } from '../output.ts';
import { addRenderFirewall } from './render-firewall.ts';

interface RenderOptions {
  readonly filename: string[];
  readonly gateway?: string;
  readonly trustDomain: string;
  readonly output: 'json' | 'yaml';
}

export function addRender(program: Command, context: CliContext): void {
  const render = program.command('render').summary('what the plan means to a data plane, or to a firewall');
  addRenderFirewall(render, context);
  render
    .command('envoy')
    .summary('what manifests mean to a stock Envoy, without a control plane')
    .description('Renders manifests offline, as if they were the whole desired state and no address had been given out before: the resources that an Envoy would be sent, as Envoy writes them. Gateways of class sallyport are rendered as if they were Envoys.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--gateway <name>', 'only this EgressGateway')
    .option('--trust-domain <name>', 'the trust domain of the identities', 'cluster.local')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'yaml']).default('yaml'))
    .addHelpText('after', '\nEXAMPLES\n  sallyport render envoy -f manifests/examples/bookinfo-forward-proxy.yaml -o yaml\n\nEXIT CODES\n  0 rendered   2 faults   3 no such gateway')
    .action(async (options: RenderOptions) => {
      const { plan } = await buildOffline(context, options, asEnvoys);
      const gateways = plan.gateways.filter(({ class: form, name }) => form === 'envoy' && (options.gateway === undefined || options.gateway === name));
      if (gateways.length === 0) throw new SallyportError('not-found', options.gateway === undefined ? 'there is no EgressGateway in the manifests' : `there is no EgressGateway ${JSON.stringify(options.gateway)}`, { hint: plan.gateways.length === 0 ? 'add one, and -f its file too' : `there are ${plan.gateways.map(({ name }) => name).join(', ')}` });
      const rendered = gateways.map((gateway) => ({ gateway: gateway.name, identity: gateway.identity, ...toJson(context, renderEnvoyGateway(plan, gateway)) }));
      if (options.output === 'json') context.out(JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'RenderedList', items: rendered }, null, 2));
      else context.out(rendered.map(formatYaml).join('---\n').trimEnd());
    });
}

function toJson(context: CliContext, { resources, conditions }: Rendered) {
  for (const { object, message, hint } of conditions) context.say(`warning: ${object}: ${message} (${hint})`);
  return { resources: resources.map(resourceToJson) };
}

/** Whoever is beside another gateway stays what it is: it is there for what Envoy cannot do. */
function asEnvoys(objects: readonly DesiredObject[]): readonly DesiredObject[] {
  const isGateway = (object: DesiredObject): object is EgressGateway => object.kind === 'EgressGateway';
  const beside = new Set(objects.filter(isGateway).map(({ spec }) => spec.handOver));
  return objects.map((object) => (isGateway(object) && object.spec.class === 'sallyport' && !beside.has(object.metadata.name) ? { ...object, spec: { ...object.spec, class: 'envoy' } } : object));
}
