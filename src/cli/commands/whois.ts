import type { Command } from 'commander';
import type { WhoisConnection, WhoisResult } from '../../api/admin.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { parseAddress } from '../../core/ip-address.ts';
import { printable } from '../../core/printable.ts';
import type { CliContext } from '../context.ts';
import { askWhois } from '../replicas.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';
import { replicasOf, withServerOptions } from '../target.ts';

export function addWhois(program: Command, context: CliContext): void {
  withServerOptions(program.command('whois'))
    .summary('who was behind an address and port at a time')
    .argument('<address:port>', 'source address and port as the external service or firewall saw it; IPv6 in brackets')
    .argument('[time]', 'RFC 3339, for example 2026-11-21T07:30:00Z; default: now')
    .option('--tolerance <span>', 'how coarse the time is: a firewall log that counts in seconds needs 1s', '1s')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport whois 10.4.0.11:40132 2026-11-21T07:30:00Z\n\nEXIT CODES\n  0 known   1 nobody held it then   6 control plane away')
    .action(async (endpoint: string, timeText: string | undefined, options: { tolerance: string; output?: OutputFormat }, command: Command) => {
      const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(endpoint);
      const address = match === null ? undefined : parseAddress(match[1] ?? match[2]!);
      if (address === undefined) throw new SallyportError('usage', `${JSON.stringify(endpoint)} is not an address and port`, { hint: 'write 10.4.0.11:40132 or [2001:db8::1]:40132' });
      const time = timeText === undefined ? new Date() : new Date(timeText);
      if (Number.isNaN(time.getTime())) throw new SallyportError('usage', `${JSON.stringify(timeText)} is not a time`, { hint: 'write it like 2026-11-21T07:30:00Z' });
      const toleranceMs = parseDuration(options.tolerance);
      if (toleranceMs === undefined) throw new SallyportError('usage', `${JSON.stringify(options.tolerance)} is not a time span`, { hint: 'write it like 1s' });
      const result = await askWhois(context, await replicasOf(context, command), { address, port: match![3], time: time.toISOString(), toleranceMs: String(toleranceMs) });
      print(context, options.output, result, () => describe(result, endpoint, time));
      if (result.connections.length === 0) context.setExitStatus(1);
    });
}

function describe({ connections, nearest }: WhoisResult, endpoint: string, time: Date): string {
  if (connections.length > 0) return connections.map(fieldsOf).join('\n\n');
  return [`nobody held ${endpoint} at ${time.toISOString()}`, ...(nearest === null ? [] : ['the last that had held it before:', fieldsOf(nearest)])].join('\n');
}

function fieldsOf({ opened, closed }: WhoisConnection): string {
  const fields: readonly (readonly [string, string])[] = [
    ['identity', opened.spiffeId ?? '-'],
    ['service', opened.service ?? '-'],
    ['policies', opened.policies.join(', ')],
    ['target', `${opened.target} (${opened.channel})`],
    ['gateway', opened.origin],
    ['connection', opened.connectionId],
    ['opened', opened.time],
    ['closed', closed === null ? 'not yet' : `${closed.time} (${closed.reason}, ${closed.bytesSent} bytes sent, ${closed.bytesReceived} received)`],
  ];
  return fields.map(([label, value]) => `${`${label}:`.padEnd(13)}${printable(value)}`).join('\n');
}
