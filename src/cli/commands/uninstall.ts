import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import type { KubernetesObject } from '../../install/index.ts';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from '../cluster-options.ts';
import type { CliContext } from '../context.ts';
import { nameOf } from './install.ts';

interface UninstallOptions extends ClusterOptions {
  readonly purge?: true;
  readonly yes?: true;
}

export function addUninstall(program: Command, context: CliContext): void {
  addClusterOptions(program.command('uninstall'))
    .summary('remove Sallyport from a cluster')
    .description(
      'Removes what "sallyport install" can make again, and what the control plane has made of custom resources. What stays: the definitions with all custom resources, among them the assignments of addresses, which firewalls rely on; and the namespaces with the keys of the CA and the volumes of the ledgers. Installed again, everything goes on as before.',
    )
    .option('--purge', 'remove what stays too')
    .option('--yes', 'do not ask')
    .addHelpText('after', '\nEXAMPLES\n  sallyport uninstall\n  sallyport uninstall --purge --yes\n\nEXIT CODES\n  0 removed   2 not confirmed, nothing removed   4 not allowed   6 cluster away')
    .action(async (options: UninstallOptions) => {
      const { connectCluster, isKept } = await import('../../install/index.ts');
      const cluster = await connectCluster(clusterChoiceOf(options));
      const [definitions, installed, made] = [await cluster.definitions(), await cluster.installed(), await cluster.made()];
      const kept = [...definitions, ...installed.filter(isKept)];
      // What was made goes after the rights to make it again.
      const removed = [...installed.filter((object) => !isKept(object)), ...made];
      if (options.yes !== true) await confirm(context, options.purge === true ? [...removed, ...kept] : removed, options.purge === true ? [] : kept);
      const remove = async (objects: readonly KubernetesObject[]): Promise<void> => {
        for (const object of objects) {
          await cluster.remove(object);
          context.out(`${nameOf(object)} removed`);
        }
      };
      await remove(removed);
      if (options.purge === true) {
        await cluster.releaseAssignments();
        await remove(kept);
      }
    });
}

async function confirm(context: CliContext, removed: readonly KubernetesObject[], kept: readonly KubernetesObject[]): Promise<void> {
  context.say(`goes: ${countsOf(removed)}`);
  context.say(`stays: ${countsOf(kept)}`);
  context.say('go on? (yes/no)');
  for await (const piece of context.stdin) {
    if (piece.toString('utf8').trim() === 'yes') return;
    break;
  }
  throw new SallyportError('usage', 'nothing was removed', { hint: 'answer "yes", or add --yes' });
}

/** As in `2 StatefulSet, 13 Service`. */
function countsOf(objects: readonly KubernetesObject[]): string {
  const kinds = Map.groupBy(objects, ({ kind }) => kind);
  return kinds.size === 0 ? 'nothing' : [...kinds].map(([kind, members]) => `${members.length} ${kind}`).join(', ');
}
