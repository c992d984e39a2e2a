/** Peers that Python's package index carries, where Debian has none, or not the version. */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { cache, fill, findProgram, isProgram, run, type Peer } from './peer.ts';

/**
 * A program of packages, `NAME==VERSION` each, in a virtual environment of their own; `path` is where it is within. The environment
 * variable `variable` names another.
 */
export function pypi(program: string, packages: readonly [string, ...string[]], path: string, variable?: string): Peer {
  const environment = join(cache, packages[0].replace('==', '-'));
  return {
    program,
    debianPackages: ['python3-venv'],
    find: () => {
      const named = variable === undefined ? undefined : process.env[variable];
      return [...(named === undefined ? [] : [named]), ...globSync(join(environment, path))].find(isProgram) ?? findProgram(program);
    },
    command: `python3 -m venv ${environment} && ${environment}/bin/pip install ${packages.join(' ')}`,
    make: () =>
      fill(environment, (partial) => {
        run(['python3', '-m', 'venv', partial]);
        run([join(partial, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', ...packages]);
      }),
  };
}
