/** What every client does at every server, the files that it does it with, and how it is seen that it was done. */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';

export const operations = ['list', 'download', 'resume a download', 'upload', 'resume an upload', 'download 20 small files', 'upload 20 small files'] as const;
export type Operation = (typeof operations)[number];

/** The names of the small files. */
export const smallFiles: readonly string[] = Array.from({ length: 20 }, (_, index) => `small-${index}.txt`);
/** How much of the report the server has already where its upload is resumed. */
export const reportKept = 200_000;

const statement = randomBytes(1_000_000);
const report = randomBytes(700_000);
const statementKept = 300_000;
/** A name that no client is told, so that it is said only where it is listed. */
const listedOnly = 'listed-only.txt';

/** What a server has for all clients, beside `upload`. */
export async function fillServer(directory: string): Promise<void> {
  await writeFile(join(directory, 'statement.bin'), statement);
  await writeFile(join(directory, listedOnly), '');
  await writeSmallFiles(join(directory, 'many'), 'statement');
}

/** What a client finds where it runs, in the empty directory `local`; and what the server has for it alone and lets it write, in `remote`. */
export async function fillCell({ local, remote }: CellFiles): Promise<void> {
  await mkdir(join(local, 'back'));
  await writeFile(join(local, 'report.bin'), report);
  await writeFile(join(local, 'report-rest.bin'), report.subarray(reportKept));
  await writeFile(join(local, 'resumed.bin'), statement.subarray(0, statementKept));
  await writeSmallFiles(join(local, 'many'), 'report');
  await mkdir(join(remote, 'many'), { recursive: true });
  await writeFile(join(remote, 'resumed.bin'), report.subarray(0, reportKept));
  // Whoever the server serves as may write there.
  for (const path of [remote, join(remote, 'many')]) await chmod(path, 0o777);
  await chmod(join(remote, 'resumed.bin'), 0o666);
}

export interface CellFiles {
  readonly local: string;
  readonly remote: string;
}

/** @param output all that the client said */
export async function isDone(operation: Operation, { local, remote }: CellFiles, output: string): Promise<boolean> {
  switch (operation) {
    case 'list':
      return output.includes(listedOnly);
    case 'download':
      return await holds(join(local, 'got.bin'), statement);
    case 'resume a download':
      return await holds(join(local, 'resumed.bin'), statement);
    case 'upload':
      return await holds(join(remote, 'report.bin'), report);
    case 'resume an upload':
      return await holds(join(remote, 'resumed.bin'), report);
    case 'download 20 small files':
      return await holdsSmallFiles(join(local, 'back'), 'statement');
    case 'upload 20 small files':
      return await holdsSmallFiles(join(remote, 'many'), 'report');
  }
}

const bigBytes = 1_000_000_000;

/** Writes a file that no two parts of are alike. @returns its hash */
export async function writeBigFile(file: string): Promise<string> {
  const piece = Buffer.alloc(1_000_000);
  const key = randomBytes(16);
  const cipher = createCipheriv('aes-128-ctr', key, key);
  await writeFile(file, Array.from({ length: bigBytes / piece.length }).values().map(() => cipher.update(piece)));
  return await hashOf(file);
}

export async function hashOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file, { highWaterMark: 1_048_576 }), hash);
  return hash.digest('hex');
}

async function writeSmallFiles(directory: string, of: string): Promise<void> {
  await mkdir(directory);
  await Promise.all(smallFiles.map((name) => writeFile(join(directory, name), `${of} ${name}`)));
}

async function holdsSmallFiles(directory: string, of: string): Promise<boolean> {
  const held = await Promise.all(smallFiles.map((name) => holds(join(directory, name), Buffer.from(`${of} ${name}`))));
  return held.every(Boolean);
}

/** A file that is not there holds nothing. */
async function holds(file: string, content: Buffer): Promise<boolean> {
  const found = await readFile(file).catch((error: unknown) => (error instanceof Error && 'code' in error && error.code === 'ENOENT' ? undefined : Promise.reject(error as Error)));
  return found?.equals(content) ?? false;
}
