import assert from 'node:assert/strict';
import fc from 'fast-check';
import { mappingsAt, schemaOf, type JsonSchema } from '../../../src/core/manifest/json-schema.ts';
import { encodeObject } from '../../../src/core/manifest/manifest-text.ts';
import { kinds } from '../../../src/core/objects/index.ts';
import { anyDesiredObject } from '../../support/arbitraries.ts';

/** Every schema within a schema, with its path. */
function* nodesOf(schema: JsonSchema, path = ''): Generator<readonly [string, JsonSchema]> {
  yield [path, schema];
  for (const [name, child] of Object.entries(schema.properties ?? {})) yield* nodesOf(child, `${path}.${name}`);
  if (schema.items !== undefined) yield* nodesOf(schema.items, `${path}[]`);
  for (const variant of [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])]) yield* nodesOf(variant, path);
}

/** The keywords that our schemas use, checked by hand: an independent reading of them. */
function accepts(schema: JsonSchema, value: unknown): boolean {
  const { type, properties = {}, required = [], items, additionalProperties } = schema;
  if (schema['const'] !== undefined && schema['const'] !== value) return false;
  if (Array.isArray(schema['enum']) && !schema['enum'].includes(value)) return false;
  if (schema.anyOf !== undefined && !schema.anyOf.some((variant) => accepts(variant, value))) return false;
  if (schema.oneOf !== undefined && schema.oneOf.filter((variant) => accepts(variant, value)).length !== 1) return false;
  if (typeof value === 'string') {
    if (type !== undefined && type !== 'string') return false;
    const { minLength = 0, maxLength = Infinity, pattern = '' } = schema as { minLength?: number; maxLength?: number; pattern?: string };
    return value.length >= minLength && value.length <= maxLength && new RegExp(pattern, 'u').test(value);
  }
  if (typeof value === 'boolean') return type === undefined || type === 'boolean';
  if (typeof value === 'number') {
    const { minimum = -Infinity, maximum = Infinity } = schema as { minimum?: number; maximum?: number };
    return (type === undefined || type === 'number' || (type === 'integer' && Number.isInteger(value))) && value >= minimum && value <= maximum;
  }
  if (Array.isArray(value)) {
    const { minItems = 0, maxItems = Infinity } = schema as { minItems?: number; maxItems?: number };
    return (type === undefined || type === 'array') && value.length >= minItems && value.length <= maxItems && value.every((item) => items === undefined || accepts(items, item));
  }
  if (type !== undefined && type !== 'object') return false;
  const mapping = value as Readonly<Record<string, unknown>>;
  return (
    required.every((field) => field in mapping) &&
    Object.entries(mapping).every(([field, inner]) => {
      const child = Object.hasOwn(properties, field) ? properties[field] : additionalProperties;
      return typeof child === 'object' ? accepts(child, inner) : child !== false;
    })
  );
}

describe('JSON schemas', () => {
  for (const name of [...kinds, 'OlderExternalService'] as const) {
    it(`of ${name} can be had, with the kind as title and no type that JSON lacks`, () => {
      const schema = schemaOf(name);
      assert.equal(schema['$schema'], 'https://json-schema.org/draft/2020-12/schema');
      assert.equal(schema['title'], name === 'OlderExternalService' ? 'ExternalService' : name);
      assert.deepEqual(JSON.parse(JSON.stringify(schema)), schema);
    });
  }

  it('accept every object as a user would write it', () => {
    fc.assert(fc.property(anyDesiredObject, (object) => assert.ok(accepts(schemaOf(object.kind), encodeObject(object)))), { numRuns: 200 });
  });

  it('speak of what users write: spans, addresses and ranges as text, defaults too', () => {
    const pool = mappingsAt(schemaOf('SnatPool'), ['spec'])[0]?.properties;
    assert.deepEqual([pool?.['quarantine']?.type, pool?.['quarantine']?.['default']], ['string', '24h']);
    assert.equal(pool?.['addresses']?.items?.type, 'string');
    const limits = mappingsAt(schemaOf('EgressGateway'), ['spec', 'limits'])[0]?.properties;
    assert.equal(limits?.['idleTimeout']?.['default'], '1h');
  });

  it('refuse what is both an address and a host', () => {
    const spec = schemaOf('ExternalService').properties?.['spec'];
    assert.ok(spec !== undefined);
    const ports = [{ port: 1 }];
    assert.deepEqual([{ ports, addresses: ['10.0.0.1'] }, { ports, hosts: ['a'] }, { ports }, { ports, addresses: ['10.0.0.1'], hosts: ['a'] }].map((value) => accepts(spec, value)), [true, true, false, false]);
  });

  it('give default values that they accept themselves', () => {
    for (const kind of kinds) {
      for (const [path, node] of nodesOf(schemaOf(kind))) if (node['default'] !== undefined) assert.ok(accepts({ ...node, default: undefined }, node['default']), `${kind}${path}`);
    }
  });

  it('say something about every field of a spec that is not plain by its name', () => {
    for (const [path, node] of [...nodesOf(schemaOf('ExternalService'))].filter(([path]) => /^\.spec\.(addresses|hosts|gateway|serverNames|subjectAltNames|agentAddress)$/.test(path))) assert.ok(node['description'], path);
  });

  it('name the variants of a field one by one', () => {
    const variants = mappingsAt(schemaOf('EgressPolicy'), ['spec', 'subjects', 3]);
    assert.deepEqual(variants.map(({ properties }) => Object.keys(properties ?? {})), [['namespace', 'serviceAccount'], ['namespaceSelector', 'serviceAccount'], ['service']]);
    assert.deepEqual(mappingsAt(schemaOf('EgressPolicy'), ['spec', 'nothing']), []);
  });
});
