/** The kernel's own table of connections: conntrack(8). */
import { SallyportError } from '../core/errors.ts';
import { familyOf, type IpAddress } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

export interface Ended {
  /** Of grants that are no more. */
  readonly marks: Iterable<number>;
  /** Of workloads that are gone, or are another's now. */
  readonly workloads: Iterable<IpAddress>;
}

/**
 * Forgets connections. The table lets nothing of them through by then; what is left of them would hold their ports, and keep datagrams
 * that nobody answers at the address that they once had for as long as they come.
 */
export async function cutConnections(run: RunProgram, { marks, workloads }: Ended): Promise<void> {
  const commands = [
    ...Array.from(marks, (mark) => `-D -m ${mark}`),
    ...Array.from(workloads, (address) => ['--orig-src', '--reply-src'].map((side) => `-D ${familyOf(address) === 'ipv6' ? '-f ipv6 ' : ''}${side} ${address}`)).flat(),
  ];
  if (commands.length === 0) return;
  // It opens /dev/stdin, which cannot be done with the socket that Node makes of it.
  const { status, stderr } = await run('sh', ['-c', 'cat | conntrack --load-file -'], commands.map((command) => `${command}\n`).join(''));
  if (status !== 0) throw new SallyportError('ruleset-refused', `conntrack: ${stderr.trim().split('\n')[0]!}`, { hint: 'it has to run as root, with nf_conntrack_netlink' });
}
