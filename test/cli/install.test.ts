import assert from 'node:assert/strict';
import { createProgram } from '../../src/cli/program.ts';
import { version } from '../../src/cli/commands/version.ts';
import { installOptions } from '../../src/install/index.ts';
import { commandLine } from './support/command-line.ts';

const run = commandLine('/nowhere');

describe('sallyport install', () => {
  it('takes what the chart takes, with its words and defaults', () => {
    const program = createProgram({ env: {}, stdin: process.stdin, out: () => undefined, say: () => undefined, setExitStatus: () => undefined, interruption: () => new AbortController().signal });
    const options = program.commands.find((command) => command.name() === 'install')!.options;
    const schema = installOptions(version);
    const ownWords = ['bigipCredentials', 'gateways', 'ledgerOtlp', 'ledgerOtlpCa', 'ledgerOtlpHeaders', 'olderForm', 'storageClass', 'syslogAllow', 'syslogTls', 'webhooks']; // a command has no "false", and nothing that is empty
    for (const [name, { description }] of Object.entries(schema.shape)) {
      const option = options.find((each) => each.attributeName() === name.replace(/^gateways$/, 'gateway'));
      assert.ok(option !== undefined, name);
      if (!ownWords.includes(name)) assert.deepEqual([option.description, option.defaultValue], [description, String(schema.parse({})[name as keyof typeof schema.shape])], name);
    }
  });

  it('prints what it would apply, as YAML and as a list in JSON', async () => {
    const yaml = await run(['install', '--dry-run', '--gateway', 'egress-1', '--namespace', 'egress']);
    assert.equal(yaml.status, 0);
    assert.match(yaml.out, /- --control=sallyport\.egress\.svc\.cluster\.local:15012\n/);
    const { kind, items } = JSON.parse((await run(['install', '--dry-run', '-o', 'json'])).out) as { readonly kind: string; readonly items: readonly object[] };
    assert.deepEqual([kind, items.length], ['List', (await run(['install', '--dry-run'])).out.split('\n---\n').length]);
  });

  const refused: readonly [args: readonly string[], words: RegExp][] = [
    [['--replicas', '0'], /\(at --replicas\)/],
    [['--replicas', 'two'], /\(at --replicas\)/],
    [['--image', 'a b'], /must be a container image, such as sallyport:0\.1\.0 \(at --image\)/],
    [['--gateway', 'Egress_1'], /\(at --gateway\)/],
    [['--storage-class', 'Fast!'], /must be the name of a StorageClass \(at --storage-class\)/],
    [['--ledger-storage', '0'], /\(at --ledger-storage\)/],
    [['--ledger-otlp', 'http://collector:4318'], /must be an https:\/\/ URL with a port, .* \(at --ledger-otlp\)/],
    [['--bigip-credentials', 'F5'], /\(at --bigip-credentials\)/],
    [['--syslog-allow', 'f5'], /must be a gateway and its addresses, such as f5=10\.0\.0\.4\/31 \(at --syslog-allow\)/],
    [['--timeout', 'long'], /"long" is not a time span \(at --timeout\)/],
  ];
  for (const [args, words] of refused) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { status, out, err } = await run(['install', ...args]);
      assert.deepEqual([status, out], [2, '']);
      assert.match(err, words);
    });
  }
});
