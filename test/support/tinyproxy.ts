/** A real tinyproxy on loopback: an organisation's forward proxy that knows its clients by their addresses only. */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';

export interface Tinyproxy {
  readonly port: number;
  /** The address of each connection that it accepted, in order, as it logged them. */
  clients(): Promise<readonly string[]>;
  log(): Promise<string>;
  readonly stop: () => Promise<void>;
}

export interface TinyproxyOptions {
  /** Who may connect: everybody else is answered 403. */
  readonly allow: readonly string[];
  /** Where CONNECT may go. */
  readonly connectPorts: readonly number[];
}

/** @param program path of tinyproxy, see `requirePeer` */
export async function startTinyproxy(program: string, { allow, connectPorts }: TinyproxyOptions): Promise<Tinyproxy> {
  const base = await mkdtemp(join(tmpdir(), 'sallyport-tinyproxy-'));
  const [port] = (await findFreePorts(1)) as [number];
  const logFile = join(base, 'tinyproxy.log');
  const lines = [
    `Port ${port}`,
    'Listen 127.0.0.1',
    'Timeout 30',
    `LogFile "${logFile}"`,
    'LogLevel Connect',
    'MaxClients 100',
    ...allow.map((address) => `Allow ${address}`),
    ...connectPorts.map((connectPort) => `ConnectPort ${connectPort}`),
  ];
  const configuration = join(base, 'tinyproxy.conf');
  await writeFile(configuration, `${lines.join('\n')}\n`);
  const child = spawn(program, ['-d', '-c', configuration], { stdio: 'ignore' });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);

  async function stop(): Promise<void> {
    kill();
    process.off('exit', kill);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  try {
    await waitFor('tinyproxy', 5_000, async () => ((await accepts(port)) ? true : undefined));
  } catch (error) {
    await stop();
    throw error;
  }
  const log = () => readFile(logFile, 'utf8');
  const accepted = async () => [...(await log()).matchAll(/: Connect \(file descriptor [0-9]+\): (\S+)/g)].map(([, address]) => address!);
  await waitFor('the log of our own attempt', 5_000, async () => ((await accepted()).length > 0 ? true : undefined));
  return { port, clients: async () => (await accepted()).slice(1), log, stop };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
