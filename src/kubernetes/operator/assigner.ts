/** Writes assignments as objects, before anything is published that stands on them. Only the leader has one. */
import type { Logger } from 'pino';
import type { Assignment, Assignments } from '../../core/snat/assignments.ts';
import type { AssignmentBook, AssignmentObject, AssignmentWrite } from '../assignment-book.ts';
import { ApiRefusal, mergeContentType, type ApiClient } from '../client.ts';
import { pathOf } from '../watch/reflect.ts';
import { assignmentResource } from './resources.ts';

export interface Assigner {
  /**
   * Writes what the book lacks of these, as far as the API server takes it: where another has what we want, the watch is going to tell of it.
   * Resolves when every write has ended; rejects where one has failed for another reason.
   */
  assign(wanted: Assignments): Promise<void>;
}

/** What is kept so that each assignment that the API server takes is told of, whatever becomes of this process. */
export interface Evidence {
  /** Resolves when it is durable that this is about to be written. */
  intend(assignment: Assignment): Promise<void>;
  /** The API server has it. */
  written(assignment: Assignment): void;
  /** Nothing is under way any more, and these are there: what became of the others of which nobody has heard can be told by them. */
  settle(assignments: Assignments): void;
}

export interface AssignerOptions {
  readonly client: ApiClient;
  readonly book: AssignmentBook;
  readonly now: () => number;
  /** Asked before each write: a leader that was deposed meanwhile writes nothing more. */
  readonly mayWrite: () => boolean;
  readonly evidence: Pick<Evidence, 'intend' | 'written'>;
  readonly log: Logger;
}

const writesAtOnce = 16;

export function createAssigner({ client, book, now, mayWrite, evidence, log }: AssignerOptions): Assigner {
  const path = pathOf(assignmentResource);

  async function write(each: AssignmentWrite): Promise<AssignmentObject | null> {
    switch (each.type) {
      case 'create':
        return await client.request({ method: 'POST', path, body: each.body });
      case 'replace':
        return await client.request({ method: 'PUT', path: `${path}/${each.name}`, body: each.body });
      case 'delete': {
        const { name, uid, resourceVersion, deletionTimestamp } = each.object.metadata;
        const freed = await client.request<AssignmentObject>({ method: 'PATCH', path: `${path}/${name}`, contentType: mergeContentType, body: { metadata: { uid, resourceVersion, finalizers: null } } });
        // One that somebody has deleted is gone with its finalizer.
        if (deletionTimestamp === undefined) await client.request({ method: 'DELETE', path: `${path}/${name}`, body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion: freed.metadata.resourceVersion } } });
        return null;
      }
    }
  }

  return {
    async assign(wanted) {
      const left = [...book.writesFor(wanted, now())];
      const failures: unknown[] = [];
      const work = async (): Promise<void> => {
        for (let each = left.shift(); each !== undefined && mayWrite(); each = left.shift()) {
          try {
            const news = each.type !== 'delete' && each.isNews ? each.record : null;
            if (news !== null) await evidence.intend(news);
            book.wrote(each, await write(each));
            if (news !== null) evidence.written(news);
          } catch (error) {
            if (error instanceof ApiRefusal && (error.status === 409 || error.status === 404)) log.info({ err: error, write: each.type }, 'an assignment was changed by somebody else meanwhile; it is looked at again');
            else failures.push(error);
          }
        }
      };
      await Promise.all(Array.from({ length: writesAtOnce }, work));
      book.adopt(wanted);
      if (failures.length > 0) throw failures[0] as Error;
    },
  };
}
