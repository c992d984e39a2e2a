/** Container images without a registry: layouts of OCI in an archive, as `ctr images import` takes them. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, createReadStream, cpSync, mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** https://github.com/opencontainers/image-spec/blob/main/config.md */
export interface ImageConfig {
  readonly Cmd?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
}

/** Writes the archive `FOLDER.tar` of an image of one layer, which is what lies in `FOLDER/root`. */
async function writeImage(folder: string, name: string, config: ImageConfig): Promise<string> {
  const layout = join(folder, 'layout');
  const blobs = join(layout, 'blobs/sha256');
  mkdirSync(blobs, { recursive: true });

  async function keep(path: string, mediaType: string): Promise<{ readonly mediaType: string; readonly digest: string; readonly size: number }> {
    const hash = createHash('sha256');
    await pipeline(createReadStream(path), hash);
    const digest = hash.digest('hex');
    const { size } = await stat(path);
    renameSync(path, join(blobs, digest));
    return { mediaType, digest: `sha256:${digest}`, size };
  }
  async function keepJson(value: object, mediaType: string): ReturnType<typeof keep> {
    const path = join(folder, 'json');
    writeFileSync(path, JSON.stringify(value));
    return await keep(path, mediaType);
  }

  await execute('tar', ['--create', '--file', join(folder, 'layer'), '--numeric-owner', '--owner=0', '--group=0', '-C', join(folder, 'root'), '.']);
  const layer = await keep(join(folder, 'layer'), 'application/vnd.oci.image.layer.v1.tar');
  const description = await keepJson({ architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux', config, rootfs: { type: 'layers', diff_ids: [layer.digest] } }, 'application/vnd.oci.image.config.v1+json');
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await keepJson({ schemaVersion: 2, mediaType, config: description, layers: [layer] }, mediaType);
  writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations: { 'io.containerd.image.name': `docker.io/library/${name}` } }] }));
  writeFileSync(join(layout, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  const archive = `${folder}.tar`;
  await execute('tar', ['--create', '--file', archive, '-C', layout, '.']);
  return archive;
}

/** Copies a program of this machine with the libraries that it is linked with, each to where it is here, or the program to `path`. */
async function copyProgram(root: string, program: string, path = program): Promise<void> {
  const { stdout } = await execute('ldd', [program]);
  const libraries = stdout.match(/\/\S+/g) ?? [];
  for (const [from, to] of [[program, path], ...libraries.map((library) => [library, library])] as [string, string][]) {
    mkdirSync(dirname(join(root, to)), { recursive: true });
    copyFileSync(from, join(root, to));
  }
}

export const toolsImage = 'sallyport-tools:1';

/** What workloads of tests run: a shell and curl. By itself it sleeps, and so does as a pod's sandbox. */
export async function writeToolsImage(folder: string, curl: string): Promise<string> {
  for (const program of ['/bin/sh', '/bin/cat', '/bin/sleep', curl]) await copyProgram(join(folder, 'root'), program);
  return await writeImage(folder, toolsImage, { Cmd: ['/bin/sleep', 'infinity'], Env: ['PATH=/usr/bin:/bin'] });
}

const checkout = fileURLToPath(new URL('../../../', import.meta.url));

/**
 * Our own image, from this checkout: its files as the stage `application` of Containerfile puts them together, of dependencies that are
 * installed already; on a base of Node and `env`; and how it is run as Containerfile says.
 */
export async function writeSallyportImage(folder: string, name: string): Promise<string> {
  const root = join(folder, 'root');
  const application = join(root, 'application');
  await copyProgram(root, process.execPath, '/usr/local/bin/node');
  await copyProgram(root, '/usr/bin/env');
  mkdirSync(application, { recursive: true });
  const { files } = JSON.parse(readFileSync(join(checkout, 'package.json'), 'utf8')) as { readonly files: readonly string[] };
  for (const file of ['package.json', ...files.filter((each) => each !== 'dist')]) cpSync(join(checkout, file), join(application, file), { recursive: true });
  await execute(process.execPath, [join(checkout, 'node_modules/typescript/bin/tsc'), '--project', join(checkout, 'tsconfig.build.json'), '--noCheck', '--declaration', 'false', '--sourceMap', 'false', '--outDir', join(application, 'dist')]);
  const { stdout } = await execute('npm', ['ls', '--omit=dev', '--omit=optional', '--all', '--parseable'], { cwd: checkout });
  const [, ...folders] = stdout.trimEnd().split('\n');
  await execute('cp', ['--recursive', '--parents', ...folders.map((path) => path.slice(checkout.length)), application], { cwd: checkout });
  mkdirSync(join(application, 'command'));
  symlinkSync('../bin/sallyport.js', join(application, 'command/sallyport'));
  chmodSync(join(application, 'bin/sallyport.js'), 0o755);
  return await writeImage(folder, name, configOf(readFileSync(join(checkout, 'Containerfile'), 'utf8')));
}

/** What the last stage says, on a base with the usual PATH. */
function configOf(containerfile: string): ImageConfig {
  const lastStage = containerfile.slice(containerfile.lastIndexOf('\nFROM '));
  const of = (instruction: string): string => new RegExp(`^${instruction} (.*)$`, 'm').exec(lastStage)![1]!;
  return {
    Entrypoint: JSON.parse(of('ENTRYPOINT')) as string[],
    Env: [of('ENV').replace('${PATH}', '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin')],
    User: of('USER'),
  };
}
