/** The shell: facts of a cluster, asked for with somebody's own rights. Nothing is written; what is tried is a dry run. */
import { SallyportError } from '../core/errors.ts';
import { trustBundleConfigMap } from '../core/pod-identity.ts';
import { caSecretName, controlAccount, controlPlaneName, gatewayNamespace, installObjects, installOptions, leaseName, permissions, webhookConfigurations, type KubernetesObject, type Permission } from '../install/index.ts';
import { applyContentType, createAsker, customResourceDefinitions, desiredResources, listAll, objectPath, pathOf, type ApiClient, type Asker, type Resource } from '../kubernetes/index.ts';
import type { Asked, ConfigMap, CustomObject, Facts, FactsAfter, FactsBefore, Lease, LiveDefinition, Metadata, Right, StatefulSet, WebhookConfiguration } from './facts.ts';

export interface GatherOptions {
  readonly client: ApiClient;
  /** Where Sallyport is, or is to be. */
  readonly namespace: string;
  /** Of this package. */
  readonly version: string;
  /** Whether it is about an installation that is still to come. */
  readonly before: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Requests at a time. */
const requestsMax = 8;

/** Throws `unavailable` where the API server gives no answer, and `cluster-forbidden` where it does not know who asks. */
export async function gatherFacts({ client, namespace, version, before, now }: GatherOptions): Promise<Facts> {
  const asker = createAsker(client);
  const { gitVersion } = await asker.ask<{ readonly gitVersion: string }>({ method: 'GET', path: '/version' });
  return {
    namespace,
    version: gitVersion,
    clocks: await clocksOf(asker, now),
    before: before ? await factsBefore(asker, namespace, version) : null,
    after: before ? null : await factsAfter(asker, namespace),
  };
}

/** The API server dates its answer to who one is; to ask that everybody may who is known. */
async function clocksOf({ ask }: Asker, now: () => number): Promise<Asked<{ readonly here: number; readonly server: number }>> {
  const sentAt = now();
  const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
  const answer = await asked(ask<{ readonly metadata: { readonly creationTimestamp: string } }>({ method: 'POST', path: '/apis/authentication.k8s.io/v1/selfsubjectreviews', body }));
  // Half of the way there and back, and of the second that is told.
  return answer.ok ? { ok: true, value: { here: (sentAt + now()) / 2, server: Date.parse(answer.value.metadata.creationTimestamp) + 500 } } : answer;
}

async function factsBefore(asker: Asker, namespace: string, version: string): Promise<FactsBefore> {
  const objects = installObjects(installOptions(version).parse({ namespace, gateways: ['egress-1'] })).map(({ object }) => object as unknown as KubernetesObject);
  const kinds = new Map(objects.map((object) => [`${object.apiVersion} ${object.kind} ${object.metadata.namespace ?? ''}`, object]));
  const [rights, trials, foreign, nativeSidecars] = await Promise.all([
    mayAll(asker, 'self', [...kinds.values()].flatMap((object) => ['get', 'create', 'patch'].map((verb) => attributesOf(verb, object)))),
    asked(mapBounded(objects.filter(({ metadata }) => metadata.namespace === undefined), async (object) => ({ object: nameOf(object), refusal: await refusalOf(asker, object) }))),
    asked(mapBounded([...objects, olderDefinition], async (object) => ((await isForeign(asker, object)) ? [nameOf(object)] : [])).then((names) => names.flat())),
    asked(keepsNativeSidecars(asker)),
  ]);
  return { rights, trials, foreign, nativeSidecars };
}

/** Installed where it is asked for; of another controller's it is good to know in any case. */
const olderDefinition: KubernetesObject = customResourceDefinitions.find(({ metadata }) => metadata.name.startsWith('externalservices.') && !metadata.name.endsWith('.sallyport.dev'))!;

async function refusalOf({ ask }: Asker, object: KubernetesObject): Promise<string | null> {
  return await ask({ method: 'PATCH', path: pathOfObject(object), query: { dryRun: 'All', fieldManager: 'sallyport-install', force: true }, contentType: applyContentType, body: object }).then(
    () => null,
    (error: unknown) => {
      if (error instanceof SallyportError && error.code !== 'unavailable') return error.message;
      throw error;
    },
  );
}

/** A namespace may be there before, and keeps what it is. */
async function isForeign({ find }: Asker, object: KubernetesObject): Promise<boolean> {
  if (object.kind === 'Namespace') return false;
  const found = await find<{ readonly metadata: Metadata }>({ method: 'GET', path: pathOfObject(object), accept: metadataOnly });
  return found !== undefined && found.metadata.labels?.['app.kubernetes.io/name'] !== 'sallyport';
}

/** Where the feature is off the API server drops the field. */
async function keepsNativeSidecars({ ask }: Asker): Promise<boolean> {
  const container = (name: string) => ({ name, image: 'sallyport' });
  const body = { apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'sallyport-check-' }, spec: { initContainers: [{ ...container('agent'), restartPolicy: 'Always' }], containers: [container('app')] } };
  const { spec } = await ask<{ readonly spec: { readonly initContainers: readonly { readonly restartPolicy?: string }[] } }>({ method: 'POST', path: '/api/v1/namespaces/default/pods', query: { dryRun: 'All' }, body });
  return spec.initContainers.some(({ restartPolicy }) => restartPolicy === 'Always');
}

async function factsAfter(asker: Asker, namespace: string): Promise<FactsAfter> {
  const { find } = asker;
  const list = async <Item>(resource: Resource, isOptional = false): Promise<readonly Item[]> => await listAll<Item>(asker.ask, pathOf(resource), { isOptional, query: { fieldSelector: resource.fieldSelector } });
  const core = (plural: string, fieldSelector?: string): Resource => ({ group: '', version: 'v1', plural, ...(fieldSelector === undefined ? {} : { fieldSelector }) });
  const statefulSets = (inNamespace: string): Resource => ({ group: 'apps', version: 'v1', plural: 'statefulsets', namespace: inNamespace });
  const orNull = async <Answer>(found: Promise<Answer | undefined>): Promise<Answer | null> => (await found) ?? null;

  const webhooks = await asked(findWebhooks(asker));
  const [definitions, controlPlane, lease, rights, hasCa, namespaces, trustBundles, gatewayPods, objects, assignments] = await Promise.all([
    asked(mapBounded(customResourceDefinitions, ({ metadata }) => find<LiveDefinition>({ method: 'GET', path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${metadata.name}` })).then((found) => found.filter((each) => each !== undefined))),
    asked(orNull(find<StatefulSet>({ method: 'GET', path: objectPath(statefulSets(namespace), { name: controlPlaneName }) }))),
    asked(orNull(find<LeaseObject>({ method: 'GET', path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${leaseName}` })).then((found) => (found === null ? null : leaseOf(found)))),
    rightsOfControl(asker, namespace, webhooks.ok && webhooks.value.length > 0),
    asked(hasContent(asker, namespace)),
    asked(list<{ readonly metadata: Metadata }>(core('namespaces')).then((found) => found.map(({ metadata }) => metadata))),
    asked(list<ConfigMap>(core('configmaps', `metadata.name=${trustBundleConfigMap.name}`)).then((found) => new Map(found.map((each) => [each.metadata.namespace ?? '', each])))),
    asked(list<StatefulSet>(statefulSets(gatewayNamespace))),
    asked(mapBounded(desiredResources, async (resource) => (await list<CustomObject>(resource, resource.isOptional)).map((object) => ({ ...object, apiVersion: `${resource.group}/${resource.version}`, kind: resource.kind }))).then((found) => found.flat())),
    asked(list<AssignmentObject>({ group: 'sallyport.dev', version: 'v1alpha1', plural: 'snatassignments' }).then((found) => found.map(({ metadata: { name }, spec: { pool, holder } }) => ({ name, pool, holder })))),
  ]);
  return { definitions, controlPlane, lease, rights, hasCa, namespaces, trustBundles, webhooks, gatewayPods, objects, assignments };
}

interface AssignmentObject {
  readonly metadata: Metadata;
  readonly spec: { readonly pool: string; readonly holder: string };
}

interface LeaseObject {
  readonly metadata: Metadata & { readonly managedFields?: readonly { readonly time?: string; readonly fieldsV1?: { readonly 'f:spec'?: Readonly<Record<string, unknown>> } }[] };
  readonly spec?: { readonly holderIdentity?: string; readonly leaseDurationSeconds?: number; readonly renewTime?: string };
}

/** Who wrote a field, and when by its own clock, the API server keeps beside it. */
function leaseOf({ metadata: { managedFields = [] }, spec = {} }: LeaseObject): Lease {
  const written = managedFields.find(({ fieldsV1 }) => fieldsV1?.['f:spec']?.['f:renewTime'] !== undefined)?.time;
  return { holder: spec.holderIdentity ?? '', durationMs: (spec.leaseDurationSeconds ?? 0) * 1000, renewedAt: Date.parse(spec.renewTime ?? ''), writtenAt: written === undefined ? null : Date.parse(written) };
}

/** https://kubernetes.io/docs/reference/using-api/api-concepts/#metadata-only-fetches */
const metadataOnly = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

/** Which fields somebody has written is told by the metadata: the content of the Secret does not leave the API server. */
async function hasContent({ find }: Asker, namespace: string): Promise<boolean | null> {
  const found = await find<{ readonly metadata: { readonly managedFields?: readonly { readonly fieldsV1?: { readonly 'f:data'?: object } }[] } }>({ method: 'GET', path: `/api/v1/namespaces/${namespace}/secrets/${caSecretName}`, accept: metadataOnly });
  return found === undefined ? null : (found.metadata.managedFields ?? []).some(({ fieldsV1 }) => Object.keys(fieldsV1?.['f:data'] ?? {}).length > 0);
}

interface WebhookConfigurationObject {
  readonly webhooks?: readonly { readonly clientConfig: { readonly caBundle?: string } }[];
}

async function findWebhooks({ find }: Asker): Promise<readonly WebhookConfiguration[]> {
  const paths = [`mutatingwebhookconfigurations/${webhookConfigurations.inject}`, `validatingwebhookconfigurations/${webhookConfigurations.validate}`];
  const found = await mapBounded(paths, async (path) => ({ name: path.split('/')[1]!, live: await find<WebhookConfigurationObject>({ method: 'GET', path: `/apis/admissionregistration.k8s.io/v1/${path}` }) }));
  return found.flatMap(({ name, live }) => (live === undefined ? [] : [{ name, caBundles: (live.webhooks ?? []).map(({ clientConfig }) => Buffer.from(clientConfig.caBundle ?? '', 'base64').toString('utf8')) }]));
}

/** `ResourceAttributes` of `authorization.k8s.io/v1`. */
interface Attributes {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly namespace?: string;
  readonly name?: string;
}

async function rightsOfControl(asker: Asker, namespace: string, hasWebhooks: boolean): Promise<Asked<readonly Right[]>> {
  const account = await asked(asker.find({ method: 'GET', path: `/api/v1/namespaces/${namespace}/serviceaccounts/${controlAccount}` }));
  if (!account.ok) return account;
  if (account.value === undefined) return { ok: false, why: `there is no ServiceAccount "${controlAccount}": the control plane runs outside of the cluster` };
  return await mayAll(asker, `system:serviceaccount:${namespace}:${controlAccount}`, permissions.filter(({ forWebhooks }) => forWebhooks !== true || hasWebhooks).flatMap((permission) => attributesOfPermission(permission, namespace)));
}

function attributesOfPermission({ where, group, resources, verbs, names = [] }: Permission, namespace: string): readonly Attributes[] {
  const place = where === 'cluster' ? {} : { namespace };
  const named: readonly { readonly name?: string }[] = names.length === 0 ? [{}] : names.map((name) => ({ name }));
  return resources.flatMap((text) => {
    const [resource = '', subresource] = text.split('/');
    return verbs.flatMap((verb) => named.map((name) => ({ verb, group, resource, ...(subresource === undefined ? {} : { subresource }), ...place, ...name })));
  });
}

function attributesOf(verb: string, object: KubernetesObject): Attributes {
  const { namespace } = object.metadata;
  return { verb, group: object.apiVersion.includes('/') ? object.apiVersion.split('/')[0]! : '', resource: pluralOf(object.kind), ...(namespace === undefined ? {} : { namespace }) };
}

/** Whether somebody may do all these. To ask for another than oneself needs a right too. */
async function mayAll({ ask }: Asker, user: string, all: readonly Attributes[]): Promise<Asked<readonly Right[]>> {
  const [kind, who] = user === 'self' ? (['SelfSubjectAccessReview', {}] as const) : (['SubjectAccessReview', { user, groups: groupsOfAccount(user) }] as const);
  return await asked(
    mapBounded(all, async (resourceAttributes) => {
      const body = { apiVersion: 'authorization.k8s.io/v1', kind, spec: { resourceAttributes, ...who } };
      const { status } = await ask<{ readonly status: { readonly allowed: boolean } }>({ method: 'POST', path: `/apis/authorization.k8s.io/v1/${kind.toLowerCase()}s`, body });
      return { text: textOf(resourceAttributes), isAllowed: status.allowed };
    }),
  );
}

/** https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ */
function groupsOfAccount(user: string): readonly string[] {
  return ['system:serviceaccounts', `system:serviceaccounts:${user.split(':')[2]!}`, 'system:authenticated'];
}

/** As in `patch egresspolicies/status.sallyport.dev named "a" in b`. */
function textOf({ verb, group, resource, subresource, namespace, name }: Attributes): string {
  return `${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`}${group === '' ? '' : `.${group}`}${name === undefined ? '' : ` named "${name}"`}${namespace === undefined ? '' : ` in ${namespace}`}`;
}

const nameOf = ({ kind, metadata: { namespace, name } }: KubernetesObject): string => `${kind} ${namespace === undefined ? '' : `${namespace}/`}${name}`;
/** As all kinds of an installation are called in paths. */
const pluralOf = (kind: string): string => `${kind.toLowerCase().replace(/y$/, 'ie')}s`;

function pathOfObject({ apiVersion, kind, metadata }: KubernetesObject): string {
  const [group, version] = apiVersion.includes('/') ? (apiVersion.split('/') as [string, string]) : ['', apiVersion];
  return objectPath({ group, version, plural: pluralOf(kind) }, metadata);
}

/** What the API server refuses to somebody, and does not have, is not known to him; that it is away is an error. */
async function asked<Value>(answer: Promise<Value>): Promise<Asked<Value>> {
  return await answer.then(
    (value) => ({ ok: true, value }) as const,
    (error: unknown) => {
      if (!(error instanceof SallyportError) || error.code === 'unavailable') throw error;
      return { ok: false, why: error.message } as const;
    },
  );
}

/** In order, some at a time. */
async function mapBounded<Item, Result>(items: readonly Item[], map: (item: Item) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  const rest = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of rest) results[index] = await map(item);
  };
  await Promise.all(Array.from({ length: requestsMax }, worker));
  return results;
}
