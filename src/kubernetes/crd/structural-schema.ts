/**
 * The schema of a kind as a CustomResourceDefinition wants it: structural (every field said once, outside of alternatives), with rules
 * in CEL for what a JSON schema says by `anyOf` and `oneOf`, since the API server tells CEL's message and nothing of those.
 *
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 */
import { invariant } from '../../core/errors.ts';
import type { JsonSchema } from '../../core/manifest/json-schema.ts';

export interface ValidationRule {
  /** CEL. */
  readonly rule: string;
  readonly message: string;
}

export interface StructuralSchema {
  readonly [keyword: string]: unknown;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly items?: StructuralSchema;
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

export const rulesKeyword = 'x-kubernetes-validations';

/** What says something of a value without saying what it is made of, and means the same in both. */
const kept = ['type', 'description', 'default', 'enum', 'pattern', 'minLength', 'maxLength', 'minimum', 'maximum', 'minItems', 'maxItems', 'required', 'format'] as const;
/** What the API server knows without being told (names of labels), or does by itself (it drops or refuses fields that no schema names). */
const dropped = ['$schema', 'title', 'propertyNames', 'additionalProperties'] as const;
const worked = ['properties', 'items', 'const', 'anyOf', 'oneOf', rulesKeyword] as const;

/** Throws for a keyword that is not looked at here: a schema that says more than the CRD would is to be noticed. */
export function structuralSchemaOf(schema: JsonSchema): StructuralSchema {
  for (const keyword of Object.keys(schema)) invariant([...kept, ...dropped, ...worked].some((known) => known === keyword), `the keyword ${keyword} has no place in a structural schema yet`);
  const alternatives = schema.anyOf ?? schema.oneOf ?? [];
  const whole = alternatives.some(({ type }) => type !== undefined) ? { ...schema, ...mergeAlternatives(alternatives) } : schema;
  const rules = [...((schema[rulesKeyword] as readonly ValidationRule[] | undefined) ?? []), ...ruleOfAlternatives(whole, alternatives)];
  return {
    ...Object.fromEntries(kept.flatMap((keyword) => (whole[keyword] === undefined ? [] : [[keyword, whole[keyword]]]))),
    ...(whole['const'] === undefined ? {} : { enum: [whole['const']] }),
    ...(whole['x-kubernetes-int-or-string'] === true ? { 'x-kubernetes-int-or-string': true } : {}),
    ...(whole.properties === undefined ? {} : { properties: mapValues(whole.properties, structuralSchemaOf) }),
    ...(whole.items === undefined ? {} : { items: structuralSchemaOf(whole.items) }),
    ...(typeof whole.additionalProperties === 'object' ? { additionalProperties: structuralSchemaOf(whole.additionalProperties) } : {}),
    ...(rules.length === 0 ? {} : { [rulesKeyword]: rules }),
  };
}

/** What holds of a value whichever alternative it is. */
function mergeAlternatives(alternatives: readonly JsonSchema[]): JsonSchema {
  const types = new Set(alternatives.map(({ type }) => type));
  if (types.size === 1 && types.has('object')) {
    const properties = new Map<string, JsonSchema>();
    for (const alternative of alternatives) {
      for (const [name, schema] of Object.entries(alternative.properties ?? {})) properties.set(name, mergeField(properties.get(name), schema));
    }
    const required = alternatives.map((each) => new Set(each.required)).reduce((both, next) => both.intersection(next));
    return { type: 'object', properties: Object.fromEntries(properties), ...(required.size === 0 ? {} : { required: [...required] }) };
  }
  if (types.size === 1) return { type: alternatives[0]!.type! };
  invariant(types.size === 2 && types.has('string') && types.has('integer'), `alternatives of ${[...types].join(' and ')} cannot be one field`);
  const { type: _string, description: _description, ...text } = alternatives.find(({ type }) => type === 'string')!;
  const { type: _integer, ...number } = alternatives.find(({ type }) => type === 'integer')!;
  return { ...text, ...number, 'x-kubernetes-int-or-string': true };
}

/** A field of several alternatives: with any of the constants that these give it; otherwise it must be the same in all but its description. */
function mergeField(known: JsonSchema | undefined, next: JsonSchema): JsonSchema {
  const { const: constant, ...rest } = next;
  const field = constant === undefined ? next : { ...rest, enum: [constant] };
  if (known === undefined) return field;
  if (constant !== undefined) return { ...known, enum: [...(known['enum'] as readonly unknown[]), constant] };
  const bare = ({ description: _, ...each }: JsonSchema) => JSON.stringify(Object.entries(each).sort());
  invariant(bare(known) === bare(field), 'a field of several alternatives is the same in all');
  return known;
}

/** That exactly one of the alternatives is there, told by the fields that each has. */
function ruleOfAlternatives({ properties = {} }: JsonSchema, alternatives: readonly JsonSchema[]): ValidationRule[] {
  if (alternatives.length === 0 || Object.keys(properties).length === 0) return [];
  const cases = alternatives.map((alternative) => {
    const own: Readonly<Record<string, JsonSchema>> = alternative.properties ?? Object.fromEntries((alternative.required ?? []).map((name) => [name, {}]));
    const constants = Object.entries(own).flatMap(([name, schema]) => (schema['const'] === undefined ? [] : [`self.${escaped(name)} == ${JSON.stringify(schema['const'])}`]));
    const required = (alternative.required ?? []).filter((name) => own[name]?.['const'] === undefined);
    const foreign = namesOfAlternatives(alternatives).filter((name) => own[name] === undefined);
    return { required, text: [...constants, ...required.map(has), ...foreign.map((name) => `!${has(name)}`)].join(' && '), constants };
  });
  const message = cases.every(({ constants }) => constants.length === 0)
    ? `needs exactly one of ${cases.map(({ required }) => required.map((name) => `"${name}"`).join(' and ')).join(', ')}, and only what goes with it`
    : `needs what goes with its ${namesOfAlternatives(alternatives)[0]!}, and nothing else`;
  return [{ rule: cases.map(({ text }) => `(${text})`).join(' || '), message }];
}

function namesOfAlternatives(alternatives: readonly JsonSchema[]): string[] {
  return [...new Set(alternatives.flatMap(({ properties, required = [] }) => [...Object.keys(properties ?? {}), ...required]))];
}

const has = (name: string): string => `has(self.${escaped(name)})`;

/** CEL's own words, of which our fields have one. https://kubernetes.io/docs/reference/using-api/cel/#escaping */
const reserved: ReadonlySet<string> = new Set(['true', 'false', 'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', 'package', 'namespace', 'return', 'var', 'void', 'while']);

function escaped(name: string): string {
  return reserved.has(name) ? `__${name}__` : name;
}

function mapValues<From, To>(values: Readonly<Record<string, From>>, map: (value: From) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value)]));
}
