import type { Command } from 'commander';
import { adminPaths, type LedgerVerification } from '../../api/admin.ts';
import { SallyportError } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { replicaLines } from '../replicas.ts';
import { replicasOf, withServerOptions } from '../target.ts';

export function addLedger(program: Command, context: CliContext): void {
  const ledger = program.command('ledger').summary('read and verify the record of what happened');
  withServerOptions(ledger.command('tail'))
    .summary('print the last records, one JSON object a line')
    .option('-f, --follow', 'go on with new ones')
    .option('--last <count>', 'how many', '20')
    .option('--type <type>', 'only this type, for example connection-denied')
    .addHelpText('after', '\nEXAMPLES\n  sallyport ledger tail -f --type connection-denied | jq .reason')
    .action(async (options: { follow?: true; last: string; type?: string }, command: Command) => {
      if (!/^[0-9]{1,7}$/.test(options.last)) throw new SallyportError('usage', `${JSON.stringify(options.last)} is not a number of records`, { place: '--last' });
      const query = { last: options.last, type: options.type, follow: options.follow === true ? 'true' : undefined };
      const told = replicaLines(await replicasOf(context, command), adminPaths.ledger, query, { follow: options.follow === true, last: Number(options.last), signal: context.interruption() });
      // Sequence numbers are each replica's own.
      for await (const { replica, line } of told) context.out(replica === '' ? line : JSON.stringify({ replica, ...(JSON.parse(line) as object) }));
    });
  withServerOptions(ledger.command('verify'))
    .summary('check the hash chain over every record')
    .addHelpText('after', '\nEXIT CODES\n  0 whole   1 changed, dropped or reordered records')
    .action(async (_options: unknown, command: Command) => {
      for (const { name, client } of await replicasOf(context, command)) {
        const result = await client.post<LedgerVerification>(adminPaths.ledgerVerify, {});
        const subject = name === '' ? 'ledger' : `ledger of ${name}`;
        context.out(result.ok ? `${subject} is whole: ${result.records} records, ${result.firstSequence} to ${result.lastSequence}` : `${subject} is broken: ${result.fault ?? 'unknown'}`);
        if (!result.ok) context.setExitStatus(1);
      }
    });
}
