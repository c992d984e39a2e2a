import { Option, type Command } from 'commander';
import { parseDuration } from '../../core/duration.ts';
import { describeRef } from '../../core/desired-state.ts';
import { SallyportError } from '../../core/errors.ts';
import { formatExplained } from '../../generate/index.ts';
import type { InstallOptions, KubernetesObject } from '../../install/index.ts';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from '../cluster-options.ts';
import type { CliContext } from '../context.ts';
import { version } from './version.ts';

interface InstallCommandOptions extends ClusterOptions {
  readonly namespace: string;
  readonly image: string;
  readonly replicas: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly ledgerStorage: string;
  readonly storageClass?: string;
  readonly ledgerOtlp?: string;
  readonly ledgerOtlpCa?: string;
  readonly ledgerOtlpHeaders?: string;
  readonly bigipCredentials?: readonly string[];
  readonly syslogTls?: true;
  readonly syslogAllow?: readonly string[];
  readonly gateway?: readonly string[];
  readonly webhooks: boolean;
  readonly olderForm?: true;
  readonly dryRun?: true;
  readonly output: 'yaml' | 'json';
  readonly prune?: true;
  readonly forceConflicts?: true;
  readonly wait?: true;
  readonly timeout: string;
}

const establishedWithinMs = 60_000;

export function addInstall(program: Command, context: CliContext): void {
  addClusterOptions(program.command('install'))
    .summary('install Sallyport into a cluster, or bring it up to date')
    .description('Applies definitions, control plane, roles and policies, by server-side apply; run again, it changes what is to change and nothing else. The Helm chart says the same.')
    .option('-n, --namespace <namespace>', 'namespace of the control plane', 'sallyport-system')
    .option('--image <image>', 'container image of control plane and gateways', `sallyport:${version}`)
    .option('--replicas <count>', 'replicas of the control plane, of which one writes and all serve', '2')
    .option('--gateway <name...>', 'embedded gateways to run, by the names of their EgressGateway objects: each on the node that is labelled sallyport.dev/gateway=NAME')
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--cluster-domain <name>', 'suffix of the names of Services', 'cluster.local')
    .option('--ledger-storage <quantity>', 'size of the volume of each replica, which holds its ledger; Kubernetes lets nobody change it afterwards', '10Gi')
    .option('--storage-class <name>', "of all volumes (default: the cluster's)")
    .option('--ledger-otlp <url>', 'where each replica sends its ledger on to, by OTLP/HTTP, such as https://collector.observability:4318')
    .option('--ledger-otlp-ca <name>', "ConfigMap in the control plane's namespace whose ca.crt has the CAs that the collector's certificate may come from (default: those that Node.js trusts)")
    .option('--ledger-otlp-headers <name>', 'Secret there whose "headers" go to the collector, one a line, such as "Authorization: Bearer TOKEN"')
    .option('--bigip-credentials <name...>', 'Secrets there by which BIG-IPs are driven, each by the name that stands in bigip.credentials: username, password, and ca.pem to trust nobody else')
    .option('--syslog-tls', 'the log of BIG-IPs is taken over TLS, at port 6514 of a Service of type LoadBalancer')
    .option('--syslog-allow <gateway=addresses...>', 'the same over plain TCP, at port 1514, of these gateways and addresses, such as f5=10.0.0.4/31')
    .option('--no-webhooks', 'no agents are added to pods, and faults are told in the status of objects only')
    .option('--older-form', 'the definition of externalservice.example.com/v1alpha1 too, and the namespace of its Services')
    .option('--dry-run', 'print the objects, and ask no cluster')
    .addOption(new Option('-o, --output <format>', 'of --dry-run').choices(['yaml', 'json']).default('yaml'))
    .option('--prune', 'remove what an earlier installation had and this one has not')
    .option('--force-conflicts', 'take over fields that somebody else has set')
    .option('--wait', 'until all pods are ready, and with each gateway until the one before is')
    .option('--timeout <span>', 'how long at most, for each', '5m')
    .addHelpText(
      'after',
      '\nEXAMPLES\n  sallyport install --dry-run -o yaml | kubectl apply -f -\n  sallyport install --wait\n  sallyport install --gateway egress-1 egress-2 --image images.example/sallyport:0.1.0\n\nEXIT CODES\n  0 installed   2 bad options   4 not allowed   5 others have set what is to be changed, or parts of an earlier installation would be left   6 cluster away, or not ready in time',
    )
    .action(async (options: InstallCommandOptions) => {
      const { connectCluster, installObjects, isKept, isSame } = await import('../../install/index.ts');
      const explained = installObjects(await readOptions(options));
      if (options.dryRun === true) {
        context.out(options.output === 'yaml' ? formatExplained(explained).trimEnd() : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: explained.map(({ object }) => object) }, null, 2));
        return;
      }
      const timeoutMs = parseDuration(options.timeout);
      if (timeoutMs === undefined) throw new SallyportError('usage', `${JSON.stringify(options.timeout)} is not a time span`, { place: '--timeout', value: options.timeout, hint: 'write it like 5m' });
      const objects = explained.map(({ object }) => object as unknown as KubernetesObject);
      const cluster = await connectCluster(clusterChoiceOf(options));
      const left = (await cluster.installed()).filter((object) => !isKept(object) && !objects.some((wanted) => isSame(wanted, object)));
      if (left.length > 0 && options.prune !== true) {
        throw new SallyportError('cluster-conflict', `an earlier installation had what this one has not: ${left.map(nameOf).join(', ')}`, { hint: 'install with the same options again, or add --prune to remove that' });
      }
      for (const object of objects) {
        context.out(`${nameOf(object)} ${await cluster.apply(object, { takeOver: options.forceConflicts === true })}`);
        // One gateway after another: while it starts, nothing leaves by it.
        if (options.wait === true && object.kind === 'StatefulSet') await cluster.waitFor(object, timeoutMs);
      }
      for (const object of left) {
        await cluster.remove(object);
        context.out(`${nameOf(object)} removed`);
      }
      for (const object of objects.filter(({ kind }) => kind === 'CustomResourceDefinition')) await cluster.waitFor(object, establishedWithinMs);
    });
}

async function readOptions({ gateway = [], bigipCredentials = [], syslogAllow = [], storageClass = '', ledgerOtlp = '', ledgerOtlpCa = '', ledgerOtlpHeaders = '', replicas, ...options }: InstallCommandOptions): Promise<InstallOptions> {
  const { installOptions } = await import('../../install/index.ts');
  const { namespace, image, trustDomain, clusterDomain, ledgerStorage, webhooks } = options;
  const parsed = installOptions(version).safeParse({ namespace, image, replicas: Number(replicas), trustDomain, clusterDomain, ledgerStorage, storageClass, ledgerOtlp, ledgerOtlpCa, ledgerOtlpHeaders, bigipCredentials, syslogTls: options.syslogTls === true, syslogAllow, gateways: gateway, webhooks, olderForm: options.olderForm === true });
  if (parsed.success) return parsed.data;
  const [{ path, message }] = parsed.error.issues as [(typeof parsed.error.issues)[number]];
  throw new SallyportError('usage', message, { place: `--${String(path[0]).replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace('gateways', 'gateway')}` });
}

export function nameOf({ kind, metadata: { name, namespace = '' } }: KubernetesObject): string {
  return describeRef({ kind, namespace, name });
}
