import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { podSecurity } from '../../src/install/pod.ts';

const file = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const instructions = readFileSync(file('Containerfile'), 'utf8')
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/ *\\\n */g, ' ')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => /^([A-Z]+) (.*)$/.exec(line)!.slice(1) as [instruction: string, rest: string]);
const of = (wanted: string): readonly string[] => instructions.filter(([instruction]) => instruction === wanted).map(([, rest]) => rest);

describe('the image', () => {
  it('is built on what its arguments name, by short names that a registry of one\'s own may have', () => {
    const names = of('ARG').map((argument) => argument.split('=') as [string, string]);
    const stages = of('FROM').map((from) => from.split(' ')[0]!);
    for (const stage of stages) assert.ok(names.some(([name]) => stage === `\${${name}}`), stage);
    for (const [name, value] of names) assert.doesNotMatch(value, /\.[^/:]*\/|:latest$|^[^:$]*$/, name);
  });

  it('runs as whom pods say, without a shell', () => {
    assert.deepEqual(of('USER'), [`${podSecurity.runAsUser}:${podSecurity.runAsGroup}`]);
    const [, program] = JSON.parse(of('ENTRYPOINT')[0]!) as [string, string];
    assert.ok(existsSync(file(program.replace('/application/', ''))));
    const afterTheLastStage = instructions.slice(instructions.findLastIndex(([instruction]) => instruction === 'FROM'));
    assert.deepEqual(afterTheLastStage.filter(([instruction]) => instruction === 'RUN'), []);
  });

  it('is copied from stages that there are', () => {
    const stages = of('FROM').flatMap((from) => / AS (\w+)$/.exec(from)?.[1] ?? []);
    for (const [, stage] of of('COPY').flatMap((copy) => [...copy.matchAll(/--from=(\w+)/g)])) assert.ok(stages.includes(stage!), stage);
  });

  it('has in it nothing that is made anew, or secret', () => {
    const ignored = readFileSync(file('.containerignore'), 'utf8').split('\n');
    for (const line of [...readFileSync(file('.gitignore'), 'utf8').split('\n').filter((each) => each !== ''), '.git/']) assert.ok(ignored.includes(line.replace(/\/$/, '')), line);
  });
});
