/** docs/reference/checks.md and analyses.md, written from the catalogues that the commands run. */
import { analyses } from '../../src/core/analysis/catalogue.ts';
import { checks } from '../../src/diagnosis/index.ts';

const again = (source: string): string => `This page is written from \`${source}\`; \`UPDATE_GOLDEN=1 npx mocha test/architecture/reference.test.ts\` writes it again.`;

export function checksPage(): string {
  const categories = Map.groupBy(checks, ({ category }) => category);
  return [
    '# Checks',
    '',
    'What `sallyport check` looks at, in its order. Each is `ok`, `FAILED`, a `warning`, or `skipped` where there is nothing to look at or you may not',
    'see it. A failure is exit status 1; a warning is none. What it does *not* do is change anything: what is tried is a dry run, and of',
    "Secrets no content is asked for.",
    ...[...categories].flatMap(([category, own]) => ['', `## ${category}`, ...own.flatMap(({ code, title, why, hint }) => ['', `### ${code}`, '', `${sentence(title)} ${why}`, '', `*What to do:* ${sentence(hint)}`])]),
    '',
    again('src/diagnosis/checks.ts'),
    '',
  ].join('\n');
}

export function analysesPage(): string {
  return [
    '# Analyses',
    '',
    'What `sallyport analyze` says of manifests, of a cluster, or of both together. Its catalogue is that of [faults](faults.md), and what follows:',
    '',
    '- `error`: a fault. An object of the cluster is not in force, or not as it says. Faults of the manifests that are given end the command with exit',
    '  status 2, as those of `sallyport validate` do.',
    '- `warning`: a warning of a build, or one of these: something is in force, and does not do what it says.',
    '- `info`: something does nothing, which may be as it is meant.',
    '',
    'Exit status 1 says that something was found which is as grave as `--fail-level`, by default `warning`. Each of these is sound: what it says is so',
    'in the plan that was built of what was looked at. Of files alone that is only what stands in them.',
    '',
    '| code | level | what it says | what to do |',
    '|---|---|---|---|',
    ...analyses.map(({ code, level, says, remedy }) => `| \`${code}\` | ${level} | ${says} | ${remedy} |`),
    '',
    again('src/core/analysis'),
    '',
  ].join('\n');
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
