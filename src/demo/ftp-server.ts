/**
 * The partner's FTP server, as small as the demo needs it: passive mode, an in-memory tree, a log of who came from which address. Like vsftpd it
 * accepts a data connection only from the control connection's peer.
 */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseCommand } from '../core/ftp/index.ts';
import type { Command } from '../core/ftp/index.ts';

export interface SeenFtpConnection {
  readonly channel: 'control' | 'data';
  readonly address: string;
  readonly port: number;
  readonly time: Date;
}

export interface DemoFtpServer {
  readonly port: number;
  /** Every connection that was accepted, in order. */
  readonly connections: readonly SeenFtpConnection[];
  /** A file's content. */
  read(path: string): Buffer | undefined;
  close(): void;
}

export interface DemoFtpServerOptions {
  /** By absolute path; directories are what paths imply. */
  readonly files: Readonly<Record<string, Buffer>>;
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** How fast a file is sent. Default: at full speed. */
  readonly bytesPerSecond?: (path: string) => number;
}

const lineBytesMax = 4096;
const uploadBytesMax = 256 * 1024 * 1024;
const dataTimeoutMs = 10_000;
const chunkBytes = 16 * 1024;

/** Listens on a free port. Any user name and password are accepted. */
export async function startFtpServer(options: DemoFtpServerOptions): Promise<DemoFtpServer> {
  const address = options.address ?? '127.0.0.1';
  const files = new Map(Object.entries(options.files));
  const connections: SeenFtpConnection[] = [];
  const open = new Set<Socket>();
  const log = (channel: 'control' | 'data', socket: Socket): void => {
    connections.push({ channel, address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0, time: new Date() });
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  const server = createServer((control) => {
    log('control', control);
    void serve(control);
  });

  async function serve(control: Socket): Promise<void> {
    const session = createSession(control);
    session.reply('220 The partner is ready.');
    let input = '';
    try {
      for await (const chunk of control) {
        input += (chunk as Buffer).toString('latin1');
        for (let end = input.indexOf('\n'); end !== -1; end = input.indexOf('\n')) {
          const line = input.slice(0, end);
          input = input.slice(end + 1);
          const parse = parseCommand(line);
          if (parse.ok) await session.handle(parse.command);
          else session.reply(parse.reply);
        }
        if (input.length > lineBytesMax) break;
      }
    } catch {
      // The client went away in the middle of something; so do we.
    }
    control.destroy();
    session.end();
  }

  function createSession(control: Socket) {
    let directory = '/';
    let passive: { readonly listener: Server; readonly accepted: Promise<Socket> } | undefined;
    const reply = (line: string): void => {
      if (control.writable) control.write(`${line}\r\n`);
    };
    const resolve = (argument: string): string => posix.resolve(directory, Buffer.from(argument, 'latin1').toString());
    const isDirectory = (path: string): boolean => path === '/' || [...files.keys()].some((file) => file.startsWith(`${path}/`));

    function closePassive(): void {
      passive?.listener.close();
      passive = undefined;
    }

    async function awaitData(): Promise<number> {
      closePassive();
      const { promise: accepted, resolve: accept } = Promise.withResolvers<Socket>();
      const listener = createServer({ allowHalfOpen: true }, (socket) => {
        if (socket.remoteAddress !== control.remoteAddress) {
          socket.destroy();
          return;
        }
        listener.close();
        log('data', socket);
        accept(socket);
      });
      await new Promise<void>((listening) => listener.listen(0, control.localAddress, listening));
      passive = { listener, accepted };
      return (listener.address() as AddressInfo).port;
    }

    /** One transfer over the data connection that was awaited. `run` leaves the connection ended. */
    async function transfer(run: (data: Socket) => Promise<void>): Promise<void> {
      if (passive === undefined) {
        reply('425 Use PASV or EPSV first.');
        return;
      }
      const { accepted } = passive;
      reply('150 Here it comes.');
      const data = await Promise.race([accepted, delay(dataTimeoutMs, undefined, { ref: false })]);
      closePassive();
      if (data === undefined) {
        reply('425 No data connection came.');
        return;
      }
      try {
        await run(data);
        reply('226 Done.');
      } catch {
        reply('426 The data connection was closed.');
      } finally {
        data.destroy();
      }
    }

    async function send(data: Socket, content: Buffer, bytesPerSecond: number): Promise<void> {
      for (let offset = 0; offset < content.length; offset += chunkBytes) {
        const chunk = content.subarray(offset, offset + chunkBytes);
        await new Promise<void>((resolve, reject) => data.write(chunk, (error) => (error ? reject(error) : resolve())));
        if (bytesPerSecond !== Infinity) await delay((chunk.length / bytesPerSecond) * 1000);
      }
      await new Promise<void>((resolve) => data.end(resolve));
    }

    async function receive(data: Socket): Promise<Buffer> {
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of data) {
        chunks.push(chunk as Buffer);
        bytes += (chunk as Buffer).length;
        if (bytes > uploadBytesMax) throw new Error('too much');
      }
      return Buffer.concat(chunks);
    }

    /** Names and sizes of what is in a directory. */
    function list(path: string): readonly (readonly [name: string, size: number | 'directory'])[] {
      const prefix = path === '/' ? '/' : `${path}/`;
      const entries = new Map<string, number | 'directory'>();
      for (const [file, content] of files) {
        const [name, ...below] = file.startsWith(prefix) ? file.slice(prefix.length).split('/') : [];
        if (name !== undefined) entries.set(name, below.length > 0 ? 'directory' : content.length);
      }
      return [...entries].sort();
    }

    const listing = (argument: string, print: (name: string, size: number | 'directory') => string): Promise<void> => {
      const path = resolve(argument.replace(/^-\S+ */, ''));
      return transfer((data) => send(data, Buffer.from(list(path).map((entry) => `${print(...entry)}\r\n`).join('')), Infinity));
    };

    const handlers: Readonly<Record<string, (argument: string) => void | Promise<void>>> = {
      USER: () => reply('331 Any password will do.'),
      PASS: () => reply('230 Welcome.'),
      SYST: () => reply('215 UNIX Type: L8'),
      FEAT: () => reply('211-Features:\r\n EPSV\r\n PASV\r\n SIZE\r\n UTF8\r\n211 End'),
      TYPE: () => reply('200 As you like; bytes are bytes.'),
      NOOP: () => reply('200 Still here.'),
      PWD: () => reply(`257 "${directory}"`),
      CWD: (argument) => {
        const path = resolve(argument);
        if (isDirectory(path)) directory = path;
        reply(isDirectory(path) ? `250 Now in "${path}".` : '550 No such directory.');
      },
      PASV: async () => {
        const port = await awaitData();
        reply(`227 Entering Passive Mode (${address.replaceAll('.', ',')},${port >> 8},${port & 255}).`);
      },
      EPSV: async () => reply(`229 Entering Extended Passive Mode (|||${await awaitData()}|)`),
      SIZE: (argument) => {
        const content = files.get(resolve(argument));
        reply(content === undefined ? '550 No such file.' : `213 ${content.length}`);
      },
      LIST: (argument) =>
        listing(argument, (name, size) => `${size === 'directory' ? 'drwxr-xr-x' : '-rw-r--r--'} 1 ftp ftp ${String(size === 'directory' ? 0 : size).padStart(12)} Jan  1  2026 ${name}`),
      NLST: (argument) => listing(argument, (name) => name),
      RETR: (argument) => {
        const path = resolve(argument);
        const content = files.get(path);
        if (content === undefined) reply('550 No such file.');
        else return transfer((data) => send(data, content, options.bytesPerSecond?.(path) ?? Infinity));
        return undefined;
      },
      STOR: (argument) => transfer(async (data) => void files.set(resolve(argument), await receive(data))),
      QUIT: () => {
        reply('221 Goodbye.');
        control.end();
      },
    };
    return {
      reply,
      handle: async ({ verb, argument }: Command): Promise<void> => {
        const handler = Object.hasOwn(handlers, verb) ? handlers[verb] : undefined;
        if (handler === undefined) reply('502 Not here.');
        else await handler(argument);
      },
      end: closePassive,
    };
  }

  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections,
    read: (path) => files.get(path),
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
