import type { Command } from 'commander';
import { adminPaths } from '../../api/admin.ts';
import { formatDuration, parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import type { FtpTransfer, FtpTransferProgress } from '../../core/ledger-record.ts';
import { formatEndpoint, parseAddress } from '../../core/ip-address.ts';
import { parseSpiffeId, workloadOf } from '../../core/spiffe-id.ts';
import type { CliContext } from '../context.ts';
import { formatRow, formatTable, outputOption } from '../output.ts';
import { replicaLines, type ReplicaLine } from '../replicas.ts';
import { replicasOf, withServerOptions } from '../target.ts';

interface TransferOptions {
  readonly namespace?: string;
  readonly identity?: string;
  readonly service?: string;
  readonly since: string;
  readonly follow?: true;
  readonly output?: 'json' | 'wide';
}

type TransferRecord = FtpTransfer | FtpTransferProgress;

interface Column {
  readonly heading: string;
  /** Where rows come one by one, and are to stand below each other. */
  readonly width: number;
  readonly cell: (record: TransferRecord, now: number) => string;
}

/** Three times the interval of a gateway's records: a transfer that it says no more of has ended in a way that nobody could record. */
const silentMsMax = 30_000;

const columns: readonly Column[] = [
  { heading: 'TIME', width: 24, cell: ({ time }) => time },
  { heading: 'IDENTITY', width: 28, cell: ({ spiffeId }) => shortIdentity(spiffeId ?? '-') },
  { heading: 'SERVICE', width: 28, cell: ({ service }) => service ?? '-' },
  { heading: 'USER', width: 12, cell: ({ user }) => user ?? '-' },
  { heading: 'VERB', width: 4, cell: ({ verb }) => verb },
  { heading: 'PATH', width: 32, cell: ({ path }) => (path === '' ? '-' : path) },
  { heading: 'BYTES', width: 12, cell: ({ bytes }) => String(bytes) },
  { heading: 'DURATION', width: 10, cell: ({ durationMs }) => formatDuration(durationMs) },
  { heading: 'OUTCOME', width: 9, cell: outcomeOf },
];
const wideColumns: readonly Column[] = [
  ...columns,
  { heading: 'CLIENT', width: 21, cell: ({ client }) => client },
  { heading: 'LEFT FROM', width: 21, cell: ({ snatAddress, snatPort }) => endpointText(snatAddress, snatPort) },
  { heading: 'TARGET', width: 21, cell: ({ target }) => target },
  { heading: 'REPLY', width: 5, cell: (record) => (record.type === 'ftp-transfer' ? String(record.replyCode ?? '-') : '-') },
  { heading: 'SHA-256', width: 64, cell: (record) => (record.type === 'ftp-transfer' ? (record.sha256 ?? '-') : '-') },
];

export function addTransfers(program: Command, context: CliContext): void {
  withServerOptions(program.command('transfers'))
    .summary('list the files that went over FTP: who, what, how much, and how it ended')
    .option('-n, --namespace <namespace>', "only of this namespace's workloads")
    .option('--identity <identity>', 'only of this workload: NAMESPACE/SERVICEACCOUNT or a SPIFFE ID')
    .option('--service <service>', 'only with this service: NAME, NAMESPACE/NAME or NAMESPACE/NAME:PORT')
    .option('--since <time>', 'from this time on: RFC 3339, or a span before now', '24h')
    .option('-f, --follow', 'go on with new ones, and with how far those are that run')
    .addOption(outputOption(['json', 'wide']))
    .addHelpText('after', '\nEXAMPLES\n  sallyport transfers -n payments --since 7d\n  sallyport transfers --identity payments/statement-upload -f\n  sallyport transfers -o json | jq \'select(.outcome == "failed")\'\n\nEXIT CODES\n  0 ok   2 usage   6 control plane away')
    .action(async (options: TransferOptions, command: Command) => {
      const { namespace, identity, service, follow, output } = options;
      const query = { namespace, identity, service, since: startOf(options.since), follow: follow === true ? 'true' : undefined };
      const lines = linesOf(replicaLines(await replicasOf(context, command), adminPaths.transfers, query, { follow: follow === true, signal: context.interruption() }));
      if (output === 'json') for await (const line of lines) context.out(line);
      else if (follow === true) await printRows(context, output === 'wide' ? wideColumns : columns, lines);
      else await printTable(context, output === 'wide' ? wideColumns : columns, lines, options.since);
    });
}

async function* linesOf(found: AsyncIterable<ReplicaLine>): AsyncGenerator<string> {
  for await (const { line } of found) yield line;
}

async function printTable(context: CliContext, shown: readonly Column[], lines: AsyncIterable<string>, since: string): Promise<void> {
  const rows: string[][] = [];
  const now = Date.now();
  for await (const line of lines) rows.push(shown.map(({ cell }) => cell(JSON.parse(line) as TransferRecord, now)));
  if (rows.length === 0) context.say(`no transfers since ${since}; for earlier ones: --since 7d`);
  else context.out(formatTable(shown.map(({ heading }) => heading), rows));
}

/** Row by row as they come, so with widths of their own. */
async function printRows(context: CliContext, shown: readonly Column[], lines: AsyncIterable<string>): Promise<void> {
  const widths = shown.map(({ width }) => width);
  context.out(formatRow(shown.map(({ heading }) => heading), widths));
  for await (const line of lines) context.out(formatRow(shown.map(({ cell }) => cell(JSON.parse(line) as TransferRecord, Date.now())), widths));
}

function startOf(since: string): string {
  const span = parseDuration(since);
  const time = span === undefined ? new Date(since) : new Date(Date.now() - span);
  if (Number.isNaN(time.getTime())) throw new SallyportError('usage', `${JSON.stringify(since)} is neither a time nor a span`, { place: '--since', hint: 'write it like 2026-11-21T07:30:00Z or 24h' });
  return time.toISOString();
}

function outcomeOf(record: TransferRecord, now: number): string {
  if (record.type === 'ftp-transfer-progress') return now - Date.parse(record.time) > silentMsMax ? 'unknown' : 'running';
  return record.outcome === 'completed' ? record.outcome : `${record.outcome} (${record.reason})`;
}

function shortIdentity(identity: string): string {
  const parsed = parseSpiffeId(identity);
  const workload = parsed.ok ? workloadOf(parsed.id) : undefined;
  return workload === undefined ? identity : `${workload.namespace}/${workload.serviceAccount}`;
}

function endpointText(text: string, port: number): string {
  const address = parseAddress(text);
  return address === undefined ? `${text}:${port}` : formatEndpoint({ address, port });
}
