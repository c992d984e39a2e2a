/** Programs of the host whose output is taken a line at a time, however long they run. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface LineProgram {
  /** The exit status, or null where a signal ended it or it could not be started. */
  readonly ended: Promise<number | null>;
  stop(): void;
}

export type StartLineProgram = (program: string, args: readonly string[], onLine: (line: string) => void, onComplaint: (line: string) => void) => LineProgram;

/** Ends with this process, whatever ends that: setpriv(1). Times are in UTC. */
export const startLineProgram: StartLineProgram = (program, args, onLine, onComplaint) => {
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], { env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' }, stdio: ['ignore', 'pipe', 'pipe'] });
  createInterface({ input: child.stdout }).on('line', onLine);
  createInterface({ input: child.stderr }).on('line', onComplaint);
  const ended = new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      onComplaint(error.message);
      resolve(null);
    });
    child.once('close', resolve);
  });
  return { ended, stop: () => void child.kill('SIGKILL') };
};
