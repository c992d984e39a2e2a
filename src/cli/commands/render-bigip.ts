import { Option, type Command } from 'commander';
import { stringify } from 'yaml';
import { application, importedIdentity, renderAs3, renderCis, renderTmsh } from '../../backends/bigip/index.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import type { CliContext } from '../context.ts';
import { offlineGateway, sayConditions, type GatewayOptions } from '../offline-gateways.ts';

interface RenderBigipOptions extends GatewayOptions {
  readonly output: keyof typeof formats;
}

interface RenderedText {
  readonly text: string;
  readonly conditions: readonly Condition[];
}

/** The ways into a BIG-IP. */
const formats = {
  as3(plan: Plan, gateway: PlannedGateway): RenderedText {
    const { declaration, conditions } = renderAs3(plan, gateway);
    return { text: JSON.stringify(declaration, null, 2), conditions };
  },
  cis(plan: Plan, gateway: PlannedGateway): RenderedText {
    const { configMap, conditions } = renderCis(plan, gateway);
    return { text: stringify(configMap, { compat: 'yaml-1.1', lineWidth: 0 }).trimEnd(), conditions };
  },
  tmsh(plan: Plan, gateway: PlannedGateway): RenderedText {
    const { text, conditions } = renderTmsh(plan, gateway);
    return { text: text.trimEnd(), conditions };
  },
} as const;

export function addRenderBigip(render: Command, context: CliContext): void {
  render
    .command('bigip')
    .summary('what manifests mean to a BIG-IP, without a control plane')
    .description('Renders manifests offline, as if they were the whole desired state and no address had been given out before: what a BIG-IP would be told, for somebody to give it. A gateway of class sallyport is rendered as if it were a BIG-IP. Certificate and key are not part of it: it refers to files on the box, which it names.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--gateway <name>', 'which EgressGateway, where there are several')
    .option('--trust-domain <name>', 'the trust domain of the identities', 'cluster.local')
    .addOption(new Option('-o, --output <format>', 'as3: a declaration; cis: a ConfigMap for F5 CIS that holds it; tmsh: a file for "load sys config file FILE merge", for a box without AS3').choices(Object.keys(formats)).default('as3'))
    .addHelpText('after', '\nEXAMPLES\n  sallyport render bigip -f manifests/examples/bookinfo-forward-proxy.yaml > declaration.json\n  sallyport render bigip -f manifests/examples/bookinfo-forward-proxy.yaml -o cis | kubectl apply -n cis -f -\n  sallyport render bigip -f manifests/examples/bookinfo-forward-proxy.yaml -o tmsh > sallyport.conf\n\nEXIT CODES\n  0 rendered   2 faults, or several gateways   3 no such gateway')
    .action(async (options: RenderBigipOptions) => {
      const { plan, gateway } = await offlineGateway(context, options, 'bigip');
      const { text, conditions } = formats[options.output](plan, gateway);
      sayConditions(context, conditions);
      sayPrerequisites(context, gateway, options.output);
      context.out(text);
    });
}

/** What it is refused without. */
function sayPrerequisites(context: CliContext, gateway: PlannedGateway, output: RenderBigipOptions['output']): void {
  const { certificate, chain, privateKey, trustBundle } = importedIdentity(gateway);
  const { identity } = gateway;
  context.say(`note: to be imported on the box first: the certificate of ${identity} as ${certificate.bigip}, its issuers as ${chain.bigip}, its key as ${privateKey.bigip}, the trust bundle as ${trustBundle.bigip}`);
  const { partition } = gateway.bigip!;
  if (output === 'tmsh') context.say(`note: to be made on the box first: tmsh create auth partition ${partition}; tmsh create sys folder /${partition}/${application}`);
}
