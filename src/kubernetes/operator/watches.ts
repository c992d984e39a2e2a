/** Everything that desired state is made of, watched, as one stream of changes. */
import type { Logger } from 'pino';
import { keepOfAssignment, type AssignmentObject } from '../assignment-book.ts';
import type { ApiClient } from '../client.ts';
import { createAccountsBehind, keepOfNamespace, keepOfPod, keepOfService, keepOfSlice, type AccountsBehind } from '../desired/accounts-behind.ts';
import { changesAddresses, type PodObject } from '../desired/addressed-pods.ts';
import { keepOfDesired, type DesiredApiObject } from '../desired/kept-object.ts';
import { keepOfStored, type StoredObject } from '../registration/plan.ts';
import { isMarked } from '../registration/registration.ts';
import { reflect, type Followed, type Mirror, type OnChange, type ReflectOptions, type Resource } from '../watch/reflect.ts';
import type { ApiObject, ObjectChange } from '../watch/reflection.ts';
import { assignmentResource, desiredResources } from './resources.ts';

export interface Watches {
  /** Resolves when everything has been listed once. */
  readonly synced: Promise<void>;
  /** Whether each has a list or a watch under way that has not failed. */
  readonly isConnected: boolean;
  readonly accounts: Pick<AccountsBehind, 'sharedAccounts'>;
  readonly namespaces: Followed<ApiObject>;
  readonly pods: Followed<PodObject>;
  /** Those that are marked as ours as they are to be looked at by whoever keeps them so; of the others what desired state is made of. */
  readonly services: Followed<StoredObject>;
  readonly slices: Followed<StoredObject>;
  close(): void;
}

export interface WatchesOptions {
  readonly client: ApiClient;
  readonly random: () => number;
  readonly log: Logger;
  readonly onDesired: OnChange<ApiObject>;
  readonly onAssignments: OnChange<AssignmentObject>;
  /** That a pod has an address that it had not, or the other way round. */
  readonly onAddresses: () => void;
}

export function watchAll({ client, random, log, onDesired, onAssignments, onAddresses }: WatchesOptions): Watches {
  const accounts = createAccountsBehind();
  const mirrors: Pick<Mirror<ApiObject>, 'synced' | 'isConnected' | 'close'>[] = [];
  const watch = <Item extends ApiObject>(resource: Resource, onChange: OnChange<Item>, more: Pick<ReflectOptions<Item>, 'keep' | 'isOptional'> = {}): Followed<Item> => {
    const mirror = reflect<Item>({ client, resource, onChange, random, log, ...more });
    mirrors.push(mirror);
    return mirror;
  };
  const core = (plural: string): Resource => ({ group: '', version: 'v1', plural });

  for (const { isOptional, ...resource } of desiredResources) watch<DesiredApiObject>(resource, onDesired, { keep: keepOfDesired, isOptional });
  watch<AssignmentObject>(assignmentResource, onAssignments, { keep: keepOfAssignment });
  const takePods = (changes: readonly ObjectChange<PodObject>[]): void => {
    onDesired(accounts.takePods(changes));
    if (changesAddresses(changes)) onAddresses();
  };
  const pods = watch(core('pods'), takePods, { keep: keepOfPod });
  const namespaces = watch(core('namespaces'), onDesired, { keep: keepOfNamespace });
  const services = watch<StoredObject>(core('services'), (changes) => onDesired(accounts.takeServices(changes)), { keep: storedOr(keepOfService) });
  const slices = watch<StoredObject>({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }, (changes) => onDesired(accounts.takeSlices(changes)), { keep: storedOr(keepOfSlice) });

  return {
    synced: Promise.all(mirrors.map(({ synced }) => synced)).then(() => undefined),
    get isConnected() {
      return mirrors.every(({ isConnected }) => isConnected);
    },
    accounts,
    namespaces,
    pods,
    services,
    slices,
    close() {
      for (const mirror of mirrors) mirror.close();
    },
  };
}

function storedOr(keep: (item: StoredObject) => ApiObject): (item: StoredObject) => StoredObject {
  return (item) => (isMarked(item) ? keepOfStored(item) : (keep(item) as StoredObject));
}
