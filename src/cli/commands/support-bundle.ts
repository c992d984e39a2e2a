import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import type { Command } from 'commander';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from '../cluster-options.ts';
import { writeFile, type CliContext } from '../context.ts';
import { version } from './version.ts';

interface SupportBundleOptions extends ClusterOptions {
  readonly namespace: string;
  readonly output?: string;
  readonly redactAddresses?: true;
}

export function addSupportBundle(program: Command, context: CliContext): void {
  addClusterOptions(program.command('support-bundle'))
    .summary('gather what somebody who is to help wants to see')
    .description(
      'Writes an archive of an installation in a cluster, as far as you may see it: versions, definitions, objects with their statuses, events, workloads, logs, and what "sallyport check" says. The content of Secrets is not asked for; private keys, tokens and passwords are taken out wherever they stand. Names stay, and addresses unless they are to go. Look at it before you send it.',
    )
    .option('-n, --namespace <namespace>', 'namespace of the control plane', 'sallyport-system')
    .option('-o, --output <file>', 'default: sallyport-support-TIME.tar.gz')
    .option('--redact-addresses', 'replace each address by a word, the same everywhere in this archive')
    .addHelpText('after', '\nEXAMPLES\n  sallyport support-bundle\n  sallyport support-bundle --redact-addresses -o for-support.tar.gz && tar tzf for-support.tar.gz\n\nEXIT CODES\n  0 written   4 the cluster does not know you   6 cluster away')
    .action(async ({ namespace, output, redactAddresses, ...choice }: SupportBundleOptions) => {
      const { bundleFiles, collectBundle, createRedaction, tarOf } = await import('../../diagnosis/index.ts');
      const { createApiClient, openClusterAccess } = await import('../../kubernetes/index.ts');
      const now = Date.now();
      const path = output ?? `sallyport-support-${new Date(now).toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}.tar.gz`;
      const collected = await collectBundle({ client: createApiClient(await openClusterAccess(clusterChoiceOf(choice))), namespace, version, before: false, now: Date.now });
      const redaction = createRedaction(redactAddresses === true ? { addressKey: randomBytes(32) } : {});
      writeFile(path, gzipSync(tarOf(bundleFiles(collected, redaction, { hidesAddresses: redactAddresses === true }), now)));
      for (const note of collected.notes) context.say(`not in it: ${redaction.text(note)}`);
      context.say(redactAddresses === true ? 'names are in it as they are' : 'names and addresses are in it as they are; without addresses: --redact-addresses');
      context.out(path);
    });
}
