import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createProgram } from '../../src/cli/program.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine } from './support/command-line.ts';

const away = commandLine('/nonexistent/admin.sock');
const idle = { env: {}, stdin: process.stdin, out: () => undefined, say: () => undefined, setExitStatus: () => undefined, interruption: () => new AbortController().signal };

function leavesOf(command: Command, path: readonly string[] = []): readonly (readonly string[])[] {
  return command.commands.length === 0 ? [path] : command.commands.flatMap((sub) => leavesOf(sub, [...path, sub.name()]));
}

describe('sallyport', () => {
  for (const path of leavesOf(createProgram(idle))) {
    it(`${path.join(' ')} --help explains itself on stdout, with status 0`, async () => {
      const { status, out, err } = await away([...path, '--help']);
      assert.deepEqual([status, err], [0, '']);
      assert.ok(out.startsWith(`Usage: sallyport ${path.join(' ')} `), out);
    });
  }

  for (const args of [
    ['apply', '-f', 'manifests/examples'],
    ['ca', 'show'],
    ['cert', 'issue', 'spiffe://cluster.local/a'],
    ['cert', 'revoke', 'ab'],
    ['delete', 'pool', 'a'],
    ['deregister', 'a'],
    ['describe', 'pool', 'a'],
    ['diff', '-f', 'manifests/examples'],
    ['explain', 'a/b', '--to', 'c:1'],
    ['get', 'pools'],
    ['ledger', 'tail'],
    ['ledger', 'verify'],
    ['register', 'a', '10.0.0.1', '80'],
    ['status'],
    ['token', 'create', 'spiffe://cluster.local/a'],
    ['whois', '10.0.0.1:80'],
  ]) {
    it(`${args.slice(0, 2).join(' ')} ends with 6 and says what to do while the control plane is away`, async () => {
      const { status, out, err } = await away(args);
      assert.deepEqual([status, out], [6, '']);
      assert.match(err, /^error: the control plane cannot be reached at "\/nonexistent\/admin\.sock" .*\nhint: start it with "sallyport serve", or name it with --server\n$/);
    });
  }

  it('says what it is on stdout, and what was wrong with the command line on stderr', async () => {
    assert.match((await away(['version'])).out, /^sallyport \d+\.\d+\.\d+ \(node 24\./);
    assert.deepEqual((await away(['--version'])).status, 0);
    assert.match((await away(['--help'])).out, /EXIT CODES\n {2}0 ok/);
    assert.match((await away(['apply', '--help'])).out, /^Usage: sallyport apply [^]*\n {2}sallyport apply -f manifests[^]*\n {2}cat policy\.yaml \| sallyport apply[^]*\n {2}kubectl sallyport apply/);
    for (const [args, said] of [
      [['regsiter'], /unknown command 'regsiter'\n\(Did you mean register\?\)/],
      [['get', 'es', '--al-namespaces'], /unknown option '--al-namespaces'\n\(Did you mean --all-namespaces\?\)/],
      [['apply'], /required option '-f, --filename/],
      [['status', '-o', 'xml'], /'xml' is invalid/],
      [['ca'], /Usage: sallyport ca/],
      [[], /Usage: sallyport /],
      [['serve', '--log-level', 'loud'], /'loud' is invalid/],
      [['serve', '--trust-domain', 'No'], /error: /],
      [['serve', '--listen', 'here'], /"here" is not an address and port/],
      [['gateway', '--name', 'g', '--trust-bundle', '/nonexistent'], /"\/nonexistent" cannot be read \(ENOENT\)/],
      [['gateway', '--name', 'g', '--trust-bundle', '/dev/null', '--workers', '0'], /"0" is not a number of threads/],
      [['agent', '--trust-bundle', '/dev/null', '--listen-address', 'here'], /"here" is not an address/],
      [['agent', '--trust-bundle', '/dev/null', '--join-token-file', 'a', '--pod-token-file', 'b'], /'--pod-token-file <file>' cannot be used with option '--join-token-file <file>'/],
    ] as const) {
      const { status, out, err } = await away(args);
      assert.deepEqual([status, out], [2, ''], args.join(' '));
      assert.match(err, said);
    }
  });

  it('says its name as it is run: as a plugin, kubectl sallyport', async () => {
    const plugin = commandLine('/nonexistent/admin.sock', { SALLYPORT_KUBERNETES: 'true' });
    const [{ out: program }, { out: apply }, { err: group }] = [await plugin(['--help']), await plugin(['apply', '--help']), await plugin(['ca'])];
    assert.match(program, /^Usage: kubectl sallyport \[options\] \[command\]/);
    assert.match(apply, /^Usage: kubectl sallyport apply /);
    assert.deepEqual(apply.match(/^ {2}.*(?<!-)sallyport apply.*$/gm), ['  kubectl sallyport apply -f manifests/examples/bookinfo-forward-proxy.yaml', '  cat policy.yaml | kubectl sallyport apply -f - --dry-run', '  kubectl sallyport apply -f policies/ --wait']);
    assert.match(group, /^Usage: kubectl sallyport ca /);
  });

  describe('with text from outside', () => {
    let server: TestControl;
    before(async () => {
      server = await startTestControl();
    });
    after(() => server.close());

    /** Escape, bell, backspace, delete, and the C1 form of "escape [". */
    const hostile = '\u001b]0;owned\u0007\b\u007f\u009b31m';
    const raw = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/;
    const namespaceOf = (annotation: string) => JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a', annotations: { note: annotation } } });

    it('sends no control character to the terminal, and loses none to a program', async () => {
      const sallyport = commandLine(join(server.directory, 'admin.sock'));
      assert.equal((await sallyport(['apply', '-f', '-'], { stdin: namespaceOf(hostile) })).status, 0);
      for (const args of [['get', 'ns', '-o', 'json'], ['get', 'ns', '-o', 'yaml'], ['get', 'ns'], ['describe', 'ns', 'a']]) {
        const { status, out, err } = await sallyport(args);
        assert.equal(status, 0);
        assert.doesNotMatch(out + err, raw, args.join(' '));
      }
      for (const format of ['json', 'yaml']) {
        const { out } = await sallyport(['get', 'ns', '-o', format]);
        assert.match((await sallyport(['apply', '-f', '-'], { stdin: out })).out, /unchanged/, format);
      }
    });

    it('shows control characters of a faulty manifest, of a file name and of the command line as escapes', async () => {
      const sallyport = commandLine(join(server.directory, 'admin.sock'));
      for (const [args, stdin] of [
        [['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: hostile, metadata: { name: hostile } })],
        [['validate', '-f', '-'], `${JSON.stringify({ [hostile]: 1, apiVersion: 'v1', kind: 'Namespace' })}\n---\n"\\u001b[31m`],
        [['validate', '-f', hostile], ''],
        [[hostile], ''],
        [['get', hostile], ''],
        [['explain', `a/${hostile}`, '--to', hostile], ''],
      ] as const) {
        const { status, out, err } = await sallyport(args, { stdin });
        assert.equal(status, 2);
        assert.doesNotMatch(out + err, raw);
      }
    });
  });
});
