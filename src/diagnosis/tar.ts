/** Archives as tar reads them: POSIX ustar, https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06 */
import { invariant } from '../core/errors.ts';

export interface ArchivedFile {
  /** Of ASCII, relative; at most 100 bytes after the last slash, and 155 before. */
  readonly path: string;
  readonly text: string;
}

const blockBytes = 512;

/** @param mtimeMs of all files, milliseconds since the epoch */
export function tarOf(files: readonly ArchivedFile[], mtimeMs: number): Buffer {
  const entries = files.flatMap(({ path, text }) => {
    const content = Buffer.from(text, 'utf8');
    return [headerOf(path, content.length, mtimeMs), content, Buffer.alloc(paddingOf(content.length))];
  });
  return Buffer.concat([...entries, Buffer.alloc(2 * blockBytes)]);
}

const paddingOf = (bytes: number): number => (blockBytes - (bytes % blockBytes)) % blockBytes;

function headerOf(path: string, size: number, mtimeMs: number): Buffer {
  const slash = path.lastIndexOf('/');
  const [folder, name] = [path.slice(0, Math.max(slash, 0)), path.slice(slash + 1)];
  invariant(Buffer.byteLength(name) <= 100 && Buffer.byteLength(folder) <= 155, `the path ${path} has its place in a header`);
  const header = Buffer.alloc(blockBytes);
  const octal = (number: number, digits: number): string => `${number.toString(8).padStart(digits, '0')}\0`;
  header.write(name, 0);
  header.write(octal(0o600, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(size, 11), 124);
  header.write(octal(Math.floor(mtimeMs / 1000), 11), 136);
  header.write(' '.repeat(8), 148); // of its own sum, while that is made
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  header.write(folder, 345);
  header.write(`${header.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}
