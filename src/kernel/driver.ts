/** Puts renderings in force on this host, all or nothing, and finds what somebody else has changed of ours. */
import { differenceOf, readListing, renderChange, setNames, tableName, type Counter, type Elements, type KernelRendering, type Listing, type MarkedGrant, type Table } from '../backends/kernel/index.ts';
import { SallyportError } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { boundedList } from '../core/order.ts';
import { addAddresses, missingAddresses, removeAddressesBut, type Place } from './addresses.ts';
import { cutConnections, type Ended, type Reach } from './connections.ts';
import { checkRequirements } from './requirements.ts';
import type { RunProgram } from './run-program.ts';

export interface KernelDriverOptions {
  readonly run: RunProgram;
  /** Whether SNAT addresses are put on the interface; false where keepalived does that. */
  readonly holdsAddresses: boolean;
  /** Asked once a change is in force; where it says no, or throws, what was before is put back. */
  readonly isHealthy?: () => Promise<boolean>;
}

/** One call at a time. */
export interface KernelDriver {
  /** Throws `kernel-unable` where this host cannot do it. Changes nothing. */
  check(): Promise<void>;
  /**
   * Puts a rendering in force: addresses, then the table in one transaction, read back, then what is no longer granted is cut. Where it throws,
   * the one before is in force as it was. A change that touches elements only is sent as such, and connections, counters and limits go on;
   * the first rendering replaces whatever there is of ours, and a connection goes on whose grant is the same.
   */
  apply(rendering: KernelRendering): Promise<void>;
  /** What somebody has changed since `apply`, a sentence each; none where all is as it was put. Reads the whole table: half a second at 10,000 grants. */
  drift(): Promise<readonly string[]>;
  /** Puts back what was applied last. */
  repair(): Promise<void>;
  /** What the grants have carried in both directions since the table was made. */
  counters(): Promise<readonly GrantCounter[]>;
  /** Removes the table, our addresses, and the connections that stood on them, whichever process has made them: from then on this host forwards as if we had never been there. */
  remove(): Promise<void>;
}

export interface GrantCounter extends MarkedGrant, Counter {}

interface Applied {
  readonly rendering: KernelRendering;
  /** Of the table as it was read back when it was made. */
  readonly structure: string;
}

export function createKernelDriver({ run, holdsAddresses, isHealthy = () => Promise.resolve(true) }: KernelDriverOptions): KernelDriver {
  let applied: Applied | undefined;

  async function load(ruleset: string): Promise<void> {
    const { status, stderr } = await run('nft', ['--file', '-'], ruleset);
    if (status !== 0) throw new SallyportError('ruleset-refused', `nft: ${stderr.trim().split('\n')[0]!}`, { hint: 'what was in force before still is' });
  }

  /** Undefined where there is no table of ours. */
  async function listed(): Promise<Listing | undefined> {
    const { status, stdout } = await run('nft', ['--json', 'list', 'table', ...tableName.split(' ')]);
    return status === 0 ? readListing(stdout) : undefined;
  }

  async function replace(rendering: KernelRendering): Promise<Applied> {
    await load(rendering.ruleset);
    const listing = await listed();
    const differences = differencesOf(rendering.table, listing);
    if (listing === undefined || differences.length > 0) throw new SallyportError('ruleset-refused', `the table is not what it was told to be: ${boundedList(differences, 3)}`, { hint: 'somebody else may be changing it at the same time' });
    return { rendering, structure: listing.structure };
  }

  /** The change alone where there is a table that it can be made to. */
  async function bringTo(rendering: KernelRendering): Promise<Applied> {
    const change = applied === undefined ? undefined : renderChange(applied.rendering.table, rendering.table);
    if (applied === undefined || change === undefined) return replace(rendering);
    const changed: Applied = { rendering, structure: applied.structure };
    const isThere = await load(change).then(
      async () => (await driftFrom(changed)).length === 0,
      () => false, // it is not what we have put there
    );
    return isThere ? changed : replace(rendering);
  }

  async function driftFrom({ rendering: { table }, structure }: Applied): Promise<readonly string[]> {
    const listing = await listed();
    return [...differencesOf(table, listing), ...(listing === undefined || listing.structure === structure ? [] : ['the chains, or how the sets are made, have been changed'])];
  }

  async function rollBack(before: Applied | undefined): Promise<void> {
    applied = before;
    if (before === undefined) return; // it is the only one there has been: better it than an open router
    if ((await driftFrom(before)).length > 0) applied = await replace(before.rendering);
    if (holdsAddresses) await removeAddressesBut(run, placeOf(before.rendering));
  }

  return {
    check: () => checkRequirements(run),
    async apply(rendering) {
      const before = applied;
      const inForce = before?.rendering.table.elements ?? (await listed())?.elements; // of a process before this one
      if (holdsAddresses) await addAddresses(run, placeOf(rendering));
      try {
        applied = await bringTo(rendering);
        if (!(await isHealthy())) throw new SallyportError('ruleset-refused', `revision ${rendering.table.revision} is not healthy, and was taken back`, { hint: 'what was in force before is again' });
      } catch (error) {
        await rollBack(before);
        throw error;
      }
      if (inForce !== undefined) await cutConnections(run, endedBetween(inForce, rendering.table.elements));
      if (holdsAddresses) await removeAddressesBut(run, placeOf(rendering));
    },
    async drift() {
      if (applied === undefined) return [];
      const { rendering } = applied;
      const missing = holdsAddresses ? await missingAddresses(run, placeOf(rendering)) : [];
      return [...(await driftFrom(applied)), ...(missing.length === 0 ? [] : [`interface "${rendering.table.settings.interface}" lacks ${boundedList(missing)}`])];
    },
    async repair() {
      if (applied === undefined) return;
      const { rendering } = applied;
      if (holdsAddresses) await addAddresses(run, placeOf(rendering));
      applied = await replace(rendering);
    },
    async counters() {
      const listing = await listed();
      const grants = applied?.rendering.grants ?? new Map<number, MarkedGrant>();
      return [...(listing?.counters ?? [])].flatMap(([mark, counter]) => {
        const grant = grants.get(mark);
        return grant === undefined ? [] : [{ ...grant, packets: counter.packets, bytes: counter.bytes }];
      });
    },
    async remove() {
      const listing = await listed();
      await load(`table ${tableName}\ndelete table ${tableName}\n`);
      applied = undefined;
      await cutConnections(run, { marks: marksOf(listing?.elements), workloads: [], reaches: [] });
      if (holdsAddresses) await removeAddressesBut(run, null);
    },
  };
}

function differencesOf(table: Table, listing: Listing | undefined): readonly string[] {
  if (listing === undefined) return [`there is no table ${tableName}`];
  const ofSets = setNames.flatMap((name) => {
    const { removed: lost, added: strange } = differenceOf(table.elements[name], listing.elements[name]);
    const named = (verb: string, elements: readonly (readonly [string, string])[]) => (elements.length === 0 ? [] : [`set ${name} ${verb} ${boundedList(elements.map(([key, value]) => (value === '' ? key : `${key} : ${value}`)), 3)}`]);
    return [...named('lacks', lost), ...named('has beside its own', strange)];
  });
  const isOfRevision = listing.revision !== null && table.revision.startsWith(listing.revision);
  return [...ofSets, ...(isOfRevision ? [] : [`its log lines are of revision ${String(listing.revision)}`])];
}

/** Where a gateway's SNAT addresses are to be. */
export const placeOf = ({ table, addresses }: KernelRendering): Place => ({ interface: table.settings.interface, addresses });

const marksOf = (elements: Elements | undefined): readonly number[] => [...(elements?.grants.keys() ?? [])].map(Number);

/** Marks of grants that are no more; workloads that have an address no longer; and what grants that stay lead to no longer. */
function endedBetween(before: Elements, after: Elements): Ended {
  const gone = (name: 'identities4' | 'identities6') => differenceOf(before[name], after[name]).removed.map(([address]) => address as IpAddress);
  const unreached = (name: 'live4' | 'live6') => differenceOf(before[name], after[name]).removed.map(([key]) => reachOf(key)).filter(({ mark }) => after.grants.has(String(mark)));
  return {
    marks: marksOf(before).filter((mark) => !after.grants.has(String(mark))),
    workloads: [...gone('identities4'), ...gone('identities6')],
    reaches: [...unreached('live4'), ...unreached('live6')],
  };
}

/** Of an element of `live`. */
function reachOf(key: string): Reach {
  const [workload, mark, service] = key.split(' . ') as [IpAddress, string, IpAddress];
  return { workload, mark: Number(mark), service };
}
