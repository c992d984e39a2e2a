/** The addresses of a SNAT pool as arithmetic on intervals: a /32 of IPv6 costs no more than one address. Nothing here enumerates a range. */
import { addressToNumber, familyOf, numberToAddress, type IpAddress, type IpFamily } from '../ip-address.ts';
import type { SnatPool } from '../objects/index.ts';
import { byText } from '../order.ts';
import type { PortRange } from '../plan/plan.ts';

export const ipFamilies = ['ipv4', 'ipv6'] as const;

/** Source ports that may be given out: everything above the well-known ones. */
export const snatPorts: PortRange = { first: 1024, last: 65535 };
/** Whether an address is its holder's alone. */
export const isWhole = ({ first, last }: PortRange): boolean => first === snatPorts.first && last === snatPorts.last;

interface Interval {
  readonly first: bigint;
  readonly last: bigint;
}

/** A pool, ready for arithmetic. Intervals are ascending and disjoint. */
export interface AddressSpace {
  readonly pool: string;
  readonly intervals: Readonly<Record<IpFamily, readonly Interval[]>>;
  readonly excluded: Readonly<Record<IpFamily, ReadonlySet<bigint>>>;
  readonly sharing: SnatPool['spec']['sharing'];
  readonly quarantineMs: number;
}

/** A source that nobody has. */
export interface FreeSource {
  readonly address: IpAddress;
  readonly ports: PortRange;
}

/** Ports of an address that somebody has, or had until its quarantine is over. */
interface Taken {
  readonly ports: PortRange;
}

const spaces = new WeakMap<SnatPool, AddressSpace>();

/** The pool's address space; made once for each pool object. */
export function addressSpaceOf(pool: SnatPool): AddressSpace {
  const known = spaces.get(pool);
  if (known !== undefined) return known;
  const { addresses, exclude, sharing, quarantine } = pool.spec;
  const perFamily = <T>(make: (family: IpFamily) => T): Record<IpFamily, T> => ({ ipv4: make('ipv4'), ipv6: make('ipv6') });
  const space: AddressSpace = {
    pool: pool.metadata.name,
    intervals: perFamily((family) => merged(addresses.filter((range) => range.family === family))),
    excluded: perFamily((family) => new Set(exclude.filter((address) => familyOf(address) === family).map(addressToNumber))),
    sharing,
    quarantineMs: quarantine,
  };
  spaces.set(pool, space);
  return space;
}

function merged(ranges: readonly Interval[]): Interval[] {
  const result: { first: bigint; last: bigint }[] = [];
  for (const { first, last } of ranges.toSorted((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0))) {
    const previous = result.at(-1);
    if (previous === undefined || first > previous.last) result.push({ first, last });
    else if (last > previous.last) previous.last = last;
  }
  return result;
}

/** The families that the pool has addresses of. */
export function familiesOf(space: AddressSpace): IpFamily[] {
  return ipFamilies.filter((family) => space.intervals[family].length > 0);
}

/** Whether the address may be assigned: within the ranges, within but excluded, or not of this pool. */
export function placeIn(space: AddressSpace, family: IpFamily, value: bigint): 'inside' | 'excluded' | 'outside' {
  if (!space.intervals[family].some(({ first, last }) => first <= value && value <= last)) return 'outside';
  return space.excluded[family].has(value) ? 'excluded' : 'inside';
}

/** How many addresses of the family can be assigned. */
export function capacityOf(space: AddressSpace, family: IpFamily): bigint {
  let count = 0n;
  for (const { first, last } of space.intervals[family]) count += last - first + 1n;
  for (const value of space.excluded[family]) if (placeIn(space, family, value) === 'excluded') count -= 1n;
  return count;
}

/** Every free source of a family, lowest address and lowest ports first. Lazy: the cost is that of the addresses that are taken or excluded before the last one asked for. */
export function* freeSources(space: AddressSpace, family: IpFamily, taken: ReadonlyMap<bigint, readonly Taken[]>): Generator<FreeSource> {
  for (const { first, last } of space.intervals[family]) {
    for (let value = first; value <= last; value += 1n) {
      if (space.excluded[family].has(value)) continue;
      for (const ports of freePorts(space.sharing, taken.get(value) ?? [])) yield { address: numberToAddress(family, value), ports };
    }
  }
}

/** The free port ranges of one address: all of it or nothing where addresses are exclusive, else the free blocks. */
export function* freePorts(sharing: AddressSpace['sharing'], taken: readonly Taken[]): Generator<PortRange> {
  if (sharing.mode === 'Exclusive') {
    if (taken.length === 0) yield snatPorts;
    return;
  }
  const obstacles = taken.map(({ ports }) => ports).sort((a, b) => a.first - b.first);
  let next = 0;
  for (let first = snatPorts.first; first + sharing.blockSize - 1 <= snatPorts.last; first += sharing.blockSize) {
    const block = { first, last: first + sharing.blockSize - 1 };
    while (next < obstacles.length && obstacles[next]!.last < block.first) next += 1;
    if (next === obstacles.length || obstacles[next]!.first > block.last) yield block;
  }
}

/** A range of one pool that overlaps a range of another. */
export interface PoolOverlap {
  readonly pool: SnatPool;
  /** Index in `spec.addresses`. */
  readonly index: number;
  readonly other: SnatPool;
  readonly otherText: string;
}

/** Overlaps between different pools; each offending range once for each other pool. Ranges of one pool may overlap each other. */
export function poolOverlaps(pools: Iterable<SnatPool>): PoolOverlap[] {
  const sorted = [...pools]
    .flatMap((pool) => pool.spec.addresses.map((range, index) => ({ pool, index, range })))
    .sort((a, b) => byText(a.range.family, b.range.family) || (a.range.first < b.range.first ? -1 : a.range.first > b.range.first ? 1 : 0) || byText(a.pool.metadata.name, b.pool.metadata.name));
  const overlaps: PoolOverlap[] = [];
  const furthest = new Map<SnatPool, (typeof sorted)[number]['range']>(); // of the ranges so far, the one that reaches furthest in each pool
  for (const { pool, index, range } of sorted) {
    for (const [other, reach] of furthest) {
      if (other !== pool && reach.family === range.family && reach.last >= range.first) overlaps.push({ pool, index, other, otherText: reach.text });
    }
    const reach = furthest.get(pool);
    if (reach?.family !== range.family || reach.last < range.last) furthest.set(pool, range);
  }
  return overlaps;
}
