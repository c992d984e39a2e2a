/** The chain of a ledger, followed line by line. */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createDurably } from './durable-file.ts';
import { carriedHash, followsIn, parseHeader, placeOf, type ChainHash } from './ledger-line.ts';

/**
 * The end of a chain. A chain alone cannot show that its last lines were cut off: whoever must prove that keeps a head
 * where the ledger's keeper cannot reach it.
 */
export interface ChainHead {
  /** Of the last record; one less than the first where there is none. */
  readonly sequence: number;
  readonly hash: ChainHash;
}

/** `changed`: the content of a line; `misplaced`: records were dropped, inserted or reordered here; `cut-off`: the end is missing. */
export type ChainProblem = 'changed' | 'misplaced' | 'cut-off';

export type ChainStep = { readonly ok: true; readonly head: ChainHead } | { readonly ok: false; readonly problem: ChainProblem; readonly message: string };

/** Takes a record's line. */
export function followRecord({ sequence, hash }: ChainHead, line: Buffer): ChainStep {
  const expected = sequence + 1;
  const found = placeOf(line)?.sequence;
  if (found === undefined) return { ok: false, problem: 'changed', message: `where record ${expected} should stand is something else` };
  if (found !== expected) return { ok: false, problem: 'misplaced', message: `where record ${expected} should stand is record ${found}` };
  if (!followsIn(hash, line)) return { ok: false, problem: 'changed', message: `record ${expected} does not match its hash: it was changed, or does not follow the record before it` };
  return { ok: true, head: { sequence: expected, hash: carriedHash(line)! } };
}

/** Takes a segment's first line. `before` is undefined for the first segment that is present. */
export function followHeader(before: ChainHead | undefined, segment: { readonly path: string; readonly firstSequence: number }, line: Buffer): ChainStep {
  const name = basename(segment.path);
  const header = parseHeader(line);
  if (header === undefined || header.firstSequence !== segment.firstSequence) return { ok: false, problem: 'changed', message: `the first line of ${name} was changed, or belongs to another segment` };
  const missing = before === undefined ? 0 : header.firstSequence - before.sequence - 1;
  if (missing !== 0) return { ok: false, problem: 'misplaced', message: missing > 0 ? `${missing} records are missing before ${name}` : `${name} begins at record ${header.firstSequence}, which the segment before it holds too` };
  if (before !== undefined && header.previous !== before.hash) return { ok: false, problem: 'changed', message: `${name} does not continue the segment before it` };
  return { ok: true, head: { sequence: header.firstSequence - 1, hash: carriedHash(line)! } };
}

/** Holds an end that was written down against the one that was found. */
export function followHead(found: ChainHead, known: ChainHead): ChainStep {
  if (known.sequence > found.sequence) return { ok: false, problem: 'cut-off', message: `the ledger ends with record ${found.sequence}, but had ${known.sequence}` };
  if (known.sequence === found.sequence && known.hash !== found.hash) return { ok: false, problem: 'changed', message: `record ${known.sequence} is not the one that the ledger ended with` };
  return { ok: true, head: found };
}

/** `ledger.head`: written when a segment or the ledger is closed. `ledger.cursor`: how far somebody else has it. */
export type HeadFile = 'ledger.head' | 'ledger.cursor';

/** The head that was written down, or undefined where there is none. */
export async function readHead(directory: string, file: HeadFile = 'ledger.head'): Promise<ChainHead | undefined> {
  const text = await readFile(join(directory, file), 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  });
  const match = /^\{"sequence":([0-9]{1,16}),"hash":"([0-9a-f]{64})"\}\n$/.exec(text ?? '');
  return match === null ? undefined : { sequence: Number(match[1]), hash: match[2] as ChainHash };
}

export async function writeHead(directory: string, { sequence, hash }: ChainHead, file: HeadFile = 'ledger.head'): Promise<void> {
  await createDurably(join(directory, file), [Buffer.from(`${JSON.stringify({ sequence, hash })}\n`)]);
}
