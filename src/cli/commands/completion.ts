import { Argument, type Command } from 'commander';
import type { CliContext } from '../context.ts';

/** Completion needs only the names of commands and options, which the program itself knows: so it never goes out of date. */
export function addCompletion(program: Command, context: CliContext): void {
  program
    .command('completion')
    .summary('print a completion script for your shell')
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish']))
    .addHelpText('after', '\nEXAMPLES\n  source <(sallyport completion bash)')
    .action((shell: 'bash' | 'zsh' | 'fish') => context.out(scripts[shell](wordsOf(program))));
}

/** For each command path ('' for the program itself) the words that may follow. */
function wordsOf(command: Command, path = ''): ReadonlyMap<string, readonly string[]> {
  const words = new Map([[path, [...command.commands.map((sub) => sub.name()), ...command.options.map((option) => option.long ?? option.short ?? ''), '--help']]]);
  for (const sub of command.commands) for (const [key, value] of wordsOf(sub, `${path} ${sub.name()}`.trim())) words.set(key, [...value]);
  return words;
}

const scripts = {
  bash: (words: ReadonlyMap<string, readonly string[]>) => `_sallyport() {
  local path="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$path $word" in
${[...words.keys()].filter((path) => path !== '').map((path) => `      "${path.includes(' ') ? path : ` ${path}`}") path="${path}" ;;`).join('\n')}
    esac
  done
  case "$path" in
${[...words].map(([path, next]) => `    "${path}") COMPREPLY=($(compgen -W "${next.join(' ')}" -- "\${COMP_WORDS[COMP_CWORD]}")) ;;`).join('\n')}
  esac
}
complete -o default -F _sallyport sallyport`,
  zsh: (words: ReadonlyMap<string, readonly string[]>): string => `autoload -U +X bashcompinit && bashcompinit\n${scripts.bash(words)}`,
  fish: (words: ReadonlyMap<string, readonly string[]>) =>
    [...words]
      .flatMap(([path, next]) => {
        const condition = path === '' ? '__fish_use_subcommand' : path.split(' ').map((word) => `__fish_seen_subcommand_from ${word}`).join('; and ');
        return next.map((word) => (word.startsWith('--') ? `complete -c sallyport -n '${condition}' -l ${word.slice(2)}` : `complete -c sallyport -n '${condition}' -f -a ${word}`));
      })
      .join('\n'),
} as const;
