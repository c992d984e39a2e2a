/**
 * Several files that belong together, replaced as one. Kubernetes' way with mounted secrets: the files live in a directory
 * per generation, `..data` is a symbolic link to the current one, and each visible name is a link through `..data`. One
 * rename switches all of them; a reader that resolves `..data` once sees one generation only.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, readlink, realpath, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';

const currentLink = '..data';
const generationPrefix = '..generation-';

/** File names to contents. */
export type FileSet = Readonly<Record<string, string>>;

/**
 * Makes `files` the content of `directory`, durably: after a crash at any moment the old or the new set is there, whole.
 * The directory is made where it is missing (0700); the files are 0600. One writer at a time.
 */
export async function replaceFileSet(directory: string, files: FileSet): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const generation = `${generationPrefix}${randomBytes(8).toString('hex')}`;
  await mkdir(join(directory, generation), { mode: 0o700 });
  for (const [name, content] of Object.entries(files)) await writeDurably(join(directory, generation, name), content);
  await syncDirectory(join(directory, generation));

  // The names first: they lead nowhere until the switch, and then all of them are there at once.
  for (const name of Object.keys(files)) await link(directory, name, join(currentLink, name));
  await link(directory, currentLink, generation);
  await syncDirectory(directory);

  for (const name of await readdir(directory)) {
    if (name.startsWith(generationPrefix) && name !== generation) await rm(join(directory, name), { recursive: true, force: true });
  }
}

/** The named files of one generation, or undefined where the directory holds none. */
export async function readFileSet<Name extends string>(directory: string, names: readonly Name[]): Promise<Readonly<Record<Name, string>> | undefined> {
  let generation: string;
  try {
    generation = await realpath(join(directory, currentLink));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const contents = await Promise.all(names.map(async (name) => [name, await readFile(join(generation, name), 'utf8')] as const));
  return Object.fromEntries(contents) as Record<Name, string>;
}

/** Makes `name` a symbolic link to `target`, in place of whatever has that name. */
async function link(directory: string, name: string, target: string): Promise<void> {
  const path = join(directory, name);
  try {
    if ((await readlink(path)) === target) return;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== 'ENOENT' && code !== 'EINVAL') throw error; // EINVAL: a plain file
  }
  await rm(`${path}.next`, { force: true });
  await symlink(target, `${path}.next`);
  await rename(`${path}.next`, path);
}

async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
