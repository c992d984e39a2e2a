/**
 * A text that replicas share in a Secret, compared and swapped: whoever writes has seen what he replaces. The Secret may be there before its
 * text, so that to write it needs no right to create any.
 */
import type { Logger } from 'pino';
import { ApiRefusal, readIfThere, type ApiClient } from './client.ts';
import { pathOf, reflect } from './watch/reflect.ts';
import type { ApiObject } from './watch/reflection.ts';

export interface SecretText {
  /** As messages name it. */
  readonly place: string;
  /** Undefined: nothing was written yet. */
  read(): Promise<string | undefined>;
  /** Replaces what was read or written last; where it was replaced by another since, nothing is written. */
  write(text: string): Promise<'written' | 'outdated'>;
  /** Calls back when another has written. */
  watch(onChange: () => void): void;
  close(): void;
}

export interface SecretTextOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly name: string;
  /** Of its data. */
  readonly key: string;
  /** How long to wait for each answer; as long as the client waits by default. */
  readonly withinMs?: number;
  readonly random: () => number;
  readonly log: Logger;
}

interface SecretObject extends ApiObject {
  readonly data?: Readonly<Record<string, string>>;
}

export function openSecretText({ client, namespace, name, key, withinMs, random, log }: SecretTextOptions): SecretText {
  const resource = { group: '', version: 'v1', plural: 'secrets', namespace };
  const path = `${pathOf(resource)}/${name}`;
  const bound = withinMs === undefined ? {} : { withinMs };
  let seen: SecretObject | undefined;
  let mirror: { close(): void } | undefined;

  return {
    place: `Secret ${namespace}/${name}`,
    async read() {
      seen = await readIfThere<SecretObject>(client, path, bound);
      const text = seen?.data?.[key];
      return text === undefined ? undefined : Buffer.from(text, 'base64').toString('utf8');
    },
    async write(text) {
      const data = { ...seen?.data, [key]: Buffer.from(text).toString('base64') };
      try {
        seen =
          seen === undefined
            ? await client.request<SecretObject>({ method: 'POST', path: pathOf(resource), body: { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, type: 'Opaque', data }, ...bound })
            : await client.request<SecretObject>({ method: 'PUT', path, body: { ...seen, data }, ...bound });
        return 'written';
      } catch (error) {
        if (error instanceof ApiRefusal && error.status === 409) return 'outdated';
        throw error;
      }
    },
    watch(onChange) {
      mirror ??= reflect<SecretObject>({
        client,
        resource: { ...resource, fieldSelector: `metadata.name=${name}` },
        onChange: (changes) => {
          if (changes.some(({ after }) => after !== null && after.metadata.resourceVersion !== seen?.metadata.resourceVersion)) onChange();
        },
        keep: ({ metadata }) => ({ metadata }),
        random,
        log,
      });
    },
    close() {
      mirror?.close();
    },
  };
}
