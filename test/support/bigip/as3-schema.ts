/**
 * F5's schema of AS3 declarations, with every format that it uses, and what its keyword `f5PostProcess` says of pointers. Not modelled of that
 * keyword: what needs a box to look at (`bigComponent`, `fetch`, modules, versions).
 *
 * Source: the formats as "Understanding the JSON Schema" and src/lib/adcParserFormats.js of F5Networks/f5-appsvcs-extension tell them, in our own words.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv, type ValidateFunction } from 'ajv';
import { parseAddress } from '../../../src/core/ip-address.ts';

/** Beside the checkout, and no part of it. */
export const as3SchemaFile = join(import.meta.dirname, '../../../../shared/as3/as3-schema-3.56.0-10.json');

const isInRange = (digits: string, max: number): boolean => /^(0|[1-9][0-9]{0,4})$/.test(digits) && Number(digits) <= max;
const isUrl = (text: string): boolean => /^[a-z][a-z0-9+.-]*:[^\s<>"{}|\\^`]+$/i.test(text) && URL.canParse(text);

/** An address, of a route domain perhaps (`%2`), and with the length of its mask perhaps (`/24`); or nothing. */
function isF5Ip(text: string): boolean {
  if (text === '') return true;
  const [whole, mask, ...more] = text.split('/');
  const [address, routeDomain, ...others] = whole!.split('%');
  if (more.length + others.length > 0 || parseAddress(address!) === undefined) return false;
  return (routeDomain === undefined || isInRange(routeDomain, 65_535)) && (mask === undefined || isInRange(mask, address!.includes(':') ? 128 : 32));
}

/** Steps that `/` joins, each a name, an index or `@`; the first may be empty, or the number of a relative JSON pointer; a `#` may end it. */
function isF5Pointer(text: string): boolean {
  const isStep = (step: string): boolean => /^(@|[0-9]+|[A-Za-z][0-9A-Za-z_]{0,63})$/.test(step);
  const [first = '', ...steps] = text.replace(/#$/, '').split('/');
  const last = steps.at(-1) ?? first;
  return (first === '' || isStep(first)) && steps.every(isStep) && (last !== '@' || steps.length === 0);
}

/** RFC 1123: labels of letters, digits and hyphens. */
const isHostname = (text: string): boolean => text.length <= 253 && text.split('.').every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(label));

/** RFC 3339, section 5.6. */
function isDateTime(text: string): boolean {
  const [, date, time] = /^(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/.exec(text) ?? [];
  const at = new Date(`${date}T${time}Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(`${date}T${time}`);
}

export const as3Formats: Readonly<Record<string, (text: string) => boolean>> = {
  uri: isUrl,
  f5ip: isF5Ip,
  'date-time': isDateTime,
  hostname: isHostname,
  f5pointer: isF5Pointer,
  f5bigip: (text) => /^\/[^\s\p{Cc}"#'*<>?[\\\]{|}]+$/u.test(text),
  email: (text) => /^[^\s@"(),:;<>[\\\]]{1,64}@[^@]+$/.test(text) && isHostname(text.slice(text.indexOf('@') + 1)),
};

/** Every format that a schema names. */
export function formatsOf(schema: unknown): ReadonlySet<string> {
  if (typeof schema !== 'object' || schema === null) return new Set();
  const own = 'format' in schema && typeof schema.format === 'string' ? [schema.format] : [];
  return new Set([...own, ...Object.values(schema).flatMap((inner) => [...formatsOf(inner)])]);
}

interface PostProcess {
  readonly tag: string;
  /** Of a pointer: the schema that what it points to has to have. */
  readonly data?: object;
}

export const readAs3Schema = (): object => JSON.parse(readFileSync(as3SchemaFile, 'utf8')) as object;

/** What is wrong with a declaration of class ADC: nothing, or what AS3 would answer 422 with. Compiled in a second. */
export function as3Faults(): (declaration: unknown) => readonly string[] {
  const ajv = new Ajv({ strict: false, logger: false, inlineRefs: false, code: { optimize: false }, formats: as3Formats });
  const ofTarget = new Ajv({ strict: false, logger: false });
  const targets = new Map<object, ValidateFunction>();
  const targetOf = (schema: object): ValidateFunction => targets.get(schema) ?? targets.set(schema, ofTarget.compile(schema)).get(schema)!;
  ajv.addKeyword({
    keyword: 'f5PostProcess',
    validate: ({ tag, data: schema }: PostProcess, pointer: unknown, _parent: unknown, context?: { readonly rootData: unknown; readonly instancePath: string }) => {
      if (tag !== 'pointer' || schema === undefined || typeof pointer !== 'string') return true;
      const [, tenant = '', application = ''] = context!.instancePath.split('/');
      const target = (context!.rootData as Record<string, Record<string, Record<string, unknown>>>)[tenant]?.[application]?.[pointer];
      return target !== undefined && targetOf(schema)(target);
    },
  });
  ajv.addSchema(readAs3Schema(), 'as3');
  const validate = ajv.compile({ $ref: 'as3#/definitions/ADC' });
  return (declaration) => (validate(declaration) ? [] : validate.errors!.map(({ instancePath, message, keyword }) => `${instancePath} ${message ?? keyword}`));
}
