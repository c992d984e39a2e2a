/** Events: what somebody who runs `kubectl describe` should know. They are told once, and are worth nothing more than that. */
import { hash } from 'node:crypto';
import type { Logger } from 'pino';
import type { ApiClient } from '../client.ts';
import type { ApiObject } from '../watch/reflection.ts';

export interface Occurrence {
  readonly regarding: ApiObject;
  readonly type: 'Normal' | 'Warning';
  /** One word, as in `PoolUnknown`. */
  readonly reason: string;
  /** What was done, one word. */
  readonly action: string;
  readonly note: string;
}

export interface EventsOptions {
  readonly client: ApiClient;
  /** This replica. */
  readonly instance: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** So many at once, then so many a second: what is beyond is in the log and in the status. */
const burst = 100;
const perSecond = 10;
/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/ */
const noteCharactersMax = 1_024;

export function createEvents({ client, instance, now, log }: EventsOptions): (occurrence: Occurrence) => void {
  let tokens = burst;
  let filledAt = now();
  return ({ regarding, type, reason, action, note }) => {
    tokens = Math.min(burst, tokens + ((now() - filledAt) / 1000) * perSecond);
    filledAt = now();
    if (tokens < 1) return;
    tokens -= 1;
    const { apiVersion, kind, metadata } = regarding;
    const { name, namespace = 'default', uid, resourceVersion } = metadata;
    const eventTime = new Date(now()).toISOString().replace('Z', '000Z');
    const body = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name: `${name.slice(0, 200)}.${hash('sha256', [kind, name, uid, resourceVersion, reason, eventTime].join(' ')).slice(0, 16)}`, namespace },
      eventTime,
      reportingController: 'sallyport.dev/control',
      reportingInstance: instance,
      type,
      reason: reason.slice(0, 128),
      action,
      note: note.slice(0, noteCharactersMax),
      regarding: { apiVersion, kind, name, uid, ...(metadata.namespace === undefined ? {} : { namespace }) },
    };
    client.request({ method: 'POST', path: `/apis/events.k8s.io/v1/namespaces/${namespace}/events`, body }).catch((error: unknown) => log.warn({ err: error, reason }, 'an event could not be told'));
  };
}
