/** The schema's findings in words for the person who wrote the manifest. */
import type * as z from 'zod';
import type { FieldPath } from '../errors.ts';
import { mappingsAt, type JsonSchema } from './json-schema.ts';
import { manifestFaultCodes, type ManifestFaultCode } from './manifest-faults.ts';
import { quoteText } from '../objects/index.ts';
import { suggest } from './suggestion.ts';

/** A fault within one object; `at: 'key'` where it is the field's name rather than its value. */
export interface FieldFault {
  readonly code: ManifestFaultCode;
  readonly message: string;
  readonly hint?: string;
  readonly path: FieldPath;
  readonly at?: 'key';
  /** Where one of several fields is missing: their names. */
  readonly lacks?: readonly string[];
}

/** The fields whose value is wrong or missing; none where it is the field itself that should not be there. */
export function fieldsAtFault({ at, lacks, path }: FieldFault): readonly FieldPath[] {
  if (at === 'key') return [];
  return lacks === undefined ? [path] : lacks.map((field) => [...path, field]);
}

type Issue = z.core.$ZodIssue;

/** Validates a value. Either the object, or every fault of it. `jsonSchema` is the schema's own, for the names of fields. */
export function validate<T>(schema: z.ZodType<T>, jsonSchema: JsonSchema, value: unknown): { readonly ok: true; readonly value: T } | { readonly ok: false; readonly faults: readonly FieldFault[] } {
  const parsed = schema.safeParse(value, { error: wording, reportInput: true });
  if (parsed.success) return { ok: true, value: parsed.data };
  return { ok: false, faults: withoutEchoes(parsed.error.issues.flatMap((issue) => faultsOf(issue, [], jsonSchema))) };
}

/** What is expected, for the issues whose schema does not say it in words of its own. */
function wording(issue: z.core.$ZodRawIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${typeNames[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
    case 'too_small':
    case 'too_big': {
      const [bound, limit] = issue.code === 'too_small' ? ['at least', issue.minimum] : ['at most', issue.maximum];
      if (issue.origin === 'array') return `must have ${bound} ${limit} ${Number(limit) === 1 ? 'entry' : 'entries'}`;
      return issue.origin === 'string' ? `must have ${bound} ${limit} characters` : `must be ${bound} ${limit}`;
    }
    default:
      return undefined;
  }
}

const typeNames: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'a mapping',
  record: 'a mapping',
  string: 'text',
};

function faultsOf(issue: Issue, base: FieldPath, schema: JsonSchema): readonly FieldFault[] {
  const path = [...base, ...(issue.path as FieldPath)];
  const field = fieldText(path);
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownField(path, key, schema, issue.input));
    case 'invalid_union':
      return issue.discriminator === undefined ? unionFaults(issue, path, schema) : [unknownValue(path, isMapping(issue.input) ? issue.input[issue.discriminator] : undefined, 'options' in issue ? issue.options : [])];
    case 'invalid_value':
      return [unknownValue(path, issue.input, issue.values)];
    case 'invalid_type':
      if (issue.input === undefined) return [missingField(path)];
      return [{ code: 'type-wrong', message: `${field} ${issue.message}, not ${shown(issue.input)}`, ...typeHint(issue), path }];
    case 'invalid_key':
      return [{ code: 'value-invalid', message: `${field}: its key ${issue.issues.map(({ message }) => message).join(' and ')}`, path, at: 'key' }];
    case 'too_small':
    case 'too_big':
      return [{ code: 'value-out-of-range', message: `${field} ${issue.message}, not ${shownSize(issue.input)}`, path }];
    case 'custom': {
      const code: unknown = issue.params?.['fault'];
      const known = manifestFaultCodes.find((candidate) => candidate === code);
      const lacks: unknown = issue.params?.['lacks'];
      const hint: unknown = issue.params?.['hint'];
      return [{ code: known ?? 'value-invalid', message: `${field}${known === undefined ? '' : ':'} ${issue.message}`, ...(typeof hint === 'string' && { hint }), path, ...(Array.isArray(lacks) && { lacks: lacks as readonly string[] }) }];
    }
    default:
      return [{ code: 'value-invalid', message: `${field} ${issue.message}, not ${shown(issue.input)}`, path }];
  }
}

function missingField(path: FieldPath): FieldFault {
  return { code: 'field-missing', message: `${fieldText(path.slice(0, -1))} lacks the field "${String(path.at(-1))}"`, path };
}

function unknownField(path: FieldPath, key: string, schema: JsonSchema, input: unknown): FieldFault {
  const known = [...new Set(mappingsAt(schema, path).flatMap(({ properties }) => Object.keys(properties ?? {})))];
  const at = { path: [...path, key], at: 'key' } as const;
  if (known.includes(key)) {
    const others = Object.entries(input as object).flatMap(([name, value]) => (name === key ? [] : [typeof value === 'string' ? `${name} ${quoteText(value)}` : `"${name}"`]));
    return { code: 'fields-exclusive', message: `${fieldText(at.path)} does not go with ${others.join(', ')}`, hint: 'keep one or the other', ...at };
  }
  const meant = suggest(key, known);
  const hint = meant === undefined ? `the fields here are ${listed(known)}` : `did you mean "${meant}"?`;
  return { code: 'field-unknown', message: `${fieldText(path)} has an unknown field ${quoteText(key)}`, hint, ...at };
}

function unknownValue(path: FieldPath, input: unknown, values: readonly unknown[]): FieldFault {
  if (input === undefined) return missingField(path);
  const expected = values.map(String);
  const meant = typeof input === 'string' ? suggest(input, expected) : undefined;
  const code = path.length === 1 && path[0] === 'apiVersion' ? 'api-version-unknown' : 'value-unknown';
  const hint = meant === undefined || expected.length === 1 ? undefined : `did you mean "${meant}"?`;
  return { code, message: `${fieldText(path)} must be ${listed(expected, 'or')}, not ${shown(input)}`, ...(hint !== undefined && { hint }), path };
}

/** Where several shapes are possible, speaks of the one that was evidently meant. */
function unionFaults(issue: z.core.$ZodIssueInvalidUnion, path: FieldPath, schema: JsonSchema): readonly FieldFault[] {
  const { input } = issue;
  if (!isMapping(input)) {
    const fitting = issue.errors.find((issues) => !issues.some((each) => each.code === 'invalid_type' && each.path.length === 0));
    if (fitting !== undefined) return fitting.flatMap((each) => faultsOf(each, path, schema));
    const expected = new Set(issue.errors.flatMap((issues) => issues.flatMap((each) => (each.code === 'invalid_type' ? [typeNames[each.expected] ?? each.expected] : []))));
    return [{ code: 'type-wrong', message: `${fieldText(path)} must be ${[...expected].join(' or ')}, not ${shown(input)}`, path }];
  }
  // One mapping a variant, in the order of the union. A misspelt field counts a little for the variant that has the right one.
  const variants = mappingsAt(schema, path).slice(0, issue.errors.length);
  const fieldsOf = variants.map(({ properties }) => Object.keys(properties ?? {}));
  const scores = fieldsOf.map((fields) => Object.keys(input).reduce((score, key) => score + (fields.includes(key) ? 1 : suggest(key, fields) !== undefined ? 0.5 : 0), 0));
  const best = Math.max(...scores);
  const meant = variants.flatMap((variant, index) => (scores[index] === best ? [{ variant, issues: issue.errors[index] ?? [] }] : []));
  const deciding = [...new Set(meant.flatMap(({ variant }) => variant.required ?? []))];
  if (meant.length > 1 && !deciding.some((field) => field in input)) {
    const anyVariant = new Set(fieldsOf.flat());
    const unknown = Object.keys(input).filter((key) => !anyVariant.has(key));
    return [
      ...unknown.map((key) => unknownField(path, key, schema, input)),
      { code: 'field-missing', message: `${fieldText(path)} needs ${listed(deciding, 'or')}`, path },
    ];
  }
  return meant[0]!.issues.flatMap((each) => faultsOf(each.code === 'unrecognized_keys' ? { ...each, input } : each, path, schema));
}

/** Drops a missing field whose misspelling is already named beside it: one mistake, one fault. */
function withoutEchoes(faults: readonly FieldFault[]): readonly FieldFault[] {
  const misspelt = new Set(faults.flatMap(({ code, hint, path }) => (code === 'field-unknown' && hint !== undefined ? [`${fieldText(path.slice(0, -1))} ${hint}`] : [])));
  const isMisspelt = (path: FieldPath) => misspelt.has(`${fieldText(path.slice(0, -1))} did you mean "${String(path.at(-1))}"?`);
  return faults.filter((fault) => fault.code !== 'field-missing' || !fieldsAtFault(fault).some(isMisspelt));
}

/** `spec.ports[0].port`. */
export function fieldText(path: FieldPath): string {
  if (path.length === 0) return 'the object';
  return path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${step}]` : /^[\w-]{1,64}$/.test(step) ? `${text}${text === '' ? '' : '.'}${step}` : `${text}[${quoteText(step)}]`), '');
}

function typeHint({ expected, input }: { readonly expected: string; readonly input?: unknown }): { readonly hint?: string } {
  return expected === 'string' && (typeof input === 'number' || typeof input === 'boolean') ? { hint: `put it in quotes: "${input}"` } : {};
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (typeof value === 'string') return quoteText(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return Array.isArray(value) ? 'a list' : 'a mapping';
}

function shownSize(value: unknown): string {
  if (typeof value === 'string' || Array.isArray(value)) return String(value.length);
  return shown(value);
}

/** `"a", "b" or "c"`. */
function listed(values: readonly string[], word = 'and'): string {
  const quoted = values.map((value) => `"${value}"`);
  return quoted.length < 2 ? quoted.join() : `${quoted.slice(0, -1).join(', ')} ${word} ${quoted.at(-1)!}`;
}

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
