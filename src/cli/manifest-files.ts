/** Reads what `-f` names: files, folders (every .yaml, .yml and .json, in name order, subfolders too) and `-` for stdin. */
import { readdirSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { ManifestSource } from '../api/admin.ts';
import { SallyportError } from '../core/errors.ts';
import { readFile, type CliContext } from './context.ts';

const extensions = new Set(['.yaml', '.yml', '.json']);
/** The same bound as for a file of a manifest reader's input: what is larger is refused before it is read whole. */
const stdinBytesMax = 16 * 1024 * 1024;

export async function readManifests(context: CliContext, paths: readonly string[]): Promise<readonly ManifestSource[]> {
  if (paths.length === 0) throw new SallyportError('usage', 'no manifest is named', { hint: 'name a file, a folder or "-" with -f' });
  const sources: ManifestSource[] = [];
  for (const path of paths) {
    if (path === '-') sources.push({ file: '(standard input)', text: await readStdin(context) });
    else for (const file of filesOf(path)) sources.push({ file, text: readFile(file) });
  }
  return sources;
}

async function readStdin(context: CliContext): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of context.stdin) {
    bytes += chunk.length;
    if (bytes > stdinBytesMax) throw new SallyportError('request-too-large', `standard input is larger than ${stdinBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function filesOf(path: string): readonly string[] {
  let isDirectory: boolean;
  try {
    const stats = statSync(path);
    isDirectory = stats.isDirectory();
    if (!isDirectory && stats.size > stdinBytesMax) throw new SallyportError('request-too-large', `${JSON.stringify(path)} is larger than ${stdinBytesMax} bytes`, { place: path });
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('file-unreadable', `${JSON.stringify(path)} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'error'})`, { place: path, cause });
  }
  if (!isDirectory) return [path];
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => extensions.has(extname(name)))
    .sort()
    .map((name) => join(path, name));
  if (files.length === 0) throw new SallyportError('file-unreadable', `${JSON.stringify(path)} holds no .yaml, .yml or .json file`, { place: path });
  return files;
}
