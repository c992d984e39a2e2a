/** JSON Schema of every kind, as editors and Kubernetes want it: what a user may write, not what the program holds. */
import * as z from 'zod';
import { olderExternalService, schemas, type Kind } from '../objects/index.ts';

/** The part of JSON Schema (draft 2020-12) that our kinds need. */
export interface JsonSchema {
  readonly [keyword: string]: unknown;
  readonly type?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly oneOf?: readonly JsonSchema[];
}

export type SchemaName = Kind | 'OlderExternalService';

const rendered = new Map<SchemaName, JsonSchema>();

/** The schema of a kind. Made once per kind. */
export function schemaOf(name: SchemaName): JsonSchema {
  let schema = rendered.get(name);
  if (schema === undefined) {
    const source = name === 'OlderExternalService' ? olderExternalService : schemas[name];
    schema = { ...z.toJSONSchema(source, { io: 'input', target: 'draft-2020-12' }), title: source.shape.kind.value } as JsonSchema;
    rendered.set(name, schema);
  }
  return schema;
}

/** The mappings that may stand at a field path: one, or one per variant. Empty for a path that leads nowhere or to no mapping. */
export function mappingsAt(schema: JsonSchema, path: readonly PropertyKey[]): readonly JsonSchema[] {
  let nodes = variantsOf(schema);
  for (const key of path) {
    nodes = nodes.flatMap((node) => {
      const next = typeof key === 'number' ? node.items : (node.properties?.[String(key)] ?? (typeof node.additionalProperties === 'object' ? node.additionalProperties : undefined));
      return next === undefined ? [] : variantsOf(next);
    });
  }
  return nodes.filter((node) => node.properties !== undefined);
}

function variantsOf(schema: JsonSchema): readonly JsonSchema[] {
  return schema.properties === undefined ? (schema.anyOf ?? schema.oneOf ?? [schema]) : [schema];
}
