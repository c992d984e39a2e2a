/** A client of an FTP control connection that speaks by hand. */
import type { Socket } from 'node:net';
import { until } from './gateway.ts';

export interface Dialogue {
  readonly socket: Socket;
  /** The next final reply; `closed` where the connection is. */
  reply(): Promise<string>;
  command(line: string): Promise<string>;
  /** The port of a 229. */
  passive(): Promise<number>;
}

export function converse(socket: Socket): Dialogue {
  let text = '';
  let closed = false;
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.once('close', () => (closed = true));
  async function reply(): Promise<string> {
    for (;;) {
      await until(() => text.includes('\n') || closed, () => `no reply, but ${JSON.stringify(text)}`);
      const end = text.indexOf('\n');
      if (end === -1) return 'closed';
      const line = text.slice(0, end).trimEnd();
      text = text.slice(end + 1);
      if (/^[2-5]\d\d /.test(line)) return line;
    }
  }
  async function command(line: string): Promise<string> {
    socket.write(`${line}\r\n`);
    return reply();
  }
  return { socket, reply, command, passive: async () => Number(/\(\|\|\|(\d+)\|\)/.exec(await command('EPSV'))?.[1]) };
}

/** What a connection gives until it ends, in whatever way. */
export async function readToEnd(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.once('end', () => socket.end());
  await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks);
}
