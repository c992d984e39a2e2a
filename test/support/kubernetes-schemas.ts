/**
 * What Kubernetes' API server would say of objects by their schemas: the OpenAPI documents of the built-in kinds, as Kubernetes'
 * own module of Go carries them, and the structural schemas of CustomResourceDefinitions, as strictly as `fieldValidation=Strict`.
 * What the API server knows in code only is not held here: names, quantities, the range of node ports.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ErrorObject } from 'ajv';
import { parseAllDocuments } from 'yaml';

export interface KubernetesSchemas {
  /** What is wrong with the object, each fault as `PLACE: WHAT`. Throws for a kind that there is no schema of. */
  faultsOf(object: KubernetesObject): readonly string[];
}

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
}

type Schema = Readonly<Record<string, unknown>>;

interface OpenApiDocument {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

interface CustomResourceDefinition {
  readonly spec: { readonly group: string; readonly names: { readonly kind: string }; readonly versions: readonly { readonly name: string; readonly served: boolean; readonly schema: { readonly openAPIV3Schema: Schema } }[] };
}

/** The documents of `core/v1` and `apps/v1`; either has all that its kinds refer to. */
const documents = ['api__v1_openapi.json', 'apis__apps__v1_openapi.json'] as const;
const objectMeta = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
/** What tells clients how to merge, and says nothing of validity. Any other extension is one that must be looked at first: the compiler refuses it. */
const silentExtensions = ['group-version-kind', 'list-map-keys', 'list-type', 'map-type', 'patch-merge-key', 'patch-strategy', 'unions'].map((name) => `x-kubernetes-${name}`);

/** `openApi` is a folder of OpenAPI documents, `definitions` a file of CustomResourceDefinitions; without it there are the built-in kinds only. */
export function loadKubernetesSchemas(openApi: string, definitions?: string): KubernetesSchemas {
  const ajv = new Ajv({ allErrors: true, strictTypes: false, unicodeRegExp: false, formats }); // patterns are RE2's, of which some are none in Unicode mode
  ajv.addVocabulary(['components', ...silentExtensions, 'x-kubernetes-int-or-string', 'x-kubernetes-preserve-unknown-fields']);
  const schemas = Object.assign({}, ...documents.map((name) => (JSON.parse(readFileSync(join(openApi, name), 'utf8')) as OpenApiDocument).components.schemas)) as Readonly<Record<string, Schema>>;
  ajv.addSchema({ $id: 'kubernetes', components: { schemas: closed(schemas) } });

  const references = new Map(Object.entries(schemas).flatMap(([name, schema]) => kindsOf(schema).map((kind) => [keyOf(kind), { $ref: referenceTo(name) }] as const)));
  const custom = definitions === undefined ? [] : parseAllDocuments(readFileSync(definitions, 'utf8')).flatMap((document) => customKinds(document.toJS() as CustomResourceDefinition | null));
  const byKind = new Map<string, Schema>([...references, ...custom]);

  return {
    faultsOf(object) {
      const [version, group = ''] = object.apiVersion.split('/').reverse() as [string, string?];
      const schema = byKind.get(keyOf({ group, version, kind: object.kind }));
      if (schema === undefined) throw new Error(`there is no schema of ${object.apiVersion} ${object.kind}`);
      const validate = ajv.compile(schema);
      return validate(object) ? [] : (validate.errors ?? []).map(describe);
    },
  };
}

const keyOf = ({ group, version, kind }: GroupVersionKind): string => `${group}/${version}/${kind}`;
const kindsOf = (schema: Schema): readonly GroupVersionKind[] => (schema['x-kubernetes-group-version-kind'] as readonly GroupVersionKind[] | undefined) ?? [];
const referenceTo = (name: string): string => `kubernetes#/components/schemas/${name}`;

/** The API server adds what every object has to the schema of a custom one. */
function customKinds(definition: CustomResourceDefinition | null): readonly (readonly [string, Schema])[] {
  if (definition === null) return [];
  const { group, names, versions } = definition.spec;
  return versions
    .filter(({ served }) => served)
    .map(({ name, schema: { openAPIV3Schema } }) => {
      const { properties, ...rest } = closed(openAPIV3Schema);
      const everyObjects = { apiVersion: { type: 'string' }, kind: { type: 'string' }, metadata: { $ref: referenceTo(objectMeta) } };
      return [keyOf({ group, version: name, kind: names.kind }), { ...rest, properties: { ...(properties as Schema), ...everyObjects } }];
    });
}

/** The schema with every object closed to fields that it does not name, where it says nothing else. */
function closed<T>(schema: T): T;
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map((each: unknown) => closed(each));
  if (typeof schema !== 'object' || schema === null) return schema;
  const inner = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, closed(value as unknown)]));
  const isOpen = inner['type'] !== 'object' || 'additionalProperties' in inner || inner['x-kubernetes-preserve-unknown-fields'] === true;
  return isOpen ? inner : { ...inner, additionalProperties: false };
}

const integerOf = (bits: bigint) => ({ type: 'number' as const, validate: (value: number) => Number.isInteger(value) && BigInt(value) === BigInt.asIntN(Number(bits), BigInt(value)) });
const formats = {
  'byte': /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/,
  'date-time': (text: string) => !Number.isNaN(Date.parse(text)),
  'int-or-string': true as const, // said again by `oneOf`
  'int32': integerOf(32n),
  'int64': integerOf(64n),
};

function describe({ instancePath, message = '', params }: ErrorObject): string {
  const named = 'additionalProperty' in params ? ` ${JSON.stringify(params['additionalProperty'])}` : '';
  return `${instancePath === '' ? '/' : instancePath}: ${message}${named}`;
}
