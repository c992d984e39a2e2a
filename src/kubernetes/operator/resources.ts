/** The custom resources that hold desired state, and where the API server has them. */
import { customResourceDefinitions } from '../crd/definitions.ts';
import { pathOf, type Resource } from '../watch/reflect.ts';
import type { ApiObject } from '../watch/reflection.ts';

export interface DesiredResource extends Resource {
  readonly kind: string;
  /** Whether an API server may be without it. */
  readonly isOptional: boolean;
  readonly hasStatus: boolean;
}

const ownGroup = 'sallyport.dev';

export const assignmentResource: Resource = { group: ownGroup, version: 'v1alpha1', plural: 'snatassignments' };

export const desiredResources: readonly DesiredResource[] = customResourceDefinitions
  .map(({ spec: { group, names, versions: [version] } }) => ({ group, version: version.name, plural: names.plural, kind: names.kind, isOptional: group !== ownGroup, hasStatus: version.subresources !== undefined }))
  .filter(({ plural }) => plural !== assignmentResource.plural);

const byType = new Map(desiredResources.map((resource) => [`${resource.group}/${resource.version} ${resource.kind}`, resource]));

/** The resource that an object is one of; undefined for those of Kubernetes itself. */
export function resourceOf({ apiVersion = '', kind = '' }: ApiObject): DesiredResource | undefined {
  return byType.get(`${apiVersion} ${kind}`);
}

export function objectPath(resource: Resource, { namespace, name }: Pick<ApiObject['metadata'], 'namespace' | 'name'>): string {
  return `${pathOf({ ...resource, ...(namespace === undefined ? {} : { namespace }) })}/${name}`;
}
