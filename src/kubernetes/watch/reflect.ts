/** The shell of the reducer in reflection.ts: requests to a real API server, timers, and the objects. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ApiRefusal, retryAfterMsOf, type ApiClient } from '../client.ts';
import { emptyReflection, nameOf, nextRequest, stepReflection, type ApiObject, type ObjectChange, type ObjectName, type Reflection, type ReflectionEffect, type ReflectionEvent, type WatchEvent } from './reflection.ts';

/** A resource, of all namespaces or of one. */
export interface Resource {
  /** Empty for Kubernetes' own first kinds, as Services are. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly namespace?: string;
  /** As in `app.kubernetes.io/managed-by=sallyport.dev`. */
  readonly labelSelector?: string;
  /** As in `metadata.name=a`. */
  readonly fieldSelector?: string;
}

export interface ReflectOptions<Item extends ApiObject> {
  readonly client: ApiClient;
  readonly resource: Resource;
  /** The first of those that follow it. */
  readonly onChange?: OnChange<Item>;
  /** What is kept of an object, which may be large, beside what is known of its name: all of it by default. */
  readonly keep?: (item: Item, known: Item | undefined) => Item;
  /** An API server that does not know the resource has none of it; it is asked again all the while. Default: that is a failure. */
  readonly isOptional?: boolean;
  readonly random: () => number;
  readonly log: Logger;
}

/** Called with every change, in order; the first call says that all is known. */
export type OnChange<Item extends ApiObject> = (changes: readonly ObjectChange<Item>[]) => void;

/** What is known of a resource, for any number of those whom it concerns. */
export interface Followed<Item extends ApiObject> {
  readonly objects: ReadonlyMap<ObjectName, Item>;
  /** Resolves when everything has been listed once. */
  readonly synced: Promise<void>;
  /** Has changes told from now on, until what it gives is called. */
  follow(onChange: OnChange<Item>): () => void;
}

export interface Mirror<Item extends ApiObject> extends Followed<Item> {
  /** Whether a watch or a list is under way that has not failed. */
  readonly isConnected: boolean;
  close(): void;
}

const pageItems = 500;
/** How long the server lets a watch go on: then it ends in order. Between five and ten minutes as in client-go, so that watches do not end together. */
const watchSecondsMin = 300;
/** The server sends a bookmark every minute or so: one that is silent for longer is not there any more. */
const silentMsMax = 150_000;

interface Page<Item> {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly items: readonly Item[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

/** Where the API server has a resource. */
export function pathOf({ group, version, plural, namespace }: Pick<Resource, 'group' | 'version' | 'plural' | 'namespace'>): string {
  return `/${group === '' ? 'api' : `apis/${group}`}/${version}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
}

export function reflect<Item extends ApiObject>({ client, resource, onChange = () => undefined, keep = (item) => item, isOptional = false, random, log }: ReflectOptions<Item>): Mirror<Item> {
  const fields = { resource: resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}` };
  const path = pathOf(resource);
  const { labelSelector, fieldSelector } = resource;
  const objects = new Map<ObjectName, Item>();
  const followers = new Set([onChange]);
  const ended = new AbortController();
  const { promise: synced, resolve: setSynced } = Promise.withResolvers<undefined>();
  let state: Reflection<Item> = emptyReflection;
  let watching: AbortController | undefined;
  let connected = false;

  const kept = (item: Item): Item => keep(item, objects.get(nameOf(item)));

  function handle(event: ReflectionEvent<Item>): void {
    if (ended.signal.aborted) return;
    const step = stepReflection(state, objects, event);
    state = step.state;
    for (const effect of step.effects) perform(effect);
  }

  function perform(effect: ReflectionEffect<Item>): void {
    switch (effect.type) {
      case 'list':
        void list(effect.continueToken);
        break;
      case 'watch':
        void watch(effect.resourceVersion);
        break;
      case 'end-watch':
        watching?.abort();
        break;
      case 'wait':
        connected = false;
        delay(effect.ms, undefined, { signal: ended.signal }).then(() => handle({ type: 'woken' }), () => undefined);
        break;
      case 'changed':
        for (const { name, after } of effect.changes) {
          if (after === null) objects.delete(name);
          else objects.set(name, after);
        }
        for (const each of followers) each(effect.changes);
        setSynced(undefined);
    }
  }

  async function list(continueToken: string): Promise<void> {
    let page: Page<Item>;
    try {
      page = await client.request<Page<Item>>({ method: 'GET', path, query: { labelSelector, fieldSelector, limit: pageItems, continue: continueToken === '' ? undefined : continueToken } });
    } catch (error) {
      const status = statusOf(error);
      const hasNone = isOptional && status === 404;
      if (hasNone) setSynced(undefined);
      else log.warn({ err: error, ...fields }, 'the API server gives no list');
      handle({ type: 'list-failed', status, retryAfterMs: retryAfterMsOf(error), random: random() });
      connected = hasNone; // to know of none is an answer, though it is asked again
      return;
    }
    // A list does not say of each of its items what it is.
    const type = { apiVersion: page.apiVersion, kind: page.kind?.replace(/List$/, '') };
    heard({ type: 'listed', items: page.items.map((item) => kept({ ...type, ...item })), resourceVersion: page.metadata.resourceVersion, continueToken: page.metadata.continue ?? '' });
  }

  async function watch(resourceVersion: string): Promise<void> {
    const query = { watch: true, labelSelector, fieldSelector, resourceVersion, allowWatchBookmarks: true, timeoutSeconds: Math.round(watchSecondsMin * (1 + random())) };
    const leave = new AbortController();
    watching = leave;
    const onAccepted = (): void => {
      connected = true; // where nothing changes, it says nothing for a minute
    };
    let failure: unknown;
    try {
      for await (const line of client.lines(path, query, { signal: AbortSignal.any([leave.signal, ended.signal]), silentMs: silentMsMax, onAccepted })) {
        const event = JSON.parse(line) as WatchEvent<Item>;
        heard({ type: 'watched', event: event.type === 'BOOKMARK' || event.type === 'ERROR' ? event : { ...event, object: kept(event.object) } });
      }
    } catch (error) {
      failure = leave.signal.aborted ? undefined : error;
    }
    if (ended.signal.aborted) return;
    if (failure !== undefined) log.warn({ err: failure, ...fields }, 'the watch at the API server has ended');
    handle({ type: 'watch-ended', status: statusOf(failure), failed: failure !== undefined, retryAfterMs: retryAfterMsOf(failure), random: random() });
  }

  function heard(event: ReflectionEvent<Item>): void {
    connected = true;
    handle(event);
  }

  perform(nextRequest(state));
  return {
    objects,
    synced,
    follow(each) {
      followers.add(each);
      return () => void followers.delete(each);
    },
    get isConnected() {
      return connected;
    },
    close() {
      ended.abort();
      watching?.abort();
    },
  };
}

const statusOf = (error: unknown): number | null => (error instanceof ApiRefusal ? error.status : null);
