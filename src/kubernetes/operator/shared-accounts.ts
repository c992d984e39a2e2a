/** Bindings and policies that name a Kubernetes Service whose service accounts other pods run under too: what they say holds for those pods as well. */
import { keyOf, refOf, type DesiredState } from '../../core/desired-state.ts';
import type { Fault } from '../../core/errors.ts';
import type { EgressPolicy, SnatBinding } from '../../core/objects/index.ts';
import { boundedList } from '../../core/order.ts';

/** @param sharedAccounts of a Service, by `namespace/name` */
export function sharedAccountWarnings(desired: Pick<DesiredState, 'EgressPolicy' | 'SnatBinding'>, sharedAccounts: (service: string) => readonly string[]): readonly Fault[] {
  return [...namingServices(desired.SnatBinding), ...namingServices(desired.EgressPolicy)].flatMap(({ object, service, path }) => {
    const accounts = sharedAccounts(service);
    if (accounts.length === 0) return [];
    return [
      {
        code: 'subject-account-shared',
        message: `pods that are not behind Kubernetes Service "${service}" run under its service accounts ${boundedList(accounts)} too, so this holds for them as well`,
        hint: 'give the pods behind the Service a service account of their own',
        object: refOf(object),
        path,
      },
    ];
  });
}

interface Naming {
  readonly object: EgressPolicy | SnatBinding;
  readonly service: string;
  readonly path: readonly (string | number)[];
}

const found = new WeakMap<ReadonlyMap<string, EgressPolicy | SnatBinding>, readonly Naming[]>();

/** Few do; looked for once as long as the objects are the same. */
function namingServices(objects: ReadonlyMap<string, EgressPolicy | SnatBinding>): readonly Naming[] {
  let known = found.get(objects);
  if (known === undefined) {
    known = [...objects.values()].flatMap((object): Naming[] => {
      const subjects = object.kind === 'SnatBinding' ? [{ subject: object.spec.subject, path: ['spec', 'subject'] }] : object.spec.subjects.map((subject, index) => ({ subject, path: ['spec', 'subjects', index] }));
      return subjects.flatMap(({ subject, path }) => ('service' in subject ? [{ object, service: keyOf({ namespace: subject.service.namespace ?? object.metadata.namespace, name: subject.service.name }), path }] : []));
    });
    found.set(objects, known);
  }
  return known;
}
