import assert from 'node:assert/strict';
import { createProgram } from '../../src/cli/program.ts';
import { checks } from '../../src/diagnosis/index.ts';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nowhere');
const header = (kind: string, name: string) => `apiVersion: sallyport.dev/v1alpha1\nkind: ${kind}\nmetadata: {name: ${name}}\n`;
const gateway = `${header('EgressGateway', 'gw')}spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 15443}]}\n`;
const service = `${header('ExternalService', 's')}spec: {addresses: [10.9.0.1], ports: [{port: 80}]}\n`;
const pool = `${header('SnatPool', 'eu')}spec: {addresses: [192.0.2.1]}\n`;
const binding = `${header('SnatBinding', 'b')}spec: {subject: {namespace: ns1}, pool: eu}\n`;
const policy = `${header('EgressPolicy', 'p')}spec: {subjects: [{namespace: ns1}], to: [{service: s}]}\n`;
const documents = (...texts: readonly string[]): string => texts.join('---\n');
const analyze = async (stdin: string, ...options: readonly string[]) => await sallyport(['analyze', '-f', '-', ...options], { stdin });

describe('sallyport analyze, of files', () => {
  it('finds nothing where there is nothing, and says so beside its output', async () => {
    assert.deepEqual(await analyze(documents(gateway, service, pool, binding, policy)), { status: 0, out: '', err: 'nothing found\n' });
  });

  it('tells a finding with its place, gravest first, and ends with status 1', async () => {
    const { status, out } = await analyze(documents(gateway, service, pool, policy));
    assert.equal(status, 1);
    assert.match(out, /^warning: \(standard input\):19:8 EgressPolicy default\/p spec\.subjects: it lets ns\/ns1 use default\/s:tcp-80, .* \[policy-without-address\]\n {2}hint: .*\ninfo: \(standard input\):14:1 SnatPool eu spec: .* \[pool-unused\]\n {2}hint: /);
  });

  it('tells warnings of the build too', async () => {
    assert.match((await analyze(documents(service, pool, binding, policy))).out, /^warning: .*\[gateway-missing\]$/m);
  });

  for (const [level, text, expected] of [
    ['error', documents(gateway, service, pool, policy), 0],
    ['info', documents(gateway, service, pool, binding, policy, pool.replace('eu', 'us').replace('2.1', '2.2')), 1],
    ['warning', documents(gateway, service, pool, binding, policy, pool.replace('eu', 'us').replace('2.1', '2.2')), 0],
  ] as const) {
    it(`ends with status ${expected} by --fail-level ${level}`, async () => {
      const { status, out } = await analyze(text, '--fail-level', level);
      assert.equal(status, expected);
      assert.notEqual(out, '');
    });
  }

  it('ends with status 2 where they cannot be applied, in the words of validate', async () => {
    const broken = documents(gateway, policy);
    const { status, err } = await analyze(broken);
    assert.deepEqual({ status, err }, await sallyport(['validate', '-f', '-'], { stdin: broken }).then((validated) => ({ status: validated.status, err: validated.err })));
    assert.match(err, /\[policy-service-unknown\]/);
  });

  it('is JSON for programs', async () => {
    const { findings } = JSON.parse((await analyze(documents(gateway, service, pool, policy), '-o', 'json')).out) as { readonly findings: readonly object[] };
    const [{ message: _, hint, ...first }] = findings as [Record<string, unknown>];
    assert.equal(typeof hint, 'string');
    assert.deepEqual(first, { code: 'policy-without-address', level: 'warning', object: { kind: 'EgressPolicy', namespace: 'default', name: 'p' }, path: ['spec', 'subjects'], position: { file: '(standard input)', line: 19, column: 8 } });
  });
});

describe('hints of checks', () => {
  it('name commands that there are', () => {
    const program = createProgram({ env: {}, stdin: process.stdin, out: () => undefined, say: () => undefined, setExitStatus: () => undefined, interruption: () => new AbortController().signal });
    const named = checks.flatMap(({ hint }) => [...hint.matchAll(/sallyport ([a-z-]+)(?: ([a-z]+))?/g)]);
    assert.ok(named.length > 5);
    for (const [whole, name, sub] of named) {
      const command = program.commands.find((each) => each.name() === name);
      assert.ok(command !== undefined, whole);
      if (command.commands.length > 0) assert.ok(command.commands.some((each) => each.name() === sub), whole);
    }
  });
});
