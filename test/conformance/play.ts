/** Plays a world: everybody at once, and then what the workload, the witness and the ledger know of each attempt. */
import type { GatewayClass } from '../../src/core/objects/index.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { ConnectionRecord, DataPlane, Enforced } from './data-plane.ts';
import type { Attempt, World } from './world.ts';
import { visit, type Conversation } from './workload.ts';
import { greetingIn, type ConformanceWitness, type Greeting } from './witness.ts';

export interface PlayedWorld extends Enforced {
  /** Connections that the witness saw. */
  readonly accepted: number;
  readonly played: readonly Played[];
}

export interface Played extends Conversation {
  readonly attempt: Attempt;
  /** The workload's end as the gateway sees it, `address:port`. */
  readonly client: string;
  /** What the witness said; undefined where it was not heard. */
  readonly greeting: Greeting | undefined;
  /** In the order of the ledger. */
  readonly records: readonly ConnectionRecord[];
}

type Spoken = Omit<Played, 'records'>;

/** So often each: whoever comes at the same moment must not be taken for another. */
const rounds = 3;
const recordedWithinMs = 10_000;

export async function playWorld(world: World, gatewayClass: GatewayClass, plane: DataPlane, witness: ConformanceWitness): Promise<PlayedWorld> {
  const enforced = await plane.enforce(world, world.attempts.map(({ as }) => as));
  const [acceptedBefore, recordsBefore] = [witness.accepted, plane.records.length];
  const spoken = await Promise.all(Array.from({ length: rounds }, () => world.attempts).flat().map((attempt) => play(attempt, plane)));
  const recordsAwaited = spoken.reduce((sum, { greeting }) => sum + (greeting === undefined ? 1 : 2), recordsBefore); // one refuses, two open and close
  await waitFor('the records', recordedWithinMs, () => plane.records.length >= recordsAwaited || undefined).catch(() => undefined); // whose are missing, its row tells
  return { ...enforced, accepted: witness.accepted - acceptedBefore, played: assignRecords(spoken, plane.records.slice(recordsBefore), gatewayClass) };
}

async function play(attempt: Attempt, plane: DataPlane): Promise<Spoken> {
  const { socket, client } = await plane.connect(attempt.as, attempt.to);
  const visiting = visit(socket, openingOf(attempt));
  await visiting.greeted;
  visiting.takeLeave();
  const conversation = await visiting.over;
  return { attempt, client, ...conversation, greeting: greetingIn(conversation.heard) };
}

function assignRecords(spoken: readonly Spoken[], records: readonly ConnectionRecord[], gatewayClass: GatewayClass): readonly Played[] {
  const connections = [...Map.groupBy(records, ({ connectionId }) => connectionId).values()];
  return spoken.map((each): Played => {
    const handedOver = each.attempt.but?.[gatewayClass]?.servedBy !== undefined;
    const index = connections.findIndex(([first]) => (handedOver ? tellsOf(first!, each) : first!.client === each.client));
    const [mine = []] = index === -1 ? [] : connections.splice(index, 1);
    return { ...each, client: handedOver ? (mine[0]?.client ?? '') : each.client, records: mine };
  });
}

/** Where a connection was handed over its client is the gateway before: then it is known by what the record says. */
function tellsOf(record: ConnectionRecord, { attempt: { as, expect }, greeting }: Spoken): boolean {
  if (record.type !== 'connection-denied') return record.snatAddress === greeting?.from && record.snatPort === greeting.fromPort;
  return greeting === undefined && record.service === expect.service && 'spiffeId' in as && record.spiffeId === as.spiffeId;
}

function openingOf({ as, to: { authority } }: Attempt): string {
  if (as.kind === 'plain') return 'hello\r\n';
  return authority === undefined ? '' : `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`;
}
