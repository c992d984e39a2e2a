/**
 * By which CA the API server knows our webhooks: `caBundle` of their configurations, kept equal to the trust bundle. Whoever installs them cannot
 * know it, and it changes with the CA.
 */
import type { Logger } from 'pino';
import { fieldManager, readIfThere, type ApiClient } from '../client.ts';
import { createWorkQueue } from '../work-queue.ts';
import type { JsonPatch } from './injection.ts';

const configurations = ['mutatingwebhookconfigurations/sallyport-inject', 'validatingwebhookconfigurations/sallyport-validate'] as const;

export interface CaBundleKeeperOptions {
  readonly client: Pick<ApiClient, 'request'>;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
  /** How often to look whether somebody has changed or made them anew: they are read by name only, not watched. */
  readonly lookEveryMs?: number;
}

export interface CaBundleKeeper {
  /** This is in the configurations from now on. Nothing is written before it is called. */
  publish(pem: string): void;
  /** Begins nothing more, and resolves when what is under way has ended. */
  close(): Promise<void>;
}

/** The part of a webhook configuration that is looked at. */
export interface WebhookConfiguration {
  readonly metadata: { readonly resourceVersion: string };
  readonly webhooks?: readonly { readonly clientConfig: { /** Base64. */ readonly caBundle?: string } }[];
}

type TestedPatch = readonly (JsonPatch[number] | { readonly op: 'test'; readonly path: string; readonly value: unknown })[];

/** What is to change, of exactly this version of the configuration; null where all is as it is to be. */
export function caBundlePatch({ metadata, webhooks = [] }: WebhookConfiguration, trustBundlePem: string): TestedPatch | null {
  const value = Buffer.from(trustBundlePem).toString('base64');
  const others = [...webhooks.entries()].filter(([, { clientConfig }]) => clientConfig.caBundle !== value);
  if (others.length === 0) return null;
  return [{ op: 'test', path: '/metadata/resourceVersion', value: metadata.resourceVersion }, ...others.map(([index]) => ({ op: 'add', path: `/webhooks/${index}/clientConfig/caBundle`, value }) as const)];
}

/** For the leader. A configuration that is not installed is left alone. */
export function createCaBundleKeeper({ client, random, log, lookEveryMs = 15_000 }: CaBundleKeeperOptions): CaBundleKeeper {
  let trustBundlePem: string | undefined;

  async function settle(configuration: string): Promise<void> {
    const path = `/apis/admissionregistration.k8s.io/v1/${configuration}`;
    const found = await readIfThere<WebhookConfiguration>(client, path);
    const patch = found === undefined ? null : caBundlePatch(found, trustBundlePem!);
    if (patch === null) return;
    await client.request({ method: 'PATCH', path, query: { fieldManager }, body: patch, contentType: 'application/json-patch+json' });
    log.info({ configuration }, 'trust bundle written into the webhook configuration');
  }

  const queue = createWorkQueue({ work: settle, onFailure: (configuration, error) => log.warn({ err: error, configuration }, 'webhook configuration cannot be settled'), random });
  const look = (): void => {
    if (trustBundlePem !== undefined) for (const configuration of configurations) queue.add(configuration);
  };
  const timer = setInterval(look, lookEveryMs);

  return {
    publish(pem) {
      trustBundlePem = pem;
      look();
    },
    async close() {
      clearInterval(timer);
      await queue.close();
    },
  };
}
