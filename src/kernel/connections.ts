/** The kernel's own table of connections: conntrack(8). */
import { SallyportError } from '../core/errors.ts';
import { familyOf, parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

export interface Ended {
  /** Of grants that are no more. */
  readonly marks: Iterable<number>;
  /** Of workloads that are gone, or are another's now. */
  readonly workloads: Iterable<IpAddress>;
}

/**
 * Forgets connections. The table lets nothing of them through by then; what is left of them would hold their ports, and keep datagrams
 * that nobody answers at the address that they once had for as long as they come. Looks at each connection once, however many have ended.
 */
export async function cutConnections(run: RunProgram, ended: Ended): Promise<void> {
  const [marks, workloads] = [new Set(ended.marks), new Set(ended.workloads)];
  if (marks.size === 0 && workloads.size === 0) return;
  const deletions = new Set((await conntrack(run, 'conntrack --dump')).split('\n').flatMap((entry) => deletionOf(entry, marks, workloads)));
  if (deletions.size === 0) return;
  // It opens /dev/stdin, which cannot be done with the socket that Node makes of it.
  await conntrack(run, 'cat | conntrack --load-file -', [...deletions].map((deletion) => `${deletion}\n`).join(''));
}

async function conntrack(run: RunProgram, command: string, input?: string): Promise<string> {
  const { status, stdout, stderr } = await run('sh', ['-c', command], input);
  if (status === 0) return stdout;
  throw new SallyportError('ruleset-refused', `${command}: ${stderr.trim().split('\n')[0]!}`, { hint: 'it has to run as root, with nf_conntrack_netlink; what was refused is in force, connections that are no longer granted are known still' });
}

/** Its sources are those of either direction; a workload's is one of them. */
function deletionOf(entry: string, marks: ReadonlySet<number>, workloads: ReadonlySet<IpAddress>): readonly string[] {
  const mark = Number(/ mark=(\d+)/.exec(entry)?.[1] ?? 0);
  if (marks.has(mark)) return [`-D -m ${mark}`];
  return Array.from(entry.matchAll(/ src=(\S+)/g), ([, text]) => parseAddress(text!)).flatMap((address, index) =>
    address !== undefined && workloads.has(address) ? [`-D ${familyOf(address) === 'ipv6' ? '-f ipv6 ' : ''}${index === 0 ? '--orig-src' : '--reply-src'} ${address}`] : [],
  );
}
