/** Files whose bytes are on the disk, and not only in the page cache, once a call has returned. */
import { mkdir, open, rename, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A file that only grows. Its calls must not overlap. */
export interface DurableFile {
  /** Its length, all of it durable. */
  readonly bytes: number;
  /** Resolves once the bytes are durable. After a failure nothing is known of the end of the file; do not go on. */
  append(content: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** Opens an existing file to append after its first `bytes` bytes; what follows them is cut off. */
export type OpenDurableFile = (path: string, bytes: number) => Promise<DurableFile>;

export const openDurableFile: OpenDurableFile = async (path, bytes) => {
  const handle = await open(path, 'r+');
  let length = bytes;
  await handle.truncate(bytes);
  await handle.sync(); // what was read at start may be in the page cache only, if the writer was killed before its fdatasync
  return {
    get bytes() {
      return length;
    },
    append: async (content) => {
      await writeFully(handle, content, length);
      await handle.datasync(); // writes the new length too: fdatasync(2)
      length += content.length;
    },
    close: () => handle.close(),
  };
};

async function writeFully(handle: FileHandle, content: Uint8Array, position: number): Promise<void> {
  for (let written = 0; written < content.length; ) {
    const { bytesWritten } = await handle.write(content, written, content.length - written, position + written);
    written += bytesWritten;
  }
}

/** A rename is durable only when its directory is: fsync(2), notes. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a directory of the store, readable by its owner only, with whatever is missing above it. */
export async function makeDirectory(directory: string): Promise<void> {
  const firstMade = await mkdir(directory, { recursive: true, mode: 0o700 });
  if (firstMade !== undefined) await syncDirectory(dirname(firstMade));
}

/** What a file's name ends in while it is being made; one that a crash left is worth nothing. */
export const unfinishedSuffix = '.new';

/** Creates or replaces a file as a whole: a crash leaves the old one or the new one, never a part. Returns its length. */
export async function createDurably(path: string, content: Content): Promise<number> {
  const bytes = await writeDurably(path + unfinishedSuffix, content);
  await rename(path + unfinishedSuffix, path);
  await syncDirectory(dirname(path));
  return bytes;
}

export type Content = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Writes a file, readable by its owner only; its content is durable, its name is not yet. Returns its length. */
export async function writeDurably(path: string, content: Content): Promise<number> {
  const handle = await open(path, 'w', 0o600);
  let bytes = 0;
  try {
    for await (const chunk of content) {
      await writeFully(handle, chunk, bytes);
      bytes += chunk.length;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return bytes;
}
