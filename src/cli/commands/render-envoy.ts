import { Option, type Command } from 'commander';
import { renderEnvoyGateway, resourceToJson } from '../../backends/envoy/index.ts';
import type { CliContext } from '../context.ts';
import { offlineGateways, sayConditions, type GatewayOptions } from '../offline-gateways.ts';
import { formatYaml } from '../output.ts';

interface RenderEnvoyOptions extends GatewayOptions {
  readonly output: 'json' | 'yaml';
}

export function addRenderEnvoy(render: Command, context: CliContext): void {
  render
    .command('envoy')
    .summary('what manifests mean to a stock Envoy, without a control plane')
    .description('Renders manifests offline, as if they were the whole desired state and no address had been given out before: the resources that an Envoy would be sent, as Envoy writes them. Gateways of class sallyport are rendered as if they were Envoys.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--gateway <name>', 'only this EgressGateway')
    .option('--trust-domain <name>', 'the trust domain of the identities', 'cluster.local')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json', 'yaml']).default('yaml'))
    .addHelpText('after', '\nEXAMPLES\n  sallyport render envoy -f manifests/examples/bookinfo-forward-proxy.yaml -o yaml\n\nEXIT CODES\n  0 rendered   2 faults   3 no such gateway')
    .action(async (options: RenderEnvoyOptions) => {
      const { plan, gateways } = await offlineGateways(context, options, 'envoy');
      const rendered = gateways.map((gateway) => {
        const { resources, conditions } = renderEnvoyGateway(plan, gateway);
        sayConditions(context, conditions);
        return { gateway: gateway.name, identity: gateway.identity, resources: resources.map(resourceToJson) };
      });
      if (options.output === 'json') context.out(JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'RenderedList', items: rendered }, null, 2));
      else context.out(rendered.map(formatYaml).join('---\n').trimEnd());
    });
}
