/** A tenant of an AS3 declaration as a value: what stands in data groups, and all else. Pure. */
import { isDeepStrictEqual } from 'node:util';
import type { Records } from './data-group-changes.ts';

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Undefined where there is none. */
export function tenantOf(declaration: unknown, partition: string): JsonObject | undefined {
  const tenant = isObject(declaration) ? declaration[partition] : undefined;
  return isObject(tenant) && tenant['class'] === 'Tenant' ? tenant : undefined;
}

/** The objects of a tenant, by path. */
export function objectsIn(tenant: JsonObject, partition: string): readonly (readonly [path: string, object: JsonObject])[] {
  return Object.entries(tenant).flatMap(([application, content]) => (isObject(content) ? Object.entries(content).flatMap(([name, object]) => (isObject(object) ? [[`/${partition}/${application}/${name}`, object] as const] : [])) : []));
}

/** The records of its data groups, by path. */
export function dataGroupsIn(tenant: JsonObject, partition: string): ReadonlyMap<string, Records> {
  return new Map(objectsIn(tenant, partition).filter(([, object]) => object['class'] === 'Data_Group').map(([path, object]) => [path, object['records'] as Records]));
}

/** The private key of a tenant and its certificate chain, PEM; undefined where it has none. */
export function keyPairIn(tenant: JsonObject): { readonly certificateChainPem: string; readonly privateKeyPem: string } | undefined {
  for (const [, object] of objectsIn(tenant, '')) {
    const { class: objectClass, certificate, chainCA, privateKey } = object;
    if (objectClass !== 'Certificate' || typeof certificate !== 'string' || typeof privateKey !== 'string') continue;
    return { certificateChainPem: typeof chainCA === 'string' ? `${certificate}\n${chainCA}` : certificate, privateKeyPem: privateKey };
  }
  return undefined;
}

/** Whether both are the same but for the records of their data groups, and for words. */
export function sameStructure(a: JsonObject, b: JsonObject): boolean {
  return isDeepStrictEqual(structureOf(a), structureOf(b));
}

function structureOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(structureOf);
  if (!isObject(value)) return value;
  const { label: _label, remark: _remark, ...fields } = value;
  const { records: _records, ...others } = fields;
  return Object.fromEntries(Object.entries(fields['class'] === 'Data_Group' ? others : fields).map(([name, field]) => [name, structureOf(field)]));
}
