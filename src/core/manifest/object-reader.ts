/** One object as a value, of any form that is accepted, into objects of desired state. */
import { schemaOf } from './json-schema.ts';
import { isMapping, validate, type FieldFault } from './manifest-issues.ts';
import { convertOlderExternalService, type ConvertedObject } from './older-form.ts';
import { olderApiVersion, olderExternalService, olderNamespace, schemas, serverMetadata, type DesiredObject, kinds, type Kind } from '../objects/index.ts';

export type ObjectReading = { readonly ok: true; readonly value: readonly ConvertedObject[] } | { readonly ok: false; readonly faults: readonly FieldFault[] };

/** One form of one kind: how it becomes objects of ours. */
export interface ObjectReader {
  /** Empty for the cluster-scoped kinds. */
  readonly defaultNamespace: string;
  /** What a Kubernetes API server adds is no part of what is desired, and is not looked at. `rootNamespace` is where only what is there may speak about everyone. */
  read(value: Readonly<Record<string, unknown>>, rootNamespace?: string): ObjectReading;
}

function readerOf(kind: Kind): ObjectReader {
  const schema = schemas[kind];
  const { shape } = schema.shape.metadata;
  return {
    defaultNamespace: 'namespace' in shape ? shape.namespace.parse(undefined) : '',
    read: (value) => {
      const result = validate<DesiredObject>(schema, schemaOf(kind), withoutServerFields(value));
      return result.ok ? { ok: true, value: [{ object: result.value, originOf: (path) => path }] } : result;
    },
  };
}

const readers = Object.fromEntries(kinds.map((kind) => [kind, readerOf(kind)])) as Readonly<Record<Kind, ObjectReader>>;

const olderReader: ObjectReader = {
  defaultNamespace: olderNamespace,
  read: (value, rootNamespace) => {
    const result = validate(olderExternalService, schemaOf('OlderExternalService'), withoutServerFields(value));
    return result.ok ? { ok: true, value: convertOlderExternalService(result.value, rootNamespace) } : result;
  },
};

/** By the group of the version, so that a wrong version of the older form is told what is right there. */
export function readerFor(kind: Kind, version: unknown): ObjectReader {
  const olderGroup = olderApiVersion.slice(0, olderApiVersion.indexOf('/') + 1);
  return kind === 'ExternalService' && typeof version === 'string' && version.startsWith(olderGroup) ? olderReader : readers[kind];
}

export function isKind(kind: unknown): kind is Kind {
  return typeof kind === 'string' && Object.hasOwn(schemas, kind);
}

function withoutServerFields(value: Readonly<Record<string, unknown>>): unknown {
  const { metadata } = value;
  const without = (mapping: Readonly<Record<string, unknown>>, fields: readonly string[]) => Object.fromEntries(Object.entries(mapping).filter(([field]) => !fields.includes(field)));
  return { ...without(value, ['status']), ...(isMapping(metadata) && { metadata: without(metadata, serverMetadata) }) };
}
