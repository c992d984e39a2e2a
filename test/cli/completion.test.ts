import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nonexistent/socket');
const script = async (shell: string) => (await sallyport(['completion', shell])).out;

/** What bash offers for the last of these words. */
function completionsOf(bashScript: string, words: readonly string[]): readonly string[] {
  const ask = `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; COMPREPLY=(); _sallyport; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', `${bashScript}\n${ask}`], { encoding: 'utf8', timeout: 10_000 });
  assert.equal(status, 0, stderr);
  return stdout.split('\n').filter((line) => line !== '');
}

describe('sallyport completion', () => {
  describe('for bash', () => {
    let bashScript: string;
    before(async () => {
      bashScript = await script('bash');
    });

    it('is a script that bash can read, and that registers itself', () => {
      assert.equal(spawnSync('bash', ['-n'], { input: bashScript, timeout: 10_000 }).status, 0);
      const { stdout } = spawnSync('bash', ['--norc', '-c', `${bashScript}\ncomplete -p sallyport`], { encoding: 'utf8', timeout: 10_000 });
      assert.match(stdout, /-F _sallyport sallyport/);
    });

    for (const [words, expected] of [
      [['sallyport', 'regi'], ['register']],
      [['sallyport', 'ca', 'i'], ['init', 'import']],
      [['sallyport', 'ca', 'import', '--pk'], ['--pkcs12']],
      [['sallyport', 'ledger', ''], ['tail', 'verify', '--help']],
      [['sallyport', 'get', '-n', 'ca', 'es', '--all'], ['--all-namespaces']],
      [['sallyport', 'nonsense', 'xyz'], []],
    ] as const) {
      it(`offers ${expected.join(', ') || 'nothing'} after "${words.join(' ')}"`, () => {
        assert.deepEqual(completionsOf(bashScript, words), expected);
      });
    }
  });

  it('for zsh is the same by way of bashcompinit', async () => {
    assert.equal(await script('zsh'), `autoload -U +X bashcompinit && bashcompinit\n${await script('bash')}`);
  });

  it('for fish has a line for each command and option', async () => {
    const lines = (await script('fish')).trimEnd().split('\n');
    for (const line of lines) assert.match(line, /^complete -c sallyport -n '[a-z_; -]+' (-f -a [a-z-]+|-l [a-z0-9-]+)$/);
    assert.ok(lines.includes("complete -c sallyport -n '__fish_use_subcommand' -f -a register"));
    assert.ok(lines.includes("complete -c sallyport -n '__fish_seen_subcommand_from ca; and __fish_seen_subcommand_from import' -l pkcs12"));
  });

  it('is refused for another shell', async () => {
    assert.equal((await sallyport(['completion', 'tcsh'])).status, 2);
  });
});
