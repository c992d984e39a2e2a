/** Runs other people's programs to their end. */
import { spawn } from 'node:child_process';

export interface ProgramResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly directory?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string;
  /** Keeps stdin open after `input` until stdout has this. */
  readonly until?: string;
  readonly timeoutMs?: number;
  /** Kills it once it has said this: nothing that it does later matters. */
  readonly killAt?: RegExp;
}

/** Killed after `timeoutMs`, or at `killAt`, which gives status null. */
export function runProgram(program: string, args: readonly string[], { directory, env = {}, input = '', until, timeoutMs = 20_000, killAt }: ProgramOptions = {}): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: directory, env: { PATH: process.env['PATH'], LC_ALL: 'C.UTF-8', TERM: 'dumb', ...env }, timeout: timeoutMs, killSignal: 'SIGKILL', stdio: 'pipe' });
    const output = { stdout: '', stderr: '' };
    const heed = (): void => {
      if (killAt?.test(output.stdout + output.stderr) === true) child.kill('SIGKILL');
    };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output.stdout += text;
      if (until !== undefined && output.stdout.includes(until)) child.stdin.end();
      heed();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output.stderr += text;
      heed();
    });
    child.stdin.on('error', () => child.stdin.destroy()); // the program may end without reading
    child.stdin.write(input);
    if (until === undefined) child.stdin.end();
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, ...output }));
  });
}
