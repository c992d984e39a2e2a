/** What guides tell people to type. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.ts';
import { parseManifests } from '../../src/core/manifest/manifest.ts';

const root = new URL('../../', import.meta.url).pathname;
/** The reference of the command line has the examples of all help texts. */
const pages = ['README.md', 'docs/reference/cli.md', ...globSync('docs/guides/*.md', { cwd: root }).sort()];

interface Block {
  readonly language: string;
  readonly text: string;
}

const blocksOf = (page: string): readonly Block[] => [...readFileSync(`${root}${page}`, 'utf8').matchAll(/^```([a-z]*)\n([^]*?)^```$/gm)].map(([, language, text]) => ({ language: language!, text: text! }));

/** Commands of ours, with what the shell would make of each: no comments, nothing behind a pipe or a redirection, no quotes. Not where it says how one is written. */
function commandsIn(text: string): readonly (readonly string[])[] {
  return text.replaceAll('\\\n', ' ').split('\n').flatMap((line) => {
    const [, typed] = /(?:^\s*|\| |&& )(?:kubectl )?sallyport ([^|>&]*)/.exec(line.replace(/(^|\s)#.*$/, '')) ?? [];
    return typed === undefined || /\[[a-z<-]/.test(typed) ? [] : [(typed.match(/'[^']*'|"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll(/^['"]|['"]$/g, '')).filter((word) => word !== '...')];
  });
}

/** What is wrong with a command that somebody types; undefined for nothing. */
function faultOf(words: readonly string[]): string | undefined {
  let command: Command = createProgram({ env: {}, stdin: process.stdin, out: () => undefined, say: () => undefined, setExitStatus: () => undefined, interruption: () => new AbortController().signal });
  let rest = words;
  while (command.commands.length > 0 && command.registeredArguments.length === 0) {
    const next = command.commands.find((each) => each.name() === rest[0]);
    if (next === undefined) return rest[0]?.startsWith('-') === true ? undefined : `there is no command "${rest[0] ?? ''}"`;
    command = next;
    rest = rest.slice(1);
  }
  try {
    const { operands, unknown } = command.exitOverride().parseOptions([...rest]);
    if (unknown.length > 0) return `there is no option "${unknown[0]}"`;
    const required = command.registeredArguments.filter(({ required }) => required).length;
    if (operands.length < required) return `${required} arguments are needed`;
    const missing = command.options.find((option) => option.mandatory && command.getOptionValue(option.attributeName()) === undefined);
    return missing === undefined ? undefined : `option "${missing.long}" is needed`;
  } catch (error) {
    return (error as Error).message;
  }
}

describe('what guides tell people to type', () => {
  for (const page of pages) {
    it(`is taken by the command line: ${page}`, () => {
      const commands = blocksOf(page).filter(({ language }) => language === '').flatMap(({ text }) => commandsIn(text));
      assert.deepEqual(commands.map((words) => ({ typed: words.join(' '), fault: faultOf(words) })).filter(({ fault }) => fault !== undefined), []);
    });

    it(`is valid where it is a manifest: ${page}`, () => {
      const manifests = blocksOf(page).filter(({ language, text }) => language === 'yaml' && /^apiVersion: (sallyport\.dev|externalservice)/m.test(text));
      for (const { text } of manifests) assert.deepEqual(parseManifests([{ file: page, text }]).faults(), [], text);
    });
  }

  it('is found, and what is no command is told', () => {
    assert.deepEqual(commandsIn('cat x | sallyport apply -f - > y   # why\n$ ls\nkubectl sallyport whois 10.0.0.1:1 "a b"'), [['apply', '-f', '-'], ['whois', '10.0.0.1:1', 'a b']]);
    assert.deepEqual([['ca', 'nothing'], ['serve', '--nothing'], ['whois'], ['render', 'firewall', '-o', 'asa'], ['render', 'bigip']].map((words) => faultOf(words) === undefined), [false, false, false, false, false]);
  });
});
