import type { Command } from 'commander';
import { adminPaths, type ExplainResult } from '../../api/admin.ts';
import type { CliContext } from '../context.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';
import { clusterOf, replicasAt, withServerOptions } from '../target.ts';

export function addExplain(program: Command, context: CliContext): void {
  withServerOptions(program.command('explain'))
    .summary('why is it allowed, or what is missing')
    .description('Says whether a workload may reach a service, by which policy and from which address; or what is missing, and the manifest that would allow it.')
    .argument('<subject>', 'SPIFFE ID, NAMESPACE/SERVICEACCOUNT, or SERVICEACCOUNT with -n; on Kubernetes also deploy/NAME, and so on with sts, ds, rs, job, cj, pod and sa')
    .requiredOption('--to <target>', 'service: NAME:PORT, NAMESPACE/NAME:PORT or a host name')
    .option('-n, --namespace <namespace>', 'namespace of subject and target where they name none')
    .option('--authority <host:port>', 'what a CONNECT through the service would name')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport explain bookinfo/productpage --to bookinfo/bigip-proxy-svc:3128\n  sallyport explain productpage -n bookinfo --to bigip-proxy-svc:3128\n  kubectl sallyport explain deploy/productpage -n bookinfo --to bigip-proxy-svc:3128\n\nEXIT CODES\n  0 allowed   1 denied   3 no such workload   4 not allowed to ask   6 control plane away')
    .action(async (subject: string, options: { to: string; namespace?: string; authority?: string; output?: OutputFormat }, command: Command) => {
      const cluster = await clusterOf(context, command);
      const defaultNamespace = options.namespace ?? cluster?.defaultNamespace ?? 'default';
      const workload = await cluster?.workload(subject, defaultNamespace);
      const [{ client }] = await replicasAt(cluster, context, command);
      const result = await client.post<ExplainResult>(adminPaths.explain, {
        subject: workload !== undefined ? `${workload.namespace}/${workload.serviceAccount}` : subject.includes('/') ? subject : `${defaultNamespace}/${subject}`,
        target: options.namespace !== undefined && /^[a-z0-9-]+(:|$)/.test(options.to) ? `${options.namespace}/${options.to}` : options.to,
        ...(options.authority === undefined ? {} : { authority: options.authority }),
      });
      print(context, options.output, result, () => [...result.text, ...(result.suggestion === null ? [] : ['', 'this would allow it:', '---', result.suggestion.trimEnd()])].join('\n'));
      if (!result.allowed) context.setExitStatus(1);
    });
}
