/** Programs of the host, which are how its kernel is told: nft, ip, conntrack, sysctl. */
import { spawn } from 'node:child_process';

export interface ProgramResult {
  /** Null where it was ended by a signal. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; rejects where there is none of that name. */
export type RunProgram = (program: string, args: readonly string[], input?: string) => Promise<ProgramResult>;

const timeoutMs = 60_000;

export const runProgram: RunProgram = (program, args, input = '') =>
  new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, LC_ALL: 'C' }, timeout: timeoutMs, killSignal: 'SIGKILL', stdio: 'pipe' });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdin.on('error', () => child.stdin.destroy()); // it may end without reading
    child.stdin.end(input);
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
