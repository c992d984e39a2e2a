/**
 * Keeps the trust bundle in every namespace: the shell of plan.ts. It runs at the leader. What the API server has of it is mirrored, so that a
 * settled system asks and writes nothing, and what somebody changes or deletes is noticed and put back.
 */
import type { Logger } from 'pino';
import { trustBundleConfigMap } from '../../core/pod-identity.ts';
import { ApiRefusal, fieldManager, mergeContentType, type ApiClient } from '../client.ts';
import { pathOf, reflect, type Followed } from '../watch/reflect.ts';
import { createWorkQueue } from '../work-queue.ts';
import type { ApiObject } from '../watch/reflection.ts';
import { withSharedValues } from '../watch/shared-values.ts';
import { planTrustBundle, type ConfigMapFacts, type TrustBundleAction } from './plan.ts';

export interface TrustBundlePublisher {
  /** This is in every namespace from now on. Nothing is written before it is called. */
  publish(pem: string): void;
  /** Begins nothing more, and resolves when what is under way has ended. */
  close(): Promise<void>;
}

export interface TrustBundlePublisherOptions {
  readonly client: ApiClient;
  readonly namespaces: Followed<ApiObject>;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

const configMaps = { group: '', version: 'v1', plural: 'configmaps' } as const;
const { name } = trustBundleConfigMap;

export function createTrustBundlePublisher({ client, namespaces, random, log }: TrustBundlePublisherOptions): TrustBundlePublisher {
  let wanted: string | null = null;
  let synced = false;
  const taken = new Set<string>();

  const queue = createWorkQueue({
    random,
    work: settle,
    onFailure: (namespace, error) => log.warn({ err: error, namespace }, 'a namespace has not the trust bundle that it is to have'),
  });
  const unfollow = namespaces.follow((changes) => changes.forEach((change) => look(change.name)));
  /** By its name alone: no other ConfigMap need be read, nor may be. */
  const existing = reflect<ConfigMapFacts>({ client, resource: { ...configMaps, fieldSelector: `metadata.name=${name}` }, keep: keepOfConfigMap, random, log, onChange: (changes) => changes.forEach((change) => look(change.name.split('/')[0]!)) });
  void Promise.all([namespaces.synced, existing.synced]).then(() => {
    synced = true;
    lookAtAll();
  });

  function lookAtAll(): void {
    if (synced && wanted !== null) for (const namespace of namespaces.objects.keys()) queue.renew(namespace);
  }

  function look(namespace: string): void {
    if (synced && wanted !== null) queue.add(namespace);
  }

  async function settle(namespace: string): Promise<void> {
    if (wanted === null) return;
    const action = planTrustBundle(namespaces.objects.get(namespace), existing.objects.get(`${namespace}/${name}`), wanted);
    report(namespace, action === 'taken');
    if (action === 'taken' || action === null) return;
    await perform(namespace, action);
    queue.rest(namespace);
  }

  /** Where the API server has something else than was thought, the mirrors will tell, and it is looked at again. */
  async function perform(namespace: string, { type, body }: TrustBundleAction): Promise<void> {
    const path = pathOf({ ...configMaps, namespace });
    try {
      if (type === 'create') await client.request({ method: 'POST', path, query: { fieldManager }, body });
      else await client.request({ method: 'PATCH', path: `${path}/${name}`, query: { fieldManager }, contentType: mergeContentType, body });
    } catch (error) {
      if (!(error instanceof ApiRefusal && (error.status === 409 || error.status === 404))) throw error;
    }
  }

  /** Once, until it changes. */
  function report(namespace: string, isTaken: boolean): void {
    if (taken.has(namespace) === isTaken) return;
    if (isTaken) {
      taken.add(namespace);
      log.warn({ namespace, code: 'trust-bundle-name-taken', hint: `without it no pod of the namespace can enrol: kubectl delete configmap -n ${namespace} ${name}` }, `ConfigMap "${namespace}/${name}" is not ours, and stays as it is`);
    } else {
      taken.delete(namespace);
      log.info({ namespace }, 'the trust bundle has its name in the namespace again');
    }
  }

  return {
    publish(pem) {
      if (pem === wanted) return;
      wanted = pem;
      lookAtAll();
    },
    async close() {
      unfollow();
      existing.close();
      await queue.close();
    },
  };
}

/** Not who has written which field, which is often the larger part. */
function keepOfConfigMap({ metadata: { namespace, uid, resourceVersion, deletionTimestamp, labels = {} }, data = {}, binaryData }: ConfigMapFacts): ConfigMapFacts {
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }), uid, resourceVersion, ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }), labels };
  return { metadata, data: withSharedValues(data), ...(binaryData === undefined ? {} : { binaryData }) };
}
