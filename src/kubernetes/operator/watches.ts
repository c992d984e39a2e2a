/** Everything that desired state is made of, watched, as one stream of changes. */
import type { Logger } from 'pino';
import type { AssignmentObject } from '../assignment-book.ts';
import type { ApiClient } from '../client.ts';
import { createAccountsBehind, keepOfNamespace, keepOfPod, keepOfService, keepOfSlice, type AccountsBehind } from '../desired/accounts-behind.ts';
import { reflect, type Mirror, type ReflectOptions, type Resource } from '../watch/reflect.ts';
import type { ApiObject, ObjectChange } from '../watch/reflection.ts';
import { withSharedStrings } from '../watch/shared-strings.ts';
import { assignmentResource, desiredResources } from './resources.ts';

export interface Watches {
  /** Resolves when everything has been listed once. */
  readonly synced: Promise<void>;
  /** Whether each has a list or a watch under way that has not failed. */
  readonly isConnected: boolean;
  readonly accounts: Pick<AccountsBehind, 'sharedAccounts'>;
  close(): void;
}

export interface WatchesOptions {
  readonly client: ApiClient;
  readonly random: () => number;
  readonly log: Logger;
  readonly onDesired: (changes: readonly ObjectChange<ApiObject>[]) => void;
  readonly onAssignments: (changes: readonly ObjectChange<AssignmentObject>[]) => void;
}

export function watchAll({ client, random, log, onDesired, onAssignments }: WatchesOptions): Watches {
  const accounts = createAccountsBehind();
  const mirrors: Mirror<never>[] = [];
  const watch = <Item extends ApiObject>(resource: Resource, onChange: (changes: readonly ObjectChange<Item>[]) => void, more: Pick<ReflectOptions<Item>, 'keep' | 'isOptional'> = {}): void => {
    mirrors.push(reflect<Item>({ client, resource, onChange, random, log, ...more }) as unknown as Mirror<never>);
  };
  const core = (plural: string): Resource => ({ group: '', version: 'v1', plural });

  for (const { isOptional, ...resource } of desiredResources) watch<ApiObject>(resource, onDesired, { keep: withoutManagedFields, isOptional });
  watch<AssignmentObject>(assignmentResource, onAssignments, { keep: withoutManagedFields });
  watch(core('namespaces'), onDesired, { keep: keepOfNamespace });
  watch(core('services'), (changes) => onDesired(accounts.takeServices(changes)), { keep: keepOfService });
  watch(core('pods'), (changes) => onDesired(accounts.takePods(changes)), { keep: keepOfPod });
  watch({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }, (changes) => onDesired(accounts.takeSlices(changes)), { keep: keepOfSlice });

  return {
    synced: Promise.all(mirrors.map(({ synced }) => synced)).then(() => undefined),
    get isConnected() {
      return mirrors.every(({ isConnected }) => isConnected);
    },
    accounts,
    close() {
      for (const mirror of mirrors) mirror.close();
    },
  };
}

/** Who has written which field is of no use here, and often the larger part. */
function withoutManagedFields<Item extends ApiObject>(item: Item): Item {
  const { managedFields: _, ...metadata } = item.metadata as Item['metadata'] & { readonly managedFields?: unknown };
  const { status } = item as Item & { readonly status?: unknown };
  return { ...item, metadata, ...(status === undefined ? {} : { status: withSharedStrings(status) }) };
}
