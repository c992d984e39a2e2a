/** Real servers of protocols over UDP, on loopback: each says, in its own way, from which address it was asked. */
import { createSocket } from 'node:dgram';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { startServerProcess } from './server-process.ts';

export interface UdpServer {
  readonly port: number;
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

/** A port that nobody has, neither for TCP nor for UDP. */
export async function findFreePort(): Promise<number> {
  return await waitFor('a port that is free for TCP and UDP', 5_000, async () => {
    const [port] = (await findFreePorts(1)) as [number];
    const socket = createSocket('udp4');
    const isFree = await new Promise<boolean>((resolve) => socket.once('error', () => resolve(false)).bind(port, '127.0.0.1', () => resolve(true)));
    socket.close();
    return isFree ? port : undefined;
  });
}

/** Ready once its output has `ready`. */
async function startServer(program: string, args: readonly string[], port: number, ready: RegExp, directory: string): Promise<UdpServer> {
  const { output, stop } = await startServerProcess(program, args, { directory, ready, env: { SNMP_PERSISTENT_DIR: directory, MIBS: '' } });
  return { port, log: output, stop };
}

/** A name server by UDP and TCP. It knows `partner.example` as 192.0.2.80, for `long.partner.example` more text than a datagram should have, and `records`. */
export async function startDnsmasq(program: string, records: readonly string[] = []): Promise<UdpServer> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-dnsmasq-'));
  const port = await findFreePort();
  const texts = Array.from({ length: 12 }, (_, index) => `--txt-record=long.partner.example,${'x'.repeat(200)}${index}`);
  const args = ['--no-daemon', '--conf-file=/dev/null', `--port=${port}`, '--listen-address=127.0.0.1', '--bind-interfaces', '--no-resolv', '--no-hosts', '--user=root', `--pid-file=${join(directory, 'pid')}`, '--log-queries=extra', '--edns-packet-max=1232', '--address=/partner.example/192.0.2.80', ...texts, ...records];
  return await startServer(program, args, port, /started, version/, directory);
}

/** An SNMP agent that answers one address only, by version 2c and the community `public`. */
export async function startSnmpd(program: string, allowed: string): Promise<UdpServer> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-snmpd-'));
  const port = await findFreePort();
  const configuration = join(directory, 'snmpd.conf');
  await writeFile(configuration, `rocommunity public ${allowed}\nsysName gate-of-the-partner\n`);
  return await startServer(program, ['-f', '-Lo', '-a', '-C', '-c', configuration, '-p', join(directory, 'pid'), `udp:127.0.0.1:${port}`], port, /NET-SNMP version/, directory);
}

export interface SyslogCollector {
  readonly port: number;
  readonly heard: readonly { readonly address: string; readonly text: string }[];
  readonly stop: () => Promise<void>;
}

/** Keeps what it is sent: a collector of RFC 5426 answers nothing. */
export async function startSyslogCollector(): Promise<SyslogCollector> {
  const socket = createSocket('udp4');
  const heard: { readonly address: string; readonly text: string }[] = [];
  socket.on('message', (payload, { address }) => heard.push({ address, text: payload.toString() }));
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return { port: socket.address().port, heard, stop: () => new Promise((resolve) => socket.close(resolve)) };
}
