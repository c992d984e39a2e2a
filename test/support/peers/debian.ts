/** Peers that Debian brings. */
import { chmodSync, globSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { cache, fill, findProgram, isProgram, run, type Peer } from './peer.ts';

/** A program of an installed package. */
export function debian(program: string, debianPackage = program): Peer {
  return { program, debianPackages: [debianPackage], find: () => findProgram(program) };
}

/**
 * A program that is not to be installed, since its package would start a server or drives out another: it is taken out of the package,
 * with the libraries that it brings beside those of every system. `path` is where it is within.
 */
export function extracted(packages: readonly [string, ...string[]], path: string): Peer {
  const folder = join(cache, `debian-${packages[0]}`);
  return {
    program: path.slice(path.lastIndexOf('/') + 1),
    debianPackages: [],
    find: () => [join(folder, path)].find(isProgram),
    command: `mkdir -p ${folder} && cd ${folder} && apt-get download ${packages.join(' ')} && for each in *.deb; do dpkg -x $each .; done`,
    make: () =>
      fill(folder, (partial) => {
        chmodSync(partial, 0o777); // apt downloads as a user of its own
        run(['apt-get', 'download', '-qq', ...packages], { directory: partial });
        for (const name of globSync('*.deb', { cwd: partial })) run(['dpkg', '-x', name, '.'], { directory: partial });
        chmodSync(partial, 0o755);
      }),
  };
}

/** Libraries that came out of the same packages, for the environment that an extracted program is run with. */
export function librariesOf(program: string): Readonly<Record<string, string>> {
  const root = join(program, '../../..');
  return { LD_LIBRARY_PATH: globSync(['lib/*-linux-gnu*', 'usr/lib/*-linux-gnu*', 'usr/lib/*-linux-gnu*/systemd'], { cwd: root }).map((folder) => join(root, folder)).join(delimiter) };
}
