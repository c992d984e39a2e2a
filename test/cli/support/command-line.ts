/** The CLI in this process, with everything that it printed and the status that it would have ended with. */
import { run } from '../../../src/cli/run.ts';

export interface CommandResult {
  readonly status: number;
  readonly out: string;
  readonly err: string;
}

export interface CommandInput {
  readonly stdin?: string;
  /** What Ctrl-C would be. */
  readonly signal?: AbortSignal;
  readonly onOut?: (text: string) => unknown;
}

export type CommandLine = (args: readonly string[], input?: CommandInput) => Promise<CommandResult>;

/** Commands that find the control plane at `socketPath`, as they do by default. */
export function commandLine(socketPath: string, env: Readonly<Record<string, string>> = {}): CommandLine {
  return async (args, { stdin = '', signal = new AbortController().signal, onOut } = {}) => {
    let status = 0;
    const out: string[] = [];
    const err: string[] = [];
    await run(
      {
        env: { SALLYPORT_SOCKET: socketPath, ...env },
        stdin: stdinOf(stdin),
        out: (text) => {
          out.push(`${text}\n`);
          onOut?.(text);
        },
        say: (text) => void err.push(`${text}\n`),
        setExitStatus: (next) => void (status = next),
        interruption: () => signal,
      },
      args,
    );
    return { status, out: out.join(''), err: err.join('') };
  };
}

// eslint-disable-next-line @typescript-eslint/require-await -- standard input is a stream
async function* stdinOf(text: string): AsyncGenerator<Buffer> {
  if (text !== '') yield Buffer.from(text);
}
