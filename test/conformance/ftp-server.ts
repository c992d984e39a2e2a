/** As much of an FTP server as the table needs: one file, in passive mode, by TLS where the client asks for it (RFC 959, 2428, 4217). */
import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { TLSSocket, type SecureContext } from 'node:tls';

export interface FtpServerOptions {
  readonly secureContext: SecureContext;
  /** Connections for data come to it, as those to the server do. */
  readonly listen: (address: string, onConnection: (socket: Socket) => void) => Promise<Server>;
  /** What the file says when it is sent over this connection. */
  readonly file: (data: Socket) => string;
}

/** Serves a control connection that has been greeted. */
export function serveFtp(connection: Socket, { secureContext, listen, file }: FtpServerOptions): void {
  const secure = (socket: Socket): Socket => new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => socket.destroy());
  let control = connection;
  let isDataPrivate = false;
  let passive: { readonly listener: Server; readonly arrived: Promise<Socket> } | undefined;
  const reply = (line: string): void => void control.write(`${line}\r\n`);

  const commands: Readonly<Record<string, () => unknown>> = {
    'QUIT': () => control.end('221 bye\r\n'),
    'AUTH TLS': () => {
      reply('234 speak');
      control.off('data', hear);
      control = secure(control).on('data', hear);
    },
    'PBSZ 0': () => reply('200 as you like'),
    'PROT P': () => {
      isDataPrivate = true;
      reply('200 as you like');
    },
    'EPSV': openPassively,
    'RETR file': send,
  };

  async function openPassively(): Promise<void> {
    const { promise: arrived, resolve } = Promise.withResolvers<Socket>();
    const listener = await listen(connection.localAddress!, (socket) => {
      listener.close();
      resolve(socket);
    });
    passive = { listener, arrived };
    reply(`229 Entering Extended Passive Mode (|||${(listener.address() as AddressInfo).port}|)`); // worded as a gateway words it, so that bytes can be compared
  }

  async function send(): Promise<void> {
    if (passive === undefined) {
      reply('425 nowhere to send it');
      return;
    }
    reply('150 here it is');
    const data = await passive.arrived;
    (isDataPrivate ? secure(data) : data).end(file(data));
    await once(data, 'close');
    reply('226 that was it');
  }

  let text = '';
  function hear(chunk: Buffer): void {
    text += chunk.toString('latin1');
    const lines = text.split('\r\n');
    text = lines.pop()!;
    for (const line of lines) (commands[line] ?? (() => reply('502 what?')))();
  }
  connection.once('close', () => passive?.listener.close());
  control.on('data', hear);
}
