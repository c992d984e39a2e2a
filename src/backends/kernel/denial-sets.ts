/**
 * Where the kernel notes what it refuses until somebody reads it: first packets as elements of two sets, one for each family, which are bounded; what
 * finds no room is counted. nft(8), "SET STATEMENT". A key has five fields at most, so that one number is both reason and protocol.
 */
import type { ConnectionReason } from '../../core/ledger-record.ts';
import type { DenyReason } from '../../core/plan/plan.ts';

/** Of connections that were never let in: of others the end is recorded. Numbers keep their meaning: a program reads what the one before it has left. */
const numbers = {
  'not-a-workload': 1,
  'no-such-service': 2,
  'no-policy': 3,
  'no-snat-binding': 4,
  'snat-family-mismatch': 5,
  'limit-exceeded': 6,
  'reverse-source-refused': 7,
} as const satisfies Partial<Record<DenyReason | ConnectionReason, number>>;
export type NotedReason = keyof typeof numbers;

const protocols = { tcp: 0x100, udp: 0x200 } as const;

export interface Noted {
  readonly reason: NotedReason;
  readonly transport: keyof typeof protocols;
}

export const deniedSets = { ipv4: 'denied4', ipv6: 'denied6' } as const;
export const unrecordedSet = 'unrecorded';

/** Of each family, between two readings. */
export const deniedMax = 8_192;
/** For how long they wait for a reader. */
export const keptSeconds = 3_600;

export const isNoted = (reason: string): reason is NotedReason => Object.hasOwn(numbers, reason);

/** Ends a chain that refuses for a reason: notes it, and turns the packet away. The connection's mark is free for that, since nothing comes of it. */
export const noteVerdict = (reason: NotedReason): string => `goto note_${numbers[reason]}`;

export const denialSets = `  set ${deniedSets.ipv4} {
    type mark . ipv4_addr . inet_service . ipv4_addr . inet_service
    size ${deniedMax}
    flags dynamic,timeout
    timeout ${keptSeconds}s
  }
  set ${deniedSets.ipv6} {
    type mark . ipv6_addr . inet_service . ipv6_addr . inet_service
    size ${deniedMax}
    flags dynamic,timeout
    timeout ${keptSeconds}s
  }
  set ${unrecordedSet} {
    type mark
    size ${2 * Object.keys(numbers).length}
    flags dynamic
  }`;

export const denialChains = [
  `  chain note {
    meta l4proto { tcp, udp } add @${deniedSets.ipv4} { ct mark . ip saddr . th sport . ip daddr . th dport } goto turn_away
    meta l4proto { tcp, udp } add @${deniedSets.ipv6} { ct mark . ip6 saddr . th sport . ip6 daddr . th dport } goto turn_away
    meta l4proto { tcp, udp } add @${unrecordedSet} { ct mark counter }
    goto turn_away
  }`,
  ...Object.values(numbers).map(
    (number) => `  chain note_${number} {
    meta l4proto tcp ct mark set ${number + protocols.tcp}
    meta l4proto udp ct mark set ${number + protocols.udp}
    goto note
  }`,
  ),
].join('\n');

/** What a number in the sets says; undefined for none of ours. */
export function readNote(mark: number): Noted | undefined {
  for (const [transport, protocol] of Object.entries(protocols) as [Noted['transport'], number][]) {
    for (const [reason, number] of Object.entries(numbers) as [NotedReason, number][]) if (mark === protocol + number) return { reason, transport };
  }
  return undefined;
}
