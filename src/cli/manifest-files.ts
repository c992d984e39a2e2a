/** Reads what `-f` names: files, folders (every .yaml, .yml and .json, in name order, subfolders too) and `-` for stdin. */
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { ManifestSource } from '../api/admin.ts';
import { SallyportError } from '../core/errors.ts';
import { fileBytesMax } from '../core/manifest/manifest-faults.ts';
import { errorCodeOf, type CliContext } from './context.ts';

const extensions = new Set(['.yaml', '.yml', '.json']);
/** One more than a manifest may have: enough for its reader to see that it is too large, and to name that among all other faults. */
const bytesReadMax = fileBytesMax + 1;

export async function readManifests(context: CliContext, paths: readonly string[]): Promise<readonly ManifestSource[]> {
  const sources: ManifestSource[] = [];
  for (const path of paths) {
    if (path === '-') sources.push({ file: '(standard input)', text: await readStart(context.stdin) });
    else for (const file of orUnreadable(path, () => filesAt(path))) sources.push({ file, text: orUnreadable(file, () => readStartOfFile(file)) });
  }
  return sources;
}

async function readStart(input: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of input) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= bytesReadMax) break;
  }
  return Buffer.concat(chunks).toString('utf8', 0, bytesReadMax);
}

function readStartOfFile(path: string): string {
  const file = openSync(path, 'r');
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    // In chunks, since a pipe or a /dev/fd/N of the shell does not know its size.
    for (;;) {
      const chunk = Buffer.allocUnsafe(Math.min(1 << 20, bytesReadMax - bytes));
      const got = readSync(file, chunk);
      if (got === 0) break;
      chunks.push(chunk.subarray(0, got));
      bytes += got;
      if (bytes === bytesReadMax) break;
    }
    return Buffer.concat(chunks).toString('utf8');
  } finally {
    closeSync(file);
  }
}

function filesAt(path: string): readonly string[] {
  if (!statSync(path).isDirectory()) return [path];
  const files = readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && extensions.has(extname(entry.name)))
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
  if (files.length === 0) throw new SallyportError('file-unreadable', `${JSON.stringify(path)} holds no .yaml, .yml or .json file`, { place: path });
  return files;
}

function orUnreadable<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('file-unreadable', `${JSON.stringify(path)} cannot be read (${errorCodeOf(cause)})`, { place: path, cause });
  }
}
