/** The shell of the reducer in reflection.ts: requests to a real API server, timers, and the objects. */
import { setTimeout as delay } from 'node:timers/promises';
import { ApiException, CustomObjectsApi, Watch, type KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { emptyReflection, nextRequest, stepReflection, type ApiObject, type ObjectChange, type ObjectName, type Reflection, type ReflectionEffect, type ReflectionEvent, type WatchEvent } from './reflection.ts';

/** A resource of all namespaces. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
}

export interface ReflectOptions<Item extends ApiObject> {
  readonly config: KubeConfig;
  readonly resource: Resource;
  /** Called with every change, in order; the first call says that all is known. */
  readonly onChange: (changes: readonly ObjectChange<Item>[]) => void;
  readonly random: () => number;
  readonly log: Logger;
}

export interface Mirror<Item extends ApiObject> {
  readonly objects: ReadonlyMap<ObjectName, Item>;
  /** Resolves when everything has been listed once. */
  readonly synced: Promise<void>;
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
  readonly items: readonly Item[];
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
}

export function reflect<Item extends ApiObject>({ config, resource, onChange, random, log }: ReflectOptions<Item>): Mirror<Item> {
  const fields = { resource: `${resource.plural}.${resource.group}` };
  const custom = config.makeApiClient(CustomObjectsApi);
  const objects = new Map<ObjectName, Item>();
  const ended = new AbortController();
  const { promise: synced, resolve: setSynced } = Promise.withResolvers<undefined>();
  let state: Reflection<Item> = emptyReflection;
  let watching: AbortController | undefined;
  let connected = false;

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
        onChange(effect.changes);
        setSynced(undefined);
    }
  }

  async function list(continueToken: string): Promise<void> {
    try {
      const { group, version, plural } = resource;
      const page = (await custom.listClusterCustomObject({ group, version, plural, limit: pageItems, ...(continueToken === '' ? {} : { _continue: continueToken }) })) as Page<Item>;
      connected = true;
      handle({ type: 'listed', items: page.items, resourceVersion: page.metadata.resourceVersion, continueToken: page.metadata.continue ?? '' });
    } catch (error) {
      const status = error instanceof ApiException ? error.code : null;
      log.warn({ err: error instanceof ApiException ? undefined : error, status, ...fields }, 'the API server gives no list');
      handle({ type: 'list-failed', status, random: random() });
    }
  }

  async function watch(resourceVersion: string): Promise<void> {
    const { group, version, plural } = resource;
    const watcher = new Watch(config);
    Reflect.set(watcher, 'requestTimeoutMs', silentMsMax); // which it keeps to itself, at half a minute: less than between two bookmarks
    const query = { resourceVersion, allowWatchBookmarks: true, timeoutSeconds: Math.round(watchSecondsMin * (1 + random())) };
    let bug: unknown; // the client drops what is thrown at it
    const { promise: ending, resolve: end } = Promise.withResolvers<unknown>();
    watching = await watcher.watch(
      `/apis/${group}/${version}/${plural}`,
      query,
      (type: string, object: unknown) => {
        connected = true;
        try {
          handle({ type: 'watched', event: { type, object } as WatchEvent<Item> });
        } catch (error) {
          bug ??= error;
          watching?.abort();
        }
      },
      end,
    );
    if (ended.signal.aborted) watching.abort();
    const error = await ending;
    if (bug !== undefined) throw bug as Error;
    const failed = error instanceof Error && error.name !== 'AbortError';
    const status = failed && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : null;
    if (failed && !ended.signal.aborted) log.warn({ err: error, status, ...fields }, 'the watch at the API server has ended');
    handle({ type: 'watch-ended', status, failed, random: random() });
  }

  perform(nextRequest(state));
  return {
    objects,
    synced,
    get isConnected() {
      return connected;
    },
    close() {
      ended.abort();
      watching?.abort();
    },
  };
}
