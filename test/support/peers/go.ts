/**
 * Peers that are modules of Go. Versions and sums stand in `go.mod` and `go.sum` of a folder here, by which Go's client holds what it
 * fetches.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { cache, fill, findProgram, isProgram, run, type Peer } from './peer.ts';

const debianPackages = findProgram('go') === undefined ? ['golang-go'] : [];
const go = (): string => findProgram('go') ?? 'go';

interface Module {
  /** The folder here that names its version. */
  readonly pinnedIn: string;
  readonly name: string;
}

function versionOf({ pinnedIn, name }: Module): string {
  const [, version] = new RegExp(`${name} (v\\S+)`).exec(readFileSync(join(import.meta.dirname, pinnedIn, 'go.mod'), 'utf8'))!;
  return version!;
}

/** A folder of a module, as files. */
export function goFiles(what: string, module: Module, path: string): Peer {
  const folder = join(cache, `go-${module.name.replaceAll('/', '-')}-${versionOf(module)}`);
  const directory = join(import.meta.dirname, module.pinnedIn);
  return {
    program: what,
    debianPackages,
    find: () => [folder].find(existsSync),
    command: `(cd ${directory} && go mod download ${module.name} && mkdir -p ${folder} && cp -r --no-preserve=mode $(go list -m -f {{.Dir}} ${module.name})/${path}/. ${folder})`,
    make: () => {
      run([go(), 'mod', 'download', module.name], { directory });
      const source = execFileSync(go(), ['list', '-m', '-f', '{{.Dir}}', module.name], { cwd: directory, encoding: 'utf8' }).trim();
      fill(folder, (partial) => {
        cpSync(join(source, path), partial, { recursive: true });
        chmodSync(partial, 0o755); // a module's folders are read-only
      });
    },
  };
}

/** Programs of one module, built together, which takes minutes: a peer each. `flags` are those of `go build`. */
export function goPrograms<Name extends string>(module: Module, packages: Readonly<Record<Name, string>>, flags: (version: string) => readonly string[] = () => []): Readonly<Record<Name, Peer>> {
  const version = versionOf(module);
  const folder = join(cache, `go-${module.name.replaceAll('/', '-')}-${version}-programs`);
  const directory = join(import.meta.dirname, module.pinnedIn);
  const pathOf = (name: string): string => join(folder, name);
  const names = Object.keys(packages) as Name[];
  const build = (into: string, name: Name): [string, ...string[]] => [go(), 'build', '-trimpath', ...flags(version), '-o', join(into, name), packages[name]];
  const builds = names.map((name) => `CGO_ENABLED=0 ${build(folder, name).map((word) => (word.includes(' ') ? `'${word}'` : word)).join(' ')}`);
  return Object.fromEntries(
    names.map((name): [string, Peer] => [
      name,
      {
        program: name,
        debianPackages,
        find: () => [pathOf(name)].find(isProgram),
        command: `(cd ${directory} && mkdir -p ${folder} && ${builds.join(' && ')})`, // the same for all, so it is said once
        make: () => {
          if (names.every((each) => isProgram(pathOf(each)))) return; // with another one of them
          process.stderr.write(`building ${names.join(', ')} ${version}, which takes some minutes, once\n`);
          fill(folder, (partial) => {
            for (const each of names) run(build(partial, each), { directory, environment: { CGO_ENABLED: '0' } });
          });
        },
      },
    ]),
  ) as Record<Name, Peer>;
}
