/** The kernel's own table of connections: conntrack(8). */
import { SallyportError } from '../core/errors.ts';
import { familyOf, parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

export interface Ended {
  /** Of grants that are no more. */
  readonly marks: Iterable<number>;
  /** Of workloads that are gone, or are another's now. */
  readonly workloads: Iterable<IpAddress>;
  /** Of grants that stay, to what is none of their service's any more. */
  readonly reaches: Iterable<Reach>;
}

/** A workload, the mark of its grant, and an address of the service. */
export interface Reach {
  readonly workload: IpAddress;
  readonly mark: number;
  readonly service: IpAddress;
}

/**
 * Forgets connections. The table lets nothing of them through by then; what is left of them would hold their ports, and keep datagrams
 * that nobody answers at the address that they once had for as long as they come. Looks at each connection once, however many have ended.
 */
export async function cutConnections(run: RunProgram, ended: Ended): Promise<void> {
  const [marks, workloads, reaches] = [new Set(ended.marks), new Set(ended.workloads), new Set(Array.from(ended.reaches, reachKey))];
  if (marks.size + workloads.size + reaches.size === 0) return;
  const deletions = new Set((await conntrack(run, 'conntrack --dump')).split('\n').flatMap((entry) => deletionOf(entry, { marks, workloads, reaches })));
  if (deletions.size === 0) return;
  // It opens /dev/stdin, which cannot be done with the socket that Node makes of it.
  await conntrack(run, 'cat | conntrack --load-file -', [...deletions].map((deletion) => `${deletion}\n`).join(''));
}

async function conntrack(run: RunProgram, command: string, input?: string): Promise<string> {
  const { status, stdout, stderr } = await run('sh', ['-c', command], input);
  if (status === 0) return stdout;
  throw new SallyportError('ruleset-refused', `${command}: ${stderr.trim().split('\n')[0]!}`, { hint: 'it has to run as root, with nf_conntrack_netlink; what was refused is in force, connections that are no longer granted are known still' });
}

interface EndedSets {
  readonly marks: ReadonlySet<number>;
  readonly workloads: ReadonlySet<IpAddress>;
  /** By `reachKey`. */
  readonly reaches: ReadonlySet<string>;
}

const reachKey = ({ workload, mark, service }: Reach): string => `${workload} ${mark} ${service}`;

/** Its sources are those of either direction; a workload's is one of them. What the workload has opened is for the service; else the service has. */
function deletionOf(entry: string, { marks, workloads, reaches }: EndedSets): readonly string[] {
  const mark = Number(/ mark=(\d+)/.exec(entry)?.[1] ?? 0);
  if (marks.has(mark)) return [`-D -m ${mark}`];
  const [sources, destinations] = ['src', 'dst'].map((field) => Array.from(entry.matchAll(new RegExp(` ${field}=(\\S+)`, 'g')), ([, text]) => parseAddress(text!)));
  const [source, answering] = sources as [IpAddress?, IpAddress?];
  const [destination] = destinations as [IpAddress?];
  if (source === undefined || answering === undefined || destination === undefined) return [];
  const deletion = (filter: string): string => `-D ${familyOf(source) === 'ipv6' ? '-f ipv6 ' : ''}${filter}`;
  const isReach = (workload: IpAddress, service: IpAddress): boolean => reaches.has(reachKey({ workload, mark, service }));
  return [
    ...(workloads.has(source) ? [deletion(`--orig-src ${source}`)] : []),
    ...(workloads.has(answering) ? [deletion(`--reply-src ${answering}`)] : []),
    ...(isReach(source, destination) ? [deletion(`-m ${mark} --orig-src ${source} --orig-dst ${destination}`)] : []),
    ...(isReach(answering, source) ? [deletion(`-m ${mark} --orig-src ${source} --reply-src ${answering}`)] : []),
  ];
}
