/** A real tinyproxy on loopback: an organisation's forward proxy that knows its clients by their addresses only. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts } from '../../src/demo/processes.ts';
import { startServerProcess } from './server-process.ts';

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
  const { stop } = await startServerProcess(program, ['-d', '-c', configuration], { directory: base, ready: port });
  const log = () => readFile(logFile, 'utf8');
  const clients = async () => [...(await log()).matchAll(/: Connect \(file descriptor [0-9]+\): (\S+)/g)].map(([, address]) => address!);
  return { port, clients, log, stop };
}
