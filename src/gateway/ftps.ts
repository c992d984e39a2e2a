/**
 * FTPS towards the server (RFC 4217): the control connection is secured before the session begins, and each data connection
 * resumes its TLS session, which servers demand as the proof that both have the same client.
 */
import net from 'node:net';
import tls from 'node:tls';
import { parseReplyLine } from '../core/ftp/index.ts';
import { setCarrier } from '../relay/reset.ts';

export interface FtpsSettings {
  /** Explicit: `AUTH TLS` on a plain connection. Implicit: TLS from the first byte. */
  readonly handshake: 'Explicit' | 'Implicit';
  /** The name that the server's certificate must carry: a host, or an address. */
  readonly serverName: string;
  /** PEM. Absent: the well-known certificate authorities that Node carries. */
  readonly caCertificates?: string;
}

/** A control connection that is as secure as it is to be. */
export interface SecuredServer {
  readonly ok: true;
  /** The server's greeting is the first that is read from it. */
  readonly socket: net.Socket;
  /**
   * Secures a connected data connection as the control connection was. The handshake waits for the server, which begins it with the
   * transfer. Rejects where it fails; the socket is destroyed then.
   */
  readonly secureData: (carrier: net.Socket, timeoutMs: number) => Promise<net.Socket>;
}

export interface SecuredControl extends SecuredServer {
  readonly socket: tls.TLSSocket;
  readonly secureData: (carrier: net.Socket, timeoutMs: number) => Promise<tls.TLSSocket>;
}

/** `detail` is one sentence, safe to print. */
export interface SecuringFailure {
  readonly ok: false;
  readonly reason: 'target-tls-failed';
  readonly detail: string;
}

/** Longest reply that is read while the connection is being secured. A greeting may be long. */
const replyBytesMax = 65_536;

/** Secures a control connection on which nothing was read yet. On failure `carrier` is destroyed: nothing is ever sent in the clear instead. */
export async function secureControl(carrier: net.Socket, settings: FtpsSettings, timeoutMs: number): Promise<SecuredControl | SecuringFailure> {
  const expired = setTimeout(() => carrier.destroy(new Error(`the server has not secured the connection within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await secure(carrier, settings);
  } catch (error) {
    carrier.destroy();
    return { ok: false, reason: 'target-tls-failed', detail: error instanceof Error ? printable(error.message) : 'the connection could not be secured' };
  } finally {
    clearTimeout(expired);
  }
}

async function secure(carrier: net.Socket, settings: FtpsSettings): Promise<SecuredControl> {
  const secureContext = tls.createSecureContext({ ...(settings.caCertificates === undefined ? {} : { ca: settings.caCertificates }), minVersion: 'TLSv1.2' });
  let session: Buffer | undefined;
  let greeting: string | undefined;

  function connect(socket: net.Socket): Promise<tls.TLSSocket> {
    const secured = tls.connect({ socket, secureContext, ...nameOptions(settings.serverName), ...(session === undefined ? {} : { session }) });
    setCarrier(secured, socket);
    secured.on('session', (newest: Buffer) => (session = newest)); // a ticket of TLS 1.3 comes after the handshake, and more may follow
    return new Promise((resolve, reject) => {
      // Node 24.21 crashes (SIGSEGV) where a connection is reset within the call that ends its handshake: that call is left first.
      secured.once('secureConnect', () => setImmediate(() => resolve(secured)));
      secured.on('error', reject); // stays: what fails later is seen by whoever reads
      secured.once('close', () => reject(new Error('the server has closed the connection instead of securing it')));
    });
  }

  if (settings.handshake === 'Explicit') {
    greeting = await readReply(carrier);
    if (!greeting.startsWith('2')) throw new Error(`the server's greeting is ${JSON.stringify(firstLine(greeting))}`);
    const answer = await ask(carrier, 'AUTH TLS');
    if (!answer.startsWith('234')) throw new Error(`the server refuses TLS: ${JSON.stringify(firstLine(answer))}`);
    // What was sent behind the answer would be read as if it had come by TLS.
    if (carrier.readableLength > 0) throw new Error('the server has sent more than its answer before TLS');
  }
  const socket = await connect(carrier);
  greeting ??= await readReply(socket);
  for (const command of ['PBSZ 0', 'PROT P']) {
    const answer = await ask(socket, command);
    if (!answer.startsWith('2')) throw new Error(`the server refuses to secure data connections: ${JSON.stringify(firstLine(answer))}`);
  }
  socket.unshift(Buffer.from(greeting, 'latin1'));
  return {
    ok: true,
    socket,
    async secureData(data, timeoutMs) {
      const expired = setTimeout(() => data.destroy(new Error(`the server has not secured the data connection within ${timeoutMs} ms`)), timeoutMs);
      try {
        return await connect(data);
      } catch (error) {
        data.destroy();
        throw error;
      } finally {
        clearTimeout(expired);
      }
    },
  };
}

/** An address is no name for SNI (RFC 6066 section 3), and is looked for among the certificate's addresses. */
function nameOptions(serverName: string): tls.ConnectionOptions {
  return net.isIP(serverName) === 0 ? { servername: serverName } : { host: serverName };
}

async function ask(socket: net.Socket, command: string): Promise<string> {
  socket.write(`${command}\r\n`);
  return await readReply(socket);
}

/** One whole reply, its lines as they came; what follows it stays unread. */
async function readReply(socket: net.Socket): Promise<string> {
  let text = '';
  for (;;) {
    const length = replyLength(text);
    if (length !== undefined) {
      if (length < text.length) socket.unshift(Buffer.from(text.slice(length), 'latin1'));
      return text.slice(0, length);
    }
    if (text.length > replyBytesMax) throw new Error(`the server's reply is longer than ${replyBytesMax} bytes`);
    text += (await nextChunk(socket)).toString('latin1');
  }
}

/** Where the first reply of the text ends; undefined where more is to come. Throws where it is no reply. */
function replyLength(text: string): number | undefined {
  let code: number | undefined;
  for (let start = 0, end = text.indexOf('\n'); end !== -1; start = end + 1, end = text.indexOf('\n', start)) {
    const line = parseReplyLine(text.slice(start, end).replace(/\r$/, ''));
    code ??= line?.code;
    if (code === undefined) throw new Error('the server sent what is not a reply');
    if (line?.last === true && line.code === code) return end + 1;
  }
  return undefined;
}

function nextChunk(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      socket.off('readable', read).off('end', ended).off('error', failed).off('close', ended);
      act();
    };
    const read = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk !== null) settle(() => resolve(chunk));
    };
    const ended = (): void => settle(() => reject(socket.errored ?? new Error('the server has closed the connection')));
    const failed = (error: Error): void => settle(() => reject(error));
    socket.on('readable', read).on('end', ended).on('error', failed).on('close', ended);
    if (socket.destroyed || socket.readableEnded) ended();
    else read();
  });
}

const firstLine = (reply: string): string => printable(reply.split(/\r?\n/, 1)[0]!.slice(0, 200));
/** Text from a server, made fit for a record. */
export const printable = (text: string): string => text.replaceAll(/[^ -~]/g, '?');
