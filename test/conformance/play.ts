/** Plays a world: everybody at once, and then what the workload, the witness and the ledger know of each attempt. */
import { formatEndpoint } from '../../src/core/ip-address.ts';
import type { PlayedClass } from './classes.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { ConnectionRecord, DataPlane, Enforced } from './data-plane.ts';
import { divergenceOf, isPlayed, outcomeFor } from './divergence.ts';
import { expectedRecords } from './expectation.ts';
import type { Visit, Visited } from './visit.ts';
import { placedIn, type Attempt, type World } from './world.ts';

export interface PlayedWorld extends Enforced {
  /** Connections and datagrams that the witness saw. */
  readonly accepted: number;
  readonly played: readonly Played[];
}

export interface Played extends Visited {
  /** Of the world's. */
  readonly row: Attempt;
  /** The row, in this run. */
  readonly attempt: Attempt;
  /** The workload's end as the gateway sees it, `address:port`. */
  readonly client: string;
  /** In the order of the ledger, but those of connections within the session after its own. */
  readonly records: readonly ConnectionRecord[];
}

type Spoken = Omit<Played, 'records'>;
type Begun = Pick<Played, 'row' | 'attempt' | 'client'> & { readonly visit: Visit };

/** So often each: whoever comes at the same moment must not be taken for another. */
export const rounds = 3;
const recordedWithinMs = 10_000;

export async function playWorld(world: World, gatewayClass: PlayedClass, plane: DataPlane): Promise<PlayedWorld> {
  const rows = world.attempts.filter((row) => isPlayed(row, gatewayClass));
  const enforced = await plane.enforce(world, rows.map(({ as }) => as));
  const [acceptedBefore, recordsBefore] = [plane.witness.accepted, plane.records.length];
  const begun = await beginAll(rows, world.inTurn === true, (row) => begin(row, gatewayClass, plane));
  for (const { visit } of begun) visit.takeLeave();
  const spoken = await Promise.all(begun.map(async ({ visit, ...rest }): Promise<Spoken> => ({ ...rest, ...(await visit.over) })));
  const recordsAwaited = spoken.reduce((sum, each) => sum + expectedRecords({ ...each, records: [] }, gatewayClass, enforced.revision).length, recordsBefore);
  await waitFor('the records', recordedWithinMs, () => plane.records.length >= recordsAwaited || undefined).catch(() => undefined); // whose are missing, its row tells
  return { ...enforced, accepted: plane.witness.accepted - acceptedBefore, played: assignRecords(spoken, plane.records.slice(recordsBefore), gatewayClass) };
}

/** When all of them are there. */
async function beginAll(rows: readonly Attempt[], inTurn: boolean, one: (row: Attempt) => Promise<Begun>): Promise<readonly Begun[]> {
  const begun: Promise<Begun>[] = [];
  for (const row of Array.from({ length: rounds }, () => rows).flat()) {
    const next = one(row).then(async (each) => {
      await each.visit.greeted;
      return each;
    });
    if (inTurn) await next;
    begun.push(next);
  }
  return await Promise.all(begun);
}

async function begin(row: Attempt, gatewayClass: PlayedClass, plane: DataPlane): Promise<Begun> {
  const { places, visits, witness } = plane;
  const attempt = placedIn(row, places);
  const { as, to } = attempt;
  const outcome = outcomeFor(attempt, gatewayClass);
  const connection = await plane.connect(as, to);
  const visit = visits[to.manner ?? 'stream'](connection, {
    opening: openingOf(attempt),
    connectData: (port) => plane.connect(as, { listener: port, session: to }),
    witness,
    meeting: outcome.kind === 'leaves' ? { address: outcome.from, port: places.reversePort, from: outcome.to } : undefined,
  });
  return { row, attempt, client: connection.client, visit };
}

/** A session's records have the name of its connection, or name it as that in which theirs is. */
const sessionOf = ({ connectionId, parentId }: ConnectionRecord): string => parentId ?? connectionId;

function assignRecords(spoken: readonly Spoken[], records: readonly ConnectionRecord[], gatewayClass: PlayedClass): readonly Played[] {
  const sessions = [...Map.groupBy(records, sessionOf).values()];
  return spoken.map((each): Played => {
    const handedOver = divergenceOf(each.attempt, gatewayClass)?.servedBy !== undefined;
    const take = (isOurs: (first: ConnectionRecord) => boolean): readonly ConnectionRecord[] => {
      const index = sessions.findIndex(([first]) => isOurs(first!));
      return index === -1 ? [] : sessions.splice(index, 1)[0]!;
    };
    // A workload that is come to is at the same place whoever comes, and not every class can tell whose session a data connection is of.
    const isOwn = (first: ConnectionRecord): boolean => first.client === each.client && (each.attempt.to.manner !== 'reverse' || tellsOf(first, each));
    const mine = [...take((first) => (handedOver ? tellsOf(first, each) : isOwn(first))), ...take((first) => first.client === each.data?.client)];
    const [own, within] = [mine.filter((record) => record.client === mine[0]!.client), mine.filter((record) => record.client !== mine[0]!.client)];
    return { ...each, client: handedOver ? (mine[0]?.client ?? '') : each.client, records: [...own, ...within] };
  });
}

/** Where a connection was handed over its client is the gateway before: then it is known by what the record says. */
function tellsOf(record: ConnectionRecord, { attempt: { as, expect }, greeting }: Spoken): boolean {
  if (record.type === 'connection-denied') return greeting === undefined && record.service === expect.service && 'spiffeId' in as && record.spiffeId === as.spiffeId;
  if (greeting === undefined) return false;
  const { from, fromPort, reached, reachedPort } = greeting;
  return record.snatAddress === from && record.snatPort === fromPort && record.target === formatEndpoint({ address: reached, port: reachedPort });
}

function openingOf({ as, to: { authority } }: Attempt): string {
  if (as.kind === 'plain') return 'hello\r\n';
  return authority === undefined ? '' : `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
}
