/** Which external services are to be registered, and for whom. */
import { describeRef, refOf, type DesiredState, type ObjectKey } from '../../core/desired-state.ts';
import type { Collection } from '../desired/collection.ts';
import type { Registrant } from './registrar.ts';

/** Those in force, but for those that are being deleted: Kubernetes may wait for what was made of them to go first. */
export function registrantsOf(services: DesiredState['ExternalService'], { makers }: Pick<Collection, 'makers'>): ReadonlyMap<ObjectKey, Registrant> {
  return new Map(
    [...services].flatMap(([key, external]): [ObjectKey, Registrant][] => {
      const maker = makers.get(describeRef(refOf(external)))?.[0]?.apiObject;
      if (maker?.metadata.deletionTimestamp !== undefined) return [];
      const { apiVersion = '', metadata } = maker ?? {};
      const owner = metadata?.namespace === external.metadata.namespace ? { apiVersion, name: metadata.name, uid: metadata.uid } : null;
      return [[key, { external, owner }]];
    }),
  );
}
