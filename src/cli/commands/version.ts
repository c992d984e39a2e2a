import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { CliContext } from '../context.ts';

/** The package's version; `src` and `dist` lie equally deep, so one path serves both. */
export const version = (JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

export function addVersion(program: Command, context: CliContext): void {
  program
    .command('version')
    .summary('print the version')
    .action(() => context.out(`sallyport ${version} (node ${process.versions.node})`));
}
