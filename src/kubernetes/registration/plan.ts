/**
 * What is to be done so that the API server holds a registration, and nothing of one that is not wanted any more. Objects are told apart by
 * our label and their controller: what somebody else has made is never changed, and never given endpoints of ours.
 */
import { isDeepStrictEqual } from 'node:util';
import { apiVersion, olderApiVersion } from '../../core/objects/index.ts';
import { fieldManager } from '../client.ts';
import type { ApiObject } from '../watch/reflection.ts';
import { isMarked, type OwnedObject, type Registration } from './registration.ts';

/** One that the API server has. */
export type StoredObject = OwnedObject & {
  readonly metadata: ApiObject['metadata'] & {
    /** Who has written which fields. https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management */
    readonly managedFields?: readonly { readonly manager?: string; readonly fieldsV1?: { readonly 'f:metadata'?: Readonly<Record<string, unknown>> } }[];
  };
};

/** What of one is looked at here. Most of what the API server says of it is who has written which field. */
export function keepOfStored({ metadata, status: _, ...content }: StoredObject): StoredObject {
  const { name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp, labels, annotations, ownerReferences, managedFields = [] } = metadata;
  const written = managedFields.flatMap(({ manager, fieldsV1 }) => {
    if (manager !== fieldManager) return [];
    const { 'f:labels': ofLabels = {}, 'f:annotations': ofAnnotations = {} } = fieldsV1?.['f:metadata'] ?? {};
    return [{ manager, fieldsV1: { 'f:metadata': { 'f:labels': ofLabels, 'f:annotations': ofAnnotations } } }];
  });
  const given = Object.fromEntries(Object.entries({ creationTimestamp, deletionTimestamp, labels, annotations, ownerReferences }).filter(([, value]) => value !== undefined));
  return { ...content, metadata: { name, namespace, uid, resourceVersion, ...given, managedFields: written } };
}

/** What there is under the names of a registration, and beside it what else is ours and named like its slices. */
export interface Existing {
  readonly service: StoredObject | null;
  readonly slices: readonly StoredObject[];
}

export type Action =
  | { readonly type: 'create'; readonly object: OwnedObject }
  /** `patch` is a merge patch that holds for this very version of the object only. */
  | { readonly type: 'change'; readonly object: StoredObject; readonly patch: object }
  | { readonly type: 'delete'; readonly object: StoredObject };

export interface Plan {
  /** In this order: a slice belongs to whatever Service has its name, so the Service is made sure of first. */
  readonly actions: readonly Action[];
  /** Has a name that is wanted, and is somebody else's. */
  readonly stranger: StoredObject | null;
}

/**
 * @param serviceName of the registration, also where it is not wanted
 * @param wanted null: nothing of it
 */
export function planRegistration(serviceName: string, { service, slices }: Existing, wanted: Registration | null): Plan {
  const removal = (objects: readonly (StoredObject | null)[]): Action[] =>
    objects.flatMap((object) => (object !== null && isOurs(object, serviceName) && !isGoing(object) ? [{ type: 'delete', object }] : []));
  if (wanted === null) return { actions: removal([...slices, service]), stranger: null };
  if (service !== null && !isOurs(service, serviceName)) return { actions: removal(slices), stranger: service };
  if (service !== null && isGoing(service)) return { actions: [], stranger: null }; // it is made anew when it is gone
  const first = approach(service, wanted.service);
  if (wanted.slices === null) return { actions: first, stranger: null };
  const named = new Map(slices.map((slice) => [slice.metadata.name, slice]));
  const steps = wanted.slices.map((slice) => ({ slice, known: named.get(slice.metadata.name) ?? null }));
  const names = new Set(wanted.slices.map(({ metadata }) => metadata.name));
  return {
    actions: [
      ...first,
      ...steps.flatMap(({ slice, known }) => (known === null || isOurs(known, serviceName) ? approach(known, slice) : [])),
      ...removal(slices.filter(({ metadata }) => !names.has(metadata.name))),
    ],
    stranger: steps.find(({ known }) => known !== null && !isOurs(known, serviceName))?.known ?? null,
  };
}

function approach(known: StoredObject | null, wanted: OwnedObject): Action[] {
  if (known === null) return [{ type: 'create', object: wanted }];
  if (isGoing(known)) return [];
  if (known['addressType'] !== wanted['addressType']) return [{ type: 'delete', object: known }]; // which no slice may change
  const patch = patchOf(known, wanted);
  return patch === null ? [] : [{ type: 'change', object: known, patch }];
}

/**
 * Whether an object is ours to change: by our label, and made of no other object than the ExternalService of that name. One that leads to pods,
 * as a Service of Sallyport itself does, is ours only where we have written it, and somebody else its selector.
 */
export function isOurs(object: StoredObject, serviceName: string): boolean {
  const { ownerReferences = [], managedFields = [] } = object.metadata;
  if (!isMarked(object)) return false;
  if (hasSelector(object) && !managedFields.some(({ manager }) => manager === fieldManager)) return false;
  const controller = ownerReferences.find((reference) => reference.controller === true);
  return controller === undefined || (controller.kind === 'ExternalService' && controller.name === serviceName && (controller.apiVersion === apiVersion || controller.apiVersion === olderApiVersion));
}

function hasSelector(object: OwnedObject): boolean {
  const spec = object['spec'] as { readonly selector?: object | null } | undefined;
  return Object.keys(spec?.selector ?? {}).length > 0;
}

function isGoing({ metadata }: StoredObject): boolean {
  return metadata.deletionTimestamp !== undefined;
}

/**
 * The merge patch that makes an object say what is wanted; null where it does, so that a settled system writes nothing. What others have
 * added stays, but where it is a list. A label or annotation that we have written once, and that is not wanted any more, goes.
 */
export function patchOf(known: StoredObject, { metadata: { labels, annotations, ownerReferences }, ...content }: OwnedObject): object | null {
  const { apiVersion: _apiVersion, kind: _kind, ...fields } = content;
  const metadata = {
    labels: { ...withdrawn(known, 'labels'), ...labels },
    annotations: { ...withdrawn(known, 'annotations'), ...annotations },
    ownerReferences: ownerReferences ?? null,
  };
  if (saysAlready(known, { ...fields, metadata })) return null;
  return { ...fields, metadata: { ...metadata, resourceVersion: known.metadata.resourceVersion } };
}

/** Takes back all that we have written of it, as a merge patch does. */
function withdrawn({ metadata: { managedFields = [] } }: StoredObject, field: 'labels' | 'annotations'): Record<string, null> {
  const owned = managedFields.flatMap(({ manager, fieldsV1 }) => (manager === fieldManager ? Object.keys(fieldsV1?.['f:metadata']?.[`f:${field}`] ?? {}) : []));
  return Object.fromEntries(owned.flatMap((name) => (name.startsWith('f:') ? [[name.slice('f:'.length), null]] : [])));
}

/** Whether an object says already what a merge patch would make it say. What the patch does not name is not looked at. */
export function saysAlready(known: unknown, patch: unknown): boolean {
  if (patch === null) return known === undefined || known === null;
  if (Array.isArray(patch)) return Array.isArray(known) && known.length === patch.length && patch.every((item, index) => saysAlready(known[index], item));
  if (typeof patch !== 'object') return isDeepStrictEqual(known, patch);
  const fields = known ?? {};
  return typeof fields === 'object' && Object.entries(patch).every(([name, value]) => saysAlready((fields as Readonly<Record<string, unknown>>)[name], value));
}
