import type { Command } from 'commander';
import type { StatusResult } from '../../api/admin.ts';
import { printable } from '../../core/printable.ts';
import type { CliContext } from '../context.ts';
import { formatTable, outputOption, print, type OutputFormat } from '../output.ts';
import { askStatus } from '../replicas.ts';
import { replicasOf, withServerOptions } from '../target.ts';

export function addStatus(program: Command, context: CliContext): void {
  withServerOptions(program.command('status'))
    .summary('the control plane, its gateways and agents on one screen')
    .addOption(outputOption())
    .addHelpText('after', '\nEXIT CODES\n  0 ready   1 not ready   6 control plane away')
    .action(async (options: { output?: OutputFormat }, command: Command) => {
      const status = await askStatus(context, await replicasOf(context, command));
      print(context, options.output, status, () => describe(status));
      if (!status.ready) context.setExitStatus(1);
    });
}

function describe(status: StatusResult): string {
  const active = status.ca.slots.find(({ slot }) => slot === 'active');
  return [
    `control plane  ${status.ready ? 'ready' : 'not ready'}, version ${status.version}, since ${status.startedAt}`,
    `trust domain   ${status.trustDomain}`,
    `ca             ${active === undefined ? 'none' : `${active.subject}, until ${active.notAfter}, key ${active.keyStorage}`}`,
    `plan           ${status.revision?.slice(0, 12) ?? 'none'}`,
    `objects        ${Object.entries(status.objects).map(([kind, count]) => `${count} ${kind}`).join(', ')}`,
    `ledger         ${status.ledger.records} records${status.ledger.sentOn === undefined ? '' : `, up to ${status.ledger.sentOn.lastSequence} at ${status.ledger.sentOn.to}`}`,
    ...status.conditions.map((condition) => `condition      ${printable(condition)}`),
    ...(status.proxies.length === 0 ? [] : ['', tableOf(status.proxies)]),
  ].join('\n');
}

const tableOf = (proxies: StatusResult['proxies']): string =>
  formatTable(
    ['PROXY', 'CONNECTED', 'STATE', 'ACKNOWLEDGED'],
    proxies.map(({ node, connected, connectedSince, types }) => {
      const states = types.map(({ state }) => state);
      const worst = states.includes('NACKED') ? 'NACKED' : states.includes('STALE') ? 'STALE' : 'SYNCED';
      const last = types.find(({ typeUrl }) => !typeUrl.endsWith('.Secret'))?.acknowledged;
      return [node, connected ? (connectedSince ?? 'yes') : 'no', connected ? worst : '-', last?.slice(0, 12) ?? '-'];
    }),
  );
