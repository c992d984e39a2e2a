/**
 * YAML (1.2, and so JSON) into plain values that know where they stood. Every limit is checked before the cost it
 * limits: size before reading, nesting and tokens while reading, aliases before they are followed.
 */
import { Composer, isAlias, isMap, isScalar, isSeq, LineCounter, Lexer, Parser, type Document, type Node } from 'yaml';
import type { FieldPath } from '../errors.ts';
import { aliasedValuesMax, fileBytesMax, fileTokensMax, nestingMax, yamlFaultsPerDocumentMax, type FaultList, type ManifestFaultCode } from './manifest-faults.ts';
import { unreadFile, unreadText, type UnreadDocument } from './unread-document.ts';

/** One file, or standard input. */
export interface ManifestSource {
  readonly file: string;
  readonly text: string;
}

/** Lines and columns count from 1, columns in UTF-16 units. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** A document's value: strings, numbers, booleans, null, arrays, and objects without prototype. */
export interface ManifestDocument {
  readonly value: unknown;
  /** Set where the value leaves out some of what was written, since a key is there twice: what was written. */
  readonly text?: string;
  /**
   * Where a field stands, or the nearest one above it that exists. A scalar or a list entry is where it begins; of a
   * list or mapping it is the key, as it is for everything with `key`.
   */
  positionOf(path: FieldPath, at?: 'key'): Position;
}

/** Reads the documents of a file that are sound; the faults of the others go to `faults`, their texts or that of the whole file to `unread`. Empty documents are left out. */
export function* readDocuments(source: ManifestSource, faults: FaultList, unread: UnreadDocument[]): Generator<ManifestDocument, void> {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { file: source.file, line, column: col };
  };
  for (const document of composeDocuments(source, positionAt, lines, faults, unread)) {
    const text = source.text.slice(document.range[0], document.range[2]);
    const contents: Node | null = document.contents;
    const broken = [...document.errors, ...document.warnings]; // a warning is an unknown tag or directive: not what the user meant either
    for (const { pos, message } of broken.slice(0, yamlFaultsPerDocumentMax)) {
      faults.add({ code: 'yaml-invalid', message: `the YAML cannot be read: ${lowerFirst(message)}`, position: positionAt(pos[0]) });
    }
    if (broken.length > 0) unread.push(unreadText(text));
    if (broken.length > 0 || contents === null || (isScalar(contents) && contents.value === null)) continue;
    const before = faults.count;
    const value = plainValue(contents, (code, message, hint, node) => faults.add({ code, message, ...(hint !== undefined && { hint }), position: positionAt(startOf(node)) }));
    if (value.ok) yield { value: value.value, ...(faults.count > before && { text }), positionOf: (path, at) => positionAt(offsetOf(contents, path, at)) };
    else unread.push(unreadText(text));
  }
}

function* composeDocuments(source: ManifestSource, positionAt: (offset: number) => Position, lines: LineCounter, faults: FaultList, unread: UnreadDocument[]): Generator<Document.Parsed, void> {
  const { text, file } = source;
  if (text.length > fileBytesMax || Buffer.byteLength(text) > fileBytesMax) {
    faults.add({ code: 'file-too-large', message: `the file has more than ${fileBytesMax} bytes (${fileBytesMax / 1024 / 1024} MiB)`, hint: 'split it into several files', position: { file, line: 1, column: 1 } });
    unread.push(unreadFile);
    return;
  }
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({ schema: 'core', resolveKnownTags: false, prettyErrors: false, uniqueKeys: false }); // repeated keys are found below, in linear time
  let tokens = 0;
  for (const token of new Lexer().lex(text)) {
    tokens += 1;
    for (const part of parser.next(token)) yield* composer.next(part);
    // The stack holds the document, then one entry a level, then perhaps a scalar.
    const levels = parser.stack.length - (isCollection(parser.stack.at(-1)?.type) ? 1 : 2);
    if (tokens > fileTokensMax) {
      faults.add({ code: 'file-too-large', message: `the file has more than ${fileTokensMax} words and signs`, hint: 'split it into several files', position: positionAt(parser.offset) });
    } else if (levels > nestingMax) {
      faults.add({ code: 'nesting-too-deep', message: `lists and mappings are nested more than ${nestingMax} levels deep`, hint: 'no object needs more than 10 levels', position: positionAt(parser.offset - token.length) });
    } else continue;
    unread.push(unreadText(text));
    yield* composer.end(); // the document before
    return;
  }
  for (const part of parser.end()) yield* composer.next(part);
  yield* composer.end(true, text.length);
}

function isCollection(type: string | undefined): boolean {
  return type === 'block-map' || type === 'block-seq' || type === 'flow-collection';
}

type Refuse = (code: ManifestFaultCode, message: string, hint: string | undefined, node: Node) => void;
type Plain = { readonly ok: true; readonly value: unknown } | { readonly ok: false };

/** Converts a node, following aliases. Recursive within `nestingMax`. Not ok where the value would not be what was written. */
function plainValue(root: Node, report: Refuse): Plain {
  const anchors = new Map<string, { readonly value: unknown; readonly size: number }>();
  let refusals = 0;
  let aliasedValues = 0;
  const refuse: Refuse = (...fault) => {
    refusals += 1;
    report(...fault);
  };

  const convert = (node: Node): { readonly value: unknown; readonly size: number } => {
    if (isAlias(node)) {
      const target = anchors.get(node.source); // only what was finished before: an alias within its own anchor finds nothing
      if (target === undefined) refuse('yaml-invalid', `alias "*${node.source}" has no anchor "&${node.source}" before it`, undefined, node);
      else if (aliasedValues + target.size > aliasedValuesMax) {
        if (aliasedValues <= aliasedValuesMax) refuse('yaml-aliases-excessive', `the aliases of the document stand for more than ${aliasedValuesMax} values`, 'write the values out', node);
        aliasedValues = Infinity;
      } else {
        aliasedValues += target.size;
        return target;
      }
      return { value: null, size: 1 };
    }
    const converted = isMap(node) ? mapping(node) : isSeq(node) ? list(node) : { value: scalar(node), size: 1 };
    if (node.anchor !== undefined) anchors.set(node.anchor, converted);
    return converted;
  };

  const scalar = (node: Node): unknown => {
    const value = isScalar(node) ? node.value : undefined;
    if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
    refuse('yaml-invalid', 'this kind of YAML value has no meaning here', 'use text, numbers, true, false, lists and mappings', node);
    return null;
  };

  const list = (node: { readonly items: readonly unknown[] }) => {
    let size = 1;
    const value = node.items.map((item) => {
      const converted = convert(item as Node); // a composed list holds nodes
      size += converted.size;
      return converted.value;
    });
    return { value, size };
  };

  const mapping = (node: { readonly items: readonly { readonly key: unknown; readonly value: unknown }[] }) => {
    const value = Object.create(null) as Record<string, unknown>; // no prototype: "__proto__" is a key like any other
    const keys = new Set<string>();
    let size = 1;
    for (const pair of node.items) {
      const keyNode = pair.key as Node; // a composed mapping holds nodes, and null for a missing value
      const key = keyText(keyNode);
      if (key === undefined) {
        refuse('yaml-invalid', 'a key must be text, not a list, a mapping or an alias', undefined, keyNode);
        continue;
      }
      if (keys.has(key)) report('yaml-key-duplicate', `key ${JSON.stringify(key)} is there twice`, 'keep one of them', keyNode);
      keys.add(key);
      const converted = pair.value === null ? { value: null, size: 1 } : convert(pair.value as Node);
      value[key] = converted.value;
      size += converted.size;
    }
    return { value, size };
  };

  const { value } = convert(root);
  return refusals === 0 ? { ok: true, value } : { ok: false };
}

/** A key as text: numbers and the like as they are written. */
function keyText(key: unknown): string | undefined {
  if (!isScalar(key)) return undefined;
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value));
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function offsetOf(root: Node, path: FieldPath, at: 'key' | undefined): number {
  let node: unknown = root;
  let offset = startOf(root);
  for (const [depth, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => keyText(key) === String(step));
      if (pair === undefined) break;
      const { key, value } = pair as { readonly key: Node; readonly value: Node | null };
      const onKey = !isScalar(value) || value.value === null || (at === 'key' && depth === path.length - 1);
      offset = startOf(onKey ? key : value);
      node = value;
    } else if (isSeq(node)) {
      const item = node.items[Number(step)] as Node | undefined;
      if (item === undefined) break;
      offset = startOf(item);
      node = item;
    } else break;
  }
  return offset;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
