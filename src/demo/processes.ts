/** The demo's own processes: the `sallyport` command and Envoy, started, waited for, and ended by their process ids. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { createServer } from 'node:net';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The hosts that processes run on where it is not this one: each with a network of its own, that this process is not in. */
export interface Hosts {
  /** What stands before the command of the process `name`, and starts it on its host. */
  readonly enter: (name: string) => readonly string[];
  /** `fetch` as the process `name` would. Rejects where no answer comes in time. */
  readonly fetch: (name: string, url: string, timeoutMs: number) => Promise<Response>;
}

/** All processes run beside this one. */
export const thisHost: Hosts = { enter: () => [], fetch: (_name, url, timeoutMs) => fetch(url, { signal: AbortSignal.timeout(timeoutMs) }) };

const cli = fileURLToPath(new URL(`../cli/main${extname(import.meta.filename)}`, import.meta.url));

export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Processes {
  /** Starts a command that goes on; its output goes to a log file in the directory. */
  readonly start: (name: string, args: readonly string[]) => void;
  /** The same of another program. */
  readonly startProgram: (name: string, program: string, args: readonly string[]) => void;
  /** The process id of what was started under this name and goes on. */
  readonly pid: (name: string) => number;
  /** SIGKILL, and until it is gone. */
  readonly kill: (name: string) => Promise<void>;
  /** Runs a command to its end. */
  readonly run: (args: readonly string[], stdin?: string) => Promise<CommandResult>;
  /** Ends all that still run. */
  readonly stop: () => Promise<void>;
  /** SIGKILL to all of them, without waiting: for a process that ends itself. */
  readonly killAll: () => void;
}

export function createProcesses(directory: string, env: NodeJS.ProcessEnv, { enter }: Pick<Hosts, 'enter'> = thisHost): Processes {
  const running = new Map<string, ChildProcess>();

  async function end(name: string, signal: NodeJS.Signals): Promise<void> {
    const child = running.get(name);
    running.delete(name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const lastResort = setTimeout(() => child.kill('SIGKILL'), 5_000);
    await gone;
    clearTimeout(lastResort);
  }

  function startProgram(name: string, program: string, args: readonly string[]): void {
    const [first, ...others] = [...enter(name), program, ...args] as [string, ...string[]];
    const child = spawn(first, others, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const log = createWriteStream(join(directory, `${name}.log`), { flags: 'a' });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.once('error', (error) => log.write(`${error.message}\n`)); // who waits for it shows the log
    running.set(name, child);
  }

  return {
    start: (name, args) => startProgram(name, process.execPath, [cli, ...args]),
    startProgram,
    pid(name) {
      const pid = running.get(name)?.pid;
      if (pid === undefined) throw new Error(`${name} does not run`);
      return pid;
    },
    kill: (name) => end(name, 'SIGKILL'),
    run: (args, stdin = '') =>
      new Promise((resolve, reject) => {
        const child = spawn(process.execPath, [cli, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] });
        const output = { stdout: '', stderr: '' };
        child.stdout.setEncoding('utf8').on('data', (text: string) => (output.stdout += text));
        child.stderr.setEncoding('utf8').on('data', (text: string) => (output.stderr += text));
        child.once('error', reject);
        child.once('close', (status) => resolve({ status: status ?? 70, ...output }));
        child.stdin.on('error', () => child.stdin.destroy()); // the command may end without reading
        child.stdin.end(stdin);
      }),
    async stop() {
      await Promise.all([...running.keys()].map((name) => end(name, 'SIGTERM')));
    },
    killAll() {
      for (const child of running.values()) child.kill('SIGKILL');
    },
  };
}

/**
 * Where ports are looked for: below those that the kernel gives to whoever asks for any, the near ends of connections among them, which
 * would come between finding a port and listening there.
 */
const listeningPorts = { first: 15_000, end: 32_000 };

/** So many ports in a row that nobody has on 127.0.0.1. */
export async function findFreePorts(count: number): Promise<readonly number[]> {
  for (;;) {
    const first = randomInt(listeningPorts.first, listeningPorts.end - count);
    const ports = Array.from({ length: count }, (_, index) => first + index);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return ports;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** Polls `check` until it gives a value; throws with `what` when it has not within the limit. */
export async function waitFor<Value>(what: string, limitMs: number, check: () => Promise<Value | undefined> | Value | undefined): Promise<Value> {
  const deadline = Date.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`waited ${limitMs / 1000} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
