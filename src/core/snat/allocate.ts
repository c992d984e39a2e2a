/**
 * SNAT allocation: which holder leaves from which address. An address is a promise to somebody else's firewall, so what
 * was once assigned stays, whatever else changes; what cannot stay is a fault and never a silent move.
 */
import { addressSpaceOf, capacityOf, familiesOf, freePorts, freeSources, placeIn, poolOverlaps, snatPorts, type AddressSpace, type FreeSource } from './address-space.ts';
import type { Assignment, Assignments, Holder } from './assignments.ts';
import { describeRef, refOf, type DesiredState } from '../desired-state.ts';
import type { ObjectRef } from '../errors.ts';
import { sortFaults } from '../fault-order.ts';
import { holderOfBinding, namespaceOfHolder } from './holder.ts';
import { addressToNumber, familyOf, type IpAddress, type IpFamily } from '../ip-address.ts';
import type { SnatBinding, SnatPool } from '../objects/index.ts';
import { boundedList, byText, sortedUnique } from '../order.ts';
import type { Ground, PlanFault } from '../plan-fault.ts';
import { filterInSteps, forEachInSteps, runThrough, type Steps } from '../steps.ts';
import { isOpenTo, labelsAskedFor, speaksForAll, type RootNamespace } from '../tenancy.ts';

export interface Allocation {
  /** The same array, and the same records, where nothing changed. With faults: good for finding further faults, not for keeping. */
  readonly assignments: Assignments;
  readonly faults: readonly PlanFault[];
}

/** Quarantine of an address that no pool contains any more, in milliseconds: SnatPool's default. */
const quarantineWithoutPoolMs = 86_400_000;

/** A field of desired state that wants a source. */
interface Wish {
  readonly object: ObjectRef;
  readonly path: readonly (string | number)[];
}

/** One source that a holder is to have: any address of a pool and family, or the one that a binding names. */
interface Slot {
  readonly holder: Holder;
  readonly space: AddressSpace;
  readonly family: IpFamily;
  /** Null: any of the pool. */
  readonly address: IpAddress | null;
  /** Every binding that wants it. */
  readonly wishes: Wish[];
}

/** Records by address: whoever has it, or had it until its quarantine is over. */
type Occupancy = Readonly<Record<IpFamily, Map<bigint, Assignment[]>>>;

/**
 * Gives every holder that a SnatBinding names its sources, keeps those it has, and releases what no binding wants.
 *
 * The result depends on the content of the input, never on its order: a holder keeps its assignments; a returning holder
 * gets its own back, even out of quarantine; addresses that bindings name are placed next; then the others, by holder,
 * lowest free address and ports first. A released address is free for others once its pool's quarantine is over.
 * `now` is in milliseconds since the epoch. Where clocks disagree it is the earliest that it may be, by which quarantines end, and `latest` the
 * latest, by which they begin. With a root namespace, bindings of others draw from pools that are for them, and speak about
 * themselves (what speaks about others gets nothing here, and is told by compilation).
 */
export const allocate = (desired: DesiredState, assignments: Assignments, now: number, rootNamespace?: string, latest = now): Allocation => runThrough(allocateInSteps(desired, assignments, now, rootNamespace, latest));

/** Slots and records of a step: at some 4 us each. */
const perStep = 64;

/** As `allocate`. The longest steps sort all slots and all records. */
export function* allocateInSteps(desired: DesiredState, assignments: Assignments, now: number, rootNamespace?: string, latest = now): Steps<Allocation> {
  const before = settled.get(assignments);
  const basis = [desired.SnatBinding, desired.SnatPool, rootNamespace, labelsAskedFor(desired.SnatPool.values(), rootNamespace, desired.Namespace)];
  if (before !== undefined && basis.every((each, index) => each === before.basis[index]) && now < before.untilMs) return { assignments, faults: [] };

  const faults = overlapFaults(desired.SnatPool.values());
  const spaces = new Map([...desired.SnatPool].map(([name, pool]) => [name, addressSpaceOf(pool)]));
  const slots = yield* slotsOf(desired, spaces, rootNamespace, faults);

  const held = Map.groupBy(assignments, (record) => record.holder);
  const kept = new Map<Assignment, Assignment>(); // as it was, as it is now
  const unkept = yield* filterInSteps(slots, perStep, (slot) => !keep(slot, held.get(slot.holder) ?? [], kept, faults));
  const unmet = yield* filterInSteps(unkept, perStep, (slot) => !adopt(slot, held.get(slot.holder) ?? [], kept));

  const records: Assignment[] = [];
  yield* forEachInSteps(assignments, perStep, (record) => {
    const next = kept.get(record) ?? (record.releasedAt === null ? { ...record, releasedAt: latest } : record);
    if (next.releasedAt === null || now < quarantineEnd(next, next.releasedAt, spaces)) records.push(next);
  });

  if (unmet.length > 0) {
    unmet.sort(bySlot);
    const occupancy: Occupancy = { ipv4: new Map(), ipv6: new Map() };
    yield* forEachInSteps(records, perStep, (record) => occupy(occupancy, record));
    const byHolder = Map.groupBy(slots, ({ holder }) => holder);
    yield* forEachInSteps(unmet, perStep, (slot) => {
      if (slot.address !== null) records.push(...placeNamed(slot, slot.address, occupancy, byHolder, spaces, faults));
    });
    for (const record of yield* placeAny(share(unmet.filter((slot) => slot.address === null), records), occupancy, spaces, faults)) records.push(record);
  }
  const unchanged = records.length === assignments.length && records.every((record, index) => record === assignments[index]);
  const result = unchanged ? assignments : records.sort(byAssignment);
  if (faults.length === 0) {
    const ends = result.flatMap((record) => (record.releasedAt === null ? [] : [quarantineEnd(record, record.releasedAt, spaces)]));
    settled.set(result, { basis, untilMs: ends.reduce((first, end) => Math.min(first, end), Infinity) });
  }
  return { assignments: result, faults: yield* sortFaults(faults) };
}

/** Assignments that are just what is wanted, with all that decides that: allocating again gives them again, until the next quarantine ends. */
const settled = new WeakMap<Assignments, { readonly basis: readonly unknown[]; readonly untilMs: number }>();

function byAssignment(a: Assignment, b: Assignment): number {
  return byText(a.pool, b.pool) || byText(a.holder, b.holder) || byText(a.family, b.family) || byText(a.address, b.address);
}

function marked({ pool, holder, family, address, ports, releasedAt }: Assignment, fixed: boolean): Assignment {
  return { pool, holder, family, address, ports, releasedAt, ...(fixed && { fixed }) };
}

function bySlot(a: Slot, b: Slot): number {
  return byText(a.holder, b.holder) || byText(a.space.pool, b.space.pool) || byText(a.family, b.family) || byText(a.address ?? '', b.address ?? '');
}

const numbers = new WeakMap<Assignment, bigint>();

/** The address as a number; parsed once a record, since records outlive many allocations. */
function numberOf(record: Assignment): bigint {
  let value = numbers.get(record);
  if (value === undefined) numbers.set(record, (value = addressToNumber(record.address)));
  return value;
}

// What bindings want

function* slotsOf(desired: DesiredState, spaces: ReadonlyMap<string, AddressSpace>, rootNamespace: RootNamespace, faults: PlanFault[]): Steps<Slot[]> {
  const isFor = ({ metadata }: SnatBinding, { pool }: AddressSpace) => isOpenTo(desired.SnatPool.get(pool)!.spec.namespaces, metadata.namespace, rootNamespace, desired.Namespace);
  const slots = new Map<Holder, Slot[]>();
  const want = (slot: Omit<Slot, 'wishes'>, wish: Wish) => {
    const mine = slots.get(slot.holder);
    const known = mine?.find(({ space, family, address }) => space === slot.space && family === slot.family && address === slot.address);
    if (known !== undefined) known.wishes.push(wish);
    else if (mine !== undefined) mine.push({ ...slot, wishes: [wish] });
    else slots.set(slot.holder, [{ ...slot, wishes: [wish] }]);
  };
  yield* forEachInSteps(desired.SnatBinding.values(), perStep, (binding) => {
    const object = refOf(binding);
    const holder = holderOfBinding(binding);
    if (!speaksForAll(object.namespace, rootNamespace) && namespaceOfHolder(holder) !== object.namespace) return;
    if (binding.spec.pool !== undefined) {
      const path = ['spec', 'pool'];
      const space = spaces.get(binding.spec.pool);
      if (space === undefined) faults.push(poolUnknown(binding.spec.pool, spaces, { object, path }));
      else if (!isFor(binding, space)) faults.push(poolClosed(space, { object, path }));
      else for (const family of familiesOf(space)) want({ holder, space, family, address: null }, { object, path });
    }
    for (const { address, space, path } of namedAddresses(binding, spaces, faults)) {
      if (!isFor(binding, space)) faults.push(poolClosed(space, { object, path }));
      else want({ holder, space, family: familyOf(address), address }, { object, path });
    }
  });
  return [...slots.values()].flat();
}

function namedAddresses(binding: SnatBinding, spaces: ReadonlyMap<string, AddressSpace>, faults: PlanFault[]) {
  const object = refOf(binding);
  const usable: { address: IpAddress; space: AddressSpace; path: (string | number)[] }[] = [];
  for (const [index, address] of (binding.spec.addresses ?? []).entries()) {
    const path = ['spec', 'addresses', index];
    const value = addressToNumber(address);
    const space = [...spaces.values()].find((candidate) => placeIn(candidate, familyOf(address), value) !== 'outside');
    if (space === undefined) {
      faults.push({ code: 'address-outside-pools', message: `address "${address}" is in no SnatPool`, hint: 'add it to a SnatPool whose addresses the gateway owns', object, path, restsOn: [{ kind: 'SnatPool', address }] });
    } else if (placeIn(space, familyOf(address), value) === 'excluded') {
      faults.push({ code: 'address-excluded', message: `address "${address}" is excluded from SnatPool ${space.pool}`, hint: 'choose another address, or take it off "exclude"', object, path, restsOn: [poolRef(space.pool)] });
    } else {
      usable.push({ address, space, path });
    }
  }
  return usable;
}

// What stays

/** Whether the slot needs no new source: its holder has the one it wants, or has one that it must not lose (then a fault says so). */
function keep(slot: Slot, held: readonly Assignment[], kept: Map<Assignment, Assignment>, faults: PlanFault[]): boolean {
  const { address, space, family } = slot;
  const candidates = held.filter((record) => (address === null ? record.pool === space.pool && record.family === family && record.fixed === undefined : record.address === address));
  const live = candidates.find((record) => record.releasedAt === null);
  if (live !== undefined && placeIn(space, family, numberOf(live)) !== 'inside') {
    for (const wish of slot.wishes) faults.push(lostAddress(live, space, wish));
    kept.set(live, live);
    return true;
  }
  const record = live ?? candidates.find((candidate) => placeIn(space, family, numberOf(candidate)) === 'inside');
  if (record !== undefined) claim(slot, record, kept);
  return record !== undefined;
}

/** Whether the holder has a source in the pool for which it has no other use, as when a pool got a new name or a binding a pool in place of an address. */
function adopt(slot: Slot, held: readonly Assignment[], kept: Map<Assignment, Assignment>): boolean {
  if (slot.address !== null) return false;
  const candidates = held.filter((record) => !kept.has(record) && record.family === slot.family && placeIn(slot.space, slot.family, numberOf(record)) === 'inside');
  const record = candidates.find((candidate) => candidate.releasedAt === null) ?? candidates[0];
  if (record !== undefined) claim(slot, record, kept);
  return record !== undefined;
}

function claim(slot: Slot, record: Assignment, kept: Map<Assignment, Assignment>): void {
  const current = kept.get(record) ?? record;
  const next = marked({ ...current, pool: slot.space.pool, releasedAt: null }, current.fixed === true && slot.address !== null);
  const unchanged = next.pool === record.pool && record.releasedAt === null && next.fixed === record.fixed;
  kept.set(record, unchanged ? record : next);
}

/** Lets `pool` bindings leave from an address that another binding of their holder names, so that a holder has one a pool and family where nothing else was promised. Gives the slots that no such address serves. */
function share(slots: readonly Slot[], records: Assignment[]): Slot[] {
  const keyOf = (holder: Holder, pool: string, family: IpFamily) => `${holder} ${pool} ${family}`;
  const named = new Map<string, number>();
  for (const [index, { holder, pool, family, fixed, releasedAt }] of records.entries()) {
    const key = keyOf(holder, pool, family);
    if (fixed === true && releasedAt === null && !named.has(key)) named.set(key, index);
  }
  return slots.filter(({ holder, space, family }) => {
    const index = named.get(keyOf(holder, space.pool, family));
    if (index === undefined) return true;
    records[index] = marked(records[index]!, false);
    return false;
  });
}

/** When others may have the address of a released record. */
function quarantineEnd(record: Assignment, releasedAt: number, spaces: ReadonlyMap<string, AddressSpace>): number {
  const space = spaces.get(record.pool) ?? [...spaces.values()].find((candidate) => placeIn(candidate, record.family, numberOf(record)) !== 'outside');
  return releasedAt + (space?.quarantineMs ?? quarantineWithoutPoolMs);
}

// What is new

function occupy(occupancy: Occupancy, record: Assignment): void {
  const value = numberOf(record);
  const others = occupancy[record.family].get(value);
  if (others === undefined) occupancy[record.family].set(value, [record]);
  else others.push(record);
}

function recordOf(slot: Slot, { address, ports }: FreeSource): Assignment {
  return marked({ pool: slot.space.pool, holder: slot.holder, family: slot.family, address, ports, releasedAt: null }, slot.address !== null);
}

function placeNamed(slot: Slot, address: IpAddress, occupancy: Occupancy, byHolder: ReadonlyMap<Holder, readonly Slot[]>, spaces: ReadonlyMap<string, AddressSpace>, faults: PlanFault[]): Assignment[] {
  const others = occupancy[slot.family].get(addressToNumber(address)) ?? [];
  const ports = freePorts(slot.space.sharing, others).next();
  if (ports.done !== true) {
    const record = recordOf(slot, { address, ports: ports.value });
    occupy(occupancy, record);
    return [record];
  }
  const quarantined = others.every((record) => record.releasedAt !== null);
  const bindingsOf = (holder: Holder): Ground[] => [...(byHolder.get(holder) ?? []).flatMap(({ wishes }) => wishes.map(({ object }) => object)), { kind: 'SnatBinding', subject: namespaceOfHolder(holder) }];
  const restsOn = [poolRef(slot.space.pool), ...others.flatMap(({ pool, holder }) => [poolRef(pool), ...bindingsOf(holder)])];
  for (const wish of slot.wishes) {
    faults.push({
      code: quarantined ? 'address-in-quarantine' : 'address-held',
      message: `address "${address}" cannot go to ${slot.holder}: ${boundedList(others.map((record) => holding(record, spaces)))}`,
      hint: quarantined ? 'wait for the end of the quarantine, or choose another address' : 'choose another address, or remove the other binding and wait for its quarantine to end',
      ...wish,
      restsOn,
    });
  }
  return [];
}

function* placeAny(slots: readonly Slot[], occupancy: Occupancy, spaces: ReadonlyMap<string, AddressSpace>, faults: PlanFault[]): Steps<Assignment[]> {
  const placed: Assignment[] = [];
  for (const group of Map.groupBy(slots, ({ space, family }) => `${space.pool} ${family}`).values()) {
    const { space, family } = group[0]!;
    const free = freeSources(space, family, occupancy[family]); // sees what was taken before this group; the group itself takes in its order
    const hungry: Slot[] = [];
    yield* forEachInSteps(group, perStep, (slot) => {
      const source = free.next();
      if (source.done === true) hungry.push(slot);
      else placed.push(recordOf(slot, source.value));
    });
    if (hungry.length > 0) faults.push(poolExhausted(hungry, [...occupancy[family].values()].flat().concat(placed), spaces));
  }
  return placed;
}

// Faults

function poolRef(name: string): ObjectRef {
  return { kind: 'SnatPool', namespace: '', name };
}

const familyName: Readonly<Record<IpFamily, string>> = { ipv4: 'IPv4', ipv6: 'IPv6' };

/** `10.0.0.1 ns/a`, with the ports where they are a block, and the end of the quarantine where it has been released. */
function holding(record: Assignment, spaces: ReadonlyMap<string, AddressSpace>): string {
  const ports = record.ports.first === snatPorts.first && record.ports.last === snatPorts.last ? '' : `:${record.ports.first}-${record.ports.last}`;
  const { releasedAt } = record;
  const until = releasedAt === null ? '' : ` (in quarantine until ${new Date(quarantineEnd(record, releasedAt, spaces)).toISOString()})`;
  return `${record.address}${ports} ${record.holder}${until}`;
}

function poolExhausted(hungry: readonly Slot[], records: readonly Assignment[], spaces: ReadonlyMap<string, AddressSpace>): PlanFault {
  const { space, family, wishes } = hungry[0]!;
  const holders = records.filter((record) => record.family === family && placeIn(space, family, numberOf(record)) === 'inside').sort((a, b) => Number(numberOf(a) - numberOf(b)) || a.ports.first - b.ports.first);
  return {
    code: 'pool-exhausted',
    message: `snat pool "${space.pool}" has no free ${familyName[family]} address for ${boundedList(hungry.map((slot) => slot.holder))}; all ${capacityOf(space, family)} are taken: ${boundedList(holders.map((record) => holding(record, spaces)))}`,
    hint: `add addresses to SnatPool ${space.pool}, share them by port blocks, or remove bindings that are no longer needed`,
    ...wishes.toSorted((a, b) => byText(describeRef(a.object), describeRef(b.object)))[0]!,
    restsOn: [...sortedUnique([space.pool, ...holders.map(({ pool }) => pool)]).map(poolRef), { kind: 'SnatBinding' }],
  };
}

function lostAddress(record: Assignment, space: AddressSpace, wish: Wish): PlanFault {
  return {
    code: 'assignment-outside-pool',
    message: `${record.holder} leaves from "${record.address}", which SnatPool ${space.pool} no longer offers`,
    hint: 'keep the address in the pool; to give it up, remove the binding first, then add it again for another address',
    ...wish,
    restsOn: [poolRef(space.pool)],
  };
}

function poolClosed({ pool }: AddressSpace, wish: Wish): PlanFault {
  const { namespace } = wish.object;
  return {
    code: 'pool-not-allowed',
    message: `${describeRef(wish.object)} draws from SnatPool ${pool}, which is not for namespace "${namespace}"`,
    hint: 'name another, or ask whoever keeps it to let the namespace in by its "namespaces"; to take an address back, remove the binding first',
    ...wish,
    restsOn: [poolRef(pool), { kind: 'Namespace', name: namespace }],
  };
}

function poolUnknown(name: string, spaces: ReadonlyMap<string, AddressSpace>, wish: Wish): PlanFault {
  const known = [...spaces.keys()].sort(byText);
  return {
    code: 'pool-unknown',
    message: `there is no SnatPool "${name}"`,
    hint: known.length === 0 ? `apply SnatPool ${name} first` : `apply SnatPool ${name} first, or name one of ${boundedList(known)}`,
    ...wish,
    restsOn: [poolRef(name)],
  };
}

function overlapFaults(pools: Iterable<SnatPool>): PlanFault[] {
  return poolOverlaps(pools).map(({ pool, index, other, otherText }) => ({
    code: 'pools-overlap',
    message: `range "${pool.spec.addresses[index]!.text}" overlaps "${otherText}" of ${describeRef(refOf(other))}`,
    hint: 'an address belongs to one pool: take it out of the other',
    object: refOf(pool),
    path: ['spec', 'addresses', index],
    restsOn: [refOf(other)],
  }));
}
