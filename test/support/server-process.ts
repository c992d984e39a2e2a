/** Server programs that tests talk to, as plain processes. */
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { waitFor } from '../../src/demo/processes.ts';

export interface ServerProcess {
  readonly pid: number;
  /** All that it has said. */
  readonly output: () => string;
  /** Ends it with all that it forked, and removes its directory. */
  readonly stop: () => Promise<void>;
}

export interface ServerProcessOptions {
  /** Where it keeps its files. */
  readonly directory: string;
  /** The TCP port at which it listens once it is ready, or what it then has said. */
  readonly ready: number | RegExp;
  /** What stands before its command where it is to run on another host. */
  readonly enter?: readonly string[];
  /** Beside our own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whom it runs as. Default: whoever runs the tests. */
  readonly uid?: number;
  readonly gid?: number;
}

const readyWithinMs = 10_000;

/** What ends the servers that run: they do not outlive the tests. */
const running = new Set<() => void>();
process.once('exit', () => running.forEach((kill) => kill()));

/** Runs a server until it is ready. Throws with what it said where it ends before, or takes too long. */
export async function startServerProcess(program: string, args: readonly string[], { directory, ready, enter = [], env = {}, ...identity }: ServerProcessOptions): Promise<ServerProcess> {
  const [first, ...others] = [...enter, program, ...args] as [string, ...string[]];
  const child = spawn(first, others, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env }, ...identity }); // a group of its own, for servers fork for each session
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const kill = (): void => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  running.add(kill);

  async function stop(): Promise<void> {
    kill();
    running.delete(kill);
    await exited;
    await rm(directory, { recursive: true, force: true });
  }

  try {
    await waitFor(program, readyWithinMs, async () => {
      if (child.exitCode !== null) throw new Error(`${program} has ended`);
      return (typeof ready === 'number' ? await isListening(child.pid!, ready) : ready.test(output)) || undefined;
    });
  } catch (cause) {
    await stop();
    throw new Error(`${program} is not ready: ${output}`, { cause });
  }
  return { pid: child.pid!, output: () => output, stop };
}

/**
 * Whether somebody listens at a TCP port in the network that a process is in, which need not be ours. It is the kernel that says so: a
 * server that is asked itself has had a client more.
 */
async function isListening(pid: number, port: number): Promise<boolean> {
  const listener = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, '0')} [0-9A-F]+:0000 0A `, 'm');
  const tables = await Promise.all(['tcp', 'tcp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'latin1').catch(() => ''))); // no IPv6, or the process has just ended
  return tables.some((table) => listener.test(table));
}
