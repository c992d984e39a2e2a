/** Who policies and bindings speak of: namespaces, service accounts, and the accounts behind a Kubernetes Service. */
import type { DesiredState } from '../desired-state.ts';
import { keyOf } from '../desired-state.ts';
import type { Fault, ObjectRef } from '../errors.ts';
import { dnsSubdomain } from '../objects/common.ts';
import { serviceAccountsAnnotation, type KubernetesService } from '../objects/kubernetes.ts';
import type { PolicySubject } from '../objects/index.ts';
import { sortedUnique } from '../order.ts';
import { hasLabels } from '../tenancy.ts';
import type { Subject } from './plan.ts';

/** Where a subject stands, for what there is to say about it. */
interface Place {
  readonly object: ObjectRef;
  readonly path: readonly (string | number)[];
}

/**
 * The service accounts behind the Kubernetes Service `key`: those that its annotation names, in the Service's own
 * namespace, as Istio reads it. An unknown Service or one without the annotation has none, and a warning says what to apply.
 */
export function accountsBehind(key: string, services: DesiredState['Service'], place: Place): { readonly accounts: readonly string[]; readonly warnings: readonly Fault[] } {
  const service = services.get(key);
  const annotate = `annotation ${serviceAccountsAnnotation} naming the service accounts of its workloads`;
  if (service === undefined) {
    return { accounts: [], warnings: [{ code: 'subject-service-unknown', message: `there is no Kubernetes Service "${key}", so this grants nobody anything`, hint: `apply v1 Service ${key} with the ${annotate}`, ...place }] };
  }
  const { accounts, invalid } = namesIn(service);
  const warnings: Fault[] = invalid.map((name) => ({ code: 'subject-account-invalid', message: `kubernetes service "${key}" names ${JSON.stringify(name)}, which is no service account`, hint: `correct its annotation ${serviceAccountsAnnotation}`, ...place }));
  if (accounts.length === 0) warnings.push({ code: 'subject-service-without-accounts', message: `kubernetes service "${key}" names no service account, so this grants nobody anything`, hint: `give it the ${annotate}`, ...place });
  return { accounts, warnings };
}

function namesIn(service: KubernetesService): { readonly accounts: readonly string[]; readonly invalid: readonly string[] } {
  const names = sortedUnique((service.metadata.annotations?.[serviceAccountsAnnotation] ?? '').split(',').map((name) => name.trim()).filter((name) => name !== ''));
  return { accounts: names.filter((name) => dnsSubdomain.safeParse(name).success), invalid: names.filter((name) => !dnsSubdomain.safeParse(name).success) };
}

/** Everyone that a policy's subject means, and warnings where that is nobody. */
export function resolveSubject(subject: PolicySubject, desired: Pick<DesiredState, 'Namespace' | 'Service'>, place: Place): { readonly subjects: readonly Subject[]; readonly warnings: readonly Fault[] } {
  if ('service' in subject) {
    const namespace = subject.service.namespace ?? place.object.namespace;
    const { accounts, warnings } = accountsBehind(keyOf({ namespace, name: subject.service.name }), desired.Service, place);
    return { subjects: accounts.map((serviceAccount) => ({ namespace, serviceAccount })), warnings };
  }
  const account = subject.serviceAccount === undefined ? {} : { serviceAccount: subject.serviceAccount };
  if ('namespace' in subject) return { subjects: [{ namespace: subject.namespace, ...account }], warnings: [] };
  const { matchLabels } = subject.namespaceSelector;
  const subjects = [...desired.Namespace.values()].filter(({ metadata }) => hasLabels(metadata.labels ?? {}, matchLabels)).map(({ metadata }) => ({ namespace: metadata.name, ...account }));
  const labels = Object.entries(matchLabels).map(([label, value]) => `${label}=${value}`).join(',');
  const nobody: Fault = { code: 'subject-selector-empty', message: `no Namespace has the labels "${labels}", so this grants nobody anything`, hint: `apply v1 Namespace objects with these labels; see "sallyport get namespaces -l ${labels}"`, ...place };
  return { subjects, warnings: subjects.length === 0 ? [nobody] : [] };
}

/** The namespace that a policy's subject is about; null for whichever have some labels. */
export function namespaceOfSubject(subject: PolicySubject, ownNamespace: string): string | null {
  if ('service' in subject) return subject.service.namespace ?? ownNamespace;
  return 'namespace' in subject ? subject.namespace : null;
}

/** As messages have it: `ns/NAMESPACE` or `sa/NAMESPACE/NAME`. */
export function nameOfSubject({ namespace, serviceAccount }: Subject): string {
  return serviceAccount === undefined ? `ns/${namespace}` : `sa/${namespace}/${serviceAccount}`;
}
