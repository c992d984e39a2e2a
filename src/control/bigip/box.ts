/** One BIG-IP: what is asked of it and told to it, each a call or two of its API. */
import { setTimeout as delay } from 'node:timers/promises';
import { SallyportError } from '../../core/errors.ts';
import { judgeDeclaration, statusIn, wordsOf, type As3Verdict, type BoxAnswer } from './answer.ts';
import type { DataGroupChange, Records } from './data-group-changes.ts';
import type { BoxCall, ManagementClient } from './management-client.ts';
import { isObject, tenantOf, type JsonObject } from './tenant.ts';

/** What has become of a declaration, once that is known. */
export type DeclarationOutcome = Exclude<As3Verdict, { readonly kind: 'under-way' }>;

export interface Box {
  /** Where it is, for people. */
  readonly place: string;
  /** Throws where it does not say. */
  isActive(signal: AbortSignal): Promise<boolean>;
  /** What `sync-status` says, in its own words. */
  syncStatus(signal: AbortSignal): Promise<string>;
  /** The tenant as it was declared last; undefined for none. */
  declared(signal: AbortSignal): Promise<JsonObject | undefined>;
  /** The records that a data group has now; undefined where there is no such group. */
  records(path: string, signal: AbortSignal): Promise<Records | undefined>;
  change(change: DataGroupChange, signal: AbortSignal): Promise<void>;
  /** Has it declared, or only tried, and waits until it is known what has become of it. Throws `timeout`. */
  declare(declaration: JsonObject, signal: AbortSignal, options?: DeclareOptions): Promise<DeclarationOutcome>;
  /** Since when it answers; null where it does not, or is not asked. */
  readonly answeringSinceMs: number | null;
  /** Takes leave; it may be asked again. */
  rest(): Promise<void>;
}

export interface DeclareOptions {
  readonly dryRun?: boolean;
  /** Run before each question for the task. */
  readonly meanwhile?: () => Promise<void>;
}

export interface BoxOptions {
  readonly place: string;
  readonly client: ManagementClient;
  readonly partition: string;
  /** Between two questions for a task. */
  readonly pollEveryMs: number;
  /** For a declaration with thousands of services, AS3 takes minutes. */
  readonly declaredWithinMs: number;
}

export function createBox({ place, client, partition, pollEveryMs, declaredWithinMs }: BoxOptions): Box {
  const as3 = (endpoint: string): string => `/mgmt/shared/appsvcs/${endpoint}`;
  const dataGroup = (path: string): string => `/mgmt/tm/ltm/data-group/internal/${encodeURIComponent(path.replaceAll('/', '~'))}`;

  /** The body of an answer that is a yes. */
  async function ask(call: BoxCall, what: string, signal: AbortSignal): Promise<BoxAnswer & { readonly isThere: boolean }> {
    const answer = await client.request(call, signal);
    if (answer.status === 200) return { ...answer, isThere: true };
    if (call.method === 'GET' && [204, 404].includes(answer.status)) return { ...answer, isThere: false };
    throw new SallyportError('unavailable', `${place} does not ${what}: ${wordsOf(answer.status, answer.body)}`, { place });
  }

  async function status(name: 'failover-status' | 'sync-status', signal: AbortSignal): Promise<string> {
    const answer = await ask({ method: 'GET', path: `/mgmt/tm/cm/${name}` }, `tell its ${name}`, signal);
    const said = statusIn(answer);
    if (said === undefined) throw new SallyportError('unavailable', `${place} does not tell its ${name}`, { place });
    return said;
  }

  return {
    place,
    isActive: async (signal) => (await status('failover-status', signal)) === 'ACTIVE',
    syncStatus: async (signal) => await status('sync-status', signal),
    async declared(signal) {
      const { isThere, body } = await ask({ method: 'GET', path: as3(`declare/${partition}`) }, 'tell what it was declared', signal);
      return isThere ? tenantOf(body, partition) : undefined;
    },
    async records(path, signal) {
      const { isThere, body } = await ask({ method: 'GET', path: dataGroup(path) }, `tell data group ${path}`, signal);
      if (!isThere || !isObject(body)) return undefined;
      const records = Array.isArray(body['records']) ? body['records'].filter(isObject) : [];
      return records.map(({ name, data }) => ({ key: String(name), value: typeof data === 'string' ? data : '' }));
    },
    async change({ path, option, records }, signal) {
      const body = option === null ? { records: records.map(({ key, value }) => ({ name: key, data: value })) } : {};
      await ask({ method: 'PATCH', path: `${dataGroup(path)}${option === null ? '' : `?options=${encodeURIComponent(option)}`}`, body }, `change data group ${path}`, signal);
    },
    async declare(declaration, outer, { dryRun = false, meanwhile } = {}) {
      const limit = AbortSignal.timeout(declaredWithinMs);
      const signal = AbortSignal.any([outer, limit]);
      try {
        let verdict = judgeDeclaration(await client.request({ method: 'POST', path: as3(`declare/${partition}?async=true${dryRun ? '&controls.dryRun=true' : ''}`), body: declaration }, signal), partition);
        while (verdict.kind === 'under-way') {
          await delay(pollEveryMs, undefined, { signal });
          await meanwhile?.();
          verdict = judgeDeclaration(await client.request({ method: 'GET', path: as3(`task/${verdict.task}`) }, signal), partition);
        }
        return verdict;
      } catch (cause) {
        if (limit.aborted) throw new SallyportError('timeout', `${place} has not declared within ${declaredWithinMs / 1_000} s`, { place, cause });
        throw cause;
      }
    },
    get answeringSinceMs() {
      return client.answeringSinceMs;
    },
    rest: () => client.rest(),
  };
}
