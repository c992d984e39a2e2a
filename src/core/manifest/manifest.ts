/**
 * Manifests: text into objects of desired state. The whole input is read before anything is said, and every fault of it
 * is named at once with file, line, column and field, so that an input is taken as a whole or not at all. What could be
 * read is given beside the faults, so that those of allocation and compilation can be named with them.
 */
import { describeRef, refOf } from '../desired-state.ts';
import type { FieldPath, ObjectRef } from '../errors.ts';
import { faultList } from './manifest-faults.ts';
import { fieldsAtFault, isMapping, type FieldFault } from './manifest-issues.ts';
import { isKind, readerFor } from './object-reader.ts';
import { readDocuments, type ManifestDocument, type ManifestSource, type Position } from './manifest-yaml.ts';
import { renderObject } from './manifest-text.ts';
import { apiVersion, kinds, quoteText } from '../objects/index.ts';
import { parsedManifests, type Findings, type LocatedObject, type ParsedManifests } from './parsed-manifests.ts';
import { suggest } from './suggestion.ts';
import { unreadObject, unreadText } from './unread-document.ts';

export { manifestFaultCodes, type ManifestFaultCode } from './manifest-faults.ts';
export type { ManifestSource, Position } from './manifest-yaml.ts';
export type { LocatedObject, ParsedManifests } from './parsed-manifests.ts';

/**
 * Reads YAML (any number of documents) and JSON. `v1 List` is unfolded, the older form converted, empty documents are
 * ignored. Positions hold on to the syntax tree of the file (about 40 times its size): let go of them with the input.
 * Takes about 0.6 s per MB. With a root namespace, what the older form says is said there.
 */
export function parseManifests(sources: readonly ManifestSource[], rootNamespace?: string): ParsedManifests {
  const findings: Findings = { faults: faultList(sources.map(({ file }) => file)), unread: [], disputed: new Set() };
  const parsed: LocatedObject[] = [];
  const firsts = new Map<string, WrittenObject>();
  for (const source of sources) {
    for (const document of readDocuments(source, findings.faults, findings.unread)) {
      for (const written of unfold({ document, path: [] }, findings)) {
        const isNew = checkFirst(written, firsts, findings);
        const objects = readObject(written, findings, rootNamespace);
        if (isNew) parsed.push(...objects);
      }
    }
  }
  return parsedManifests(withoutTwins(parsed, findings), findings);
}

/** A value that should be an object, and where it is within its document. */
interface Written {
  readonly document: ManifestDocument;
  readonly path: FieldPath;
}

interface WrittenObject extends Written {
  readonly value: Readonly<Record<string, unknown>>;
}

function positionIn({ document, path: base }: Written, path: FieldPath, at?: 'key'): Position {
  return document.positionOf([...base, ...path], at);
}

function* unfold(written: Written, findings: Findings): Generator<WrittenObject, void> {
  const { faults, unread } = findings;
  const value = written.path.reduce<unknown>((inner, step) => (inner as Record<string | number, unknown>)[step], written.document.value);
  if (!isMapping(value)) {
    unread.push(unreadText(JSON.stringify(value)));
    const what = Array.isArray(value) ? 'a list' : 'a single value';
    faults.add({ code: 'document-not-mapping', message: `an object must be a mapping, not ${what}`, hint: `begin with "apiVersion: ${apiVersion}" and "kind:"`, position: positionIn(written, []) });
  } else if (value['kind'] !== 'List' || value['apiVersion'] !== 'v1') yield { ...written, value };
  else if (Array.isArray(value['items'])) for (const index of value['items'].keys()) yield* unfold({ ...written, path: [...written.path, 'items', index] }, findings);
  else {
    unread.push(unreadText(JSON.stringify(value)));
    faults.add({ code: 'type-wrong', message: 'items must be a list', path: ['items'], position: positionIn(written, ['items']) });
  }
}

/** Names the second place of an object that is there twice; false for it. Looks at the names only, so that it also finds faulty twins. */
function checkFirst(written: WrittenObject, firsts: Map<string, WrittenObject>, { faults, unread, disputed }: Findings): boolean {
  const ref = refIn(written.value);
  if (ref === undefined) return true;
  const first = firsts.get(describeRef(ref));
  if (first === undefined) {
    firsts.set(describeRef(ref), written);
    return true;
  }
  const path = ['metadata', 'name'];
  faults.add({ ...duplicate(ref, positionIn(first, path)), object: ref, path, position: positionIn(written, path) });
  if (JSON.stringify(first.value) !== JSON.stringify(written.value)) {
    disputed.add(describeRef(ref));
    unread.push(unreadObject(written.value, []));
  }
  return false;
}

/** The name of an object that may be faulty elsewhere. The older form counts as the ExternalService that it becomes. */
function refIn(value: Readonly<Record<string, unknown>>): ObjectRef | undefined {
  const { kind, metadata } = value;
  if (!isKind(kind) || !isMapping(metadata) || typeof metadata['name'] !== 'string') return undefined;
  const namespace = metadata['namespace'] ?? readerFor(kind, value['apiVersion']).defaultNamespace;
  return typeof namespace === 'string' ? { kind, namespace, name: metadata['name'] } : undefined;
}

/** The objects that were written, none where there is a fault. */
function readObject(written: WrittenObject, { faults, unread }: Findings, rootNamespace: string | undefined): readonly LocatedObject[] {
  const { value } = written;
  const object = refIn(value);
  const report = ({ at, lacks, ...fault }: FieldFault) => faults.add({ ...fault, ...(object !== undefined && { object }), position: positionIn(written, fault.path, at) });
  const { kind } = value;
  if (!isKind(kind)) {
    unread.push(unreadObject(value, []));
    report(unknownKind(kind));
    if (value['apiVersion'] === undefined) report({ code: 'field-missing', message: 'the object lacks the field "apiVersion"', path: ['apiVersion'] });
    return [];
  }
  const result = readerFor(kind, value['apiVersion']).read(value, rootNamespace);
  if (!result.ok) {
    result.faults.forEach(report);
    unread.push(unreadObject(value, result.faults.flatMap(fieldsAtFault)));
    return [];
  }
  if (written.document.text !== undefined) {
    unread.push(unreadText(written.document.text));
    return [];
  }
  return result.value.map(({ object, originOf }) => ({ object, written: value, positionOf: (path) => positionIn(written, originOf(path)) }));
}

function unknownKind(kind: unknown): FieldFault {
  const path = ['kind'];
  if (kind === undefined) return { code: 'field-missing', message: 'the object lacks the field "kind"', hint: `the kinds are ${kinds.join(', ')}`, path };
  if (typeof kind !== 'string') return { code: 'type-wrong', message: 'kind must be text', hint: `the kinds are ${kinds.join(', ')}`, path };
  const meant = suggest(kind, kinds);
  return { code: 'kind-unknown', message: `kind ${quoteText(kind)} is not known`, hint: `${meant === undefined ? '' : `did you mean "${meant}"? `}the kinds are ${kinds.join(', ')}`, path };
}

/** Drops what a conversion made twice in the same words, and names what it made in others than are there already. */
function withoutTwins(objects: readonly LocatedObject[], { faults, unread, disputed }: Findings): readonly LocatedObject[] {
  const kept = new Map<string, LocatedObject>();
  for (const located of objects) {
    const ref = refOf(located.object);
    const first = kept.get(describeRef(ref));
    if (first === undefined) kept.set(describeRef(ref), located);
    else if (renderObject(first.object) !== renderObject(located.object)) {
      const path = ['metadata', 'name'];
      faults.add({ ...duplicate(ref, first.positionOf(path)), object: ref, path, position: located.positionOf(path) });
      disputed.add(describeRef(ref));
      unread.push(unreadText(renderObject(located.object)));
    }
  }
  return [...kept.values()];
}

function duplicate(ref: ObjectRef, first: Position) {
  return { code: 'object-duplicate', message: `${describeRef(ref)} is already there at ${first.file}:${first.line}:${first.column}`, hint: 'keep one of them' } as const;
}
