/** Several replicas of a control plane asked as one: each has a ledger of its own, and sees only the proxies that are connected to it. */
import { adminPaths, type ProxyConfigResult, type ProxyStatus, type StatusResult, type WhoisConnection, type WhoisResult } from '../api/admin.ts';
import { SallyportError } from '../core/errors.ts';
import { byText } from '../core/order.ts';
import type { CliContext } from './context.ts';
import type { ReplicaClient } from './target.ts';

export type Replicas = readonly [ReplicaClient, ...ReplicaClient[]];

type Query = Readonly<Record<string, string | undefined>>;

/** Who held it, as far as any replica knows. Throws where none knows, and one has not been heard: "nobody" is for all of them to say. */
export async function askWhois(context: CliContext, replicas: Replicas, query: Query): Promise<WhoisResult> {
  const { answers, failures } = await askEach(replicas, ({ client }) => client.get<WhoisResult>(adminPaths.whois, query));
  if (answers.length > 0) tell(context, failures);
  const result = mergeWhois(answers);
  if (result.connections.length === 0 && failures.length > 0) throw failures[0]!.error;
  return result;
}

/** A connection that two replicas have heard of is told once: by the one that has heard of its end too. */
export function mergeWhois(results: readonly WhoisResult[]): WhoisResult {
  const connections = new Map<string, WhoisConnection>();
  for (const connection of results.flatMap((result) => result.connections)) {
    const { connectionId } = connection.opened;
    if (connections.get(connectionId)?.closed == null) connections.set(connectionId, connection);
  }
  const nearest = results.flatMap((result) => (result.nearest === null ? [] : [result.nearest])).sort((a, b) => byText(b.opened.time, a.opened.time));
  return { connections: [...connections.values()], nearest: connections.size > 0 ? null : (nearest[0] ?? null) };
}

/** That of the replica that leads, with the proxies of all, and what is the matter with any. */
export async function askStatus(context: CliContext, [leader, ...others]: Replicas): Promise<StatusResult> {
  const status = await leader.client.get<StatusResult>(adminPaths.status);
  const { answers, failures } = await askEach(others, ({ client }) => client.get<StatusResult>(adminPaths.status));
  tell(context, failures);
  const conditions = [...new Set([status, ...answers].flatMap((each) => each.conditions))];
  return { ...status, conditions, proxies: mergeProxies([status, ...answers].map(({ proxies }) => proxies)) };
}

/** One that is connected to any of them is connected. */
export function mergeProxies(lists: readonly (readonly ProxyStatus[])[]): readonly ProxyStatus[] {
  const proxies = new Map<string, ProxyStatus>();
  for (const proxy of lists.flat()) if (proxies.get(proxy.node)?.connected !== true) proxies.set(proxy.node, proxy);
  return [...proxies.values()];
}

/** From the replica that the proxy is connected to. Throws `not-found` where it is to none. */
export async function askProxyConfig([first, ...others]: Replicas, name: string): Promise<ProxyConfigResult> {
  try {
    return await first.client.get<ProxyConfigResult>(adminPaths.proxyConfig, { name });
  } catch (error) {
    const [next, ...rest] = others;
    if (next === undefined || !(error instanceof SallyportError && error.code === 'not-found')) throw error;
    return await askProxyConfig([next, ...rest], name);
  }
}

/** A record of a replica's ledger, as JSON. */
export interface ReplicaLine {
  /** Empty where there is one replica. */
  readonly replica: string;
  readonly line: string;
}

export interface LinesOptions {
  /** As they come, and go on with new ones. Otherwise in the order of their times. */
  readonly follow: boolean;
  /** So many of all that there are; with `follow` of each replica. Default: all. */
  readonly last?: number;
  readonly signal: AbortSignal;
}

/** Records of all. */
export async function* replicaLines(replicas: Replicas, path: string, query: Query, { follow, last = Infinity, signal }: LinesOptions): AsyncGenerator<ReplicaLine> {
  const sources = interleave(replicas.map(({ name, client }) => named(name, client.lines(path, query, signal))));
  if (follow || replicas.length === 1) {
    yield* sources;
    return;
  }
  const all: ReplicaLine[] = [];
  for await (const line of sources) all.push(line);
  all.sort((a, b) => byText(timeOf(a), timeOf(b)));
  yield* all.slice(Math.max(0, all.length - last));
}

const timeOf = ({ line }: ReplicaLine): string => (JSON.parse(line) as { readonly time: string }).time;

async function* named(replica: string, lines: AsyncIterable<string>): AsyncGenerator<ReplicaLine> {
  for await (const line of lines) yield { replica, line };
}

async function* interleave<Item>(sources: readonly AsyncGenerator<Item>[]): AsyncGenerator<Item> {
  const next = async (source: AsyncGenerator<Item>) => ({ source, result: await source.next() });
  const pending = new Map(sources.map((source) => [source, next(source)]));
  while (pending.size > 0) {
    const { source, result } = await Promise.race(pending.values());
    if (result.done === true) {
      pending.delete(source);
    } else {
      pending.set(source, next(source));
      yield result.value;
    }
  }
}

interface Failure {
  readonly replica: string;
  readonly error: SallyportError;
}

async function askEach<Answer>(replicas: readonly ReplicaClient[], ask: (replica: ReplicaClient) => Promise<Answer>): Promise<{ readonly answers: readonly Answer[]; readonly failures: readonly Failure[] }> {
  const answers: Answer[] = [];
  const failures: Failure[] = [];
  const asked = await Promise.allSettled(replicas.map(ask));
  for (const [index, result] of asked.entries()) {
    if (result.status === 'fulfilled') answers.push(result.value);
    else if (result.reason instanceof SallyportError) failures.push({ replica: replicas[index]!.name, error: result.reason });
    else throw result.reason;
  }
  return { answers, failures };
}

/** So that nobody takes what the others say for all there is. */
function tell(context: CliContext, failures: readonly Failure[]): void {
  for (const { replica, error } of failures) context.say(`warning: without ${replica}: ${error.message}`);
}
