/** A workload's FTP session by hand, in either mode, that says of everything how far it came: also of what somebody else has ended. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';

/** A transfer that was tried. */
export interface Attempt {
  readonly verb: 'RETR' | 'STOR';
  readonly path: string;
  /** What our end of the data connection has received, or was given to send. */
  bytes: number;
  /** The server's last word; null where it was not heard. */
  replyCode: number | null;
}

export interface FtpSession {
  /** Whether the control connection is there. */
  readonly isOpen: boolean;
  upload(attempt: Attempt, content: Buffer): Promise<void>;
  /** `onChunk` sees each chunk before `bytes` counts it. */
  download(attempt: Attempt, onChunk: (chunk: Buffer) => void): Promise<void>;
  /** Resolves when the server has closed the connection. */
  quit(): Promise<void>;
}

export interface FtpSessionOptions {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly mode: 'active' | 'passive';
  /** Sees each connection, whoever began it. */
  readonly onSocket: (socket: Socket) => void;
}

/** For whatever is asked for to be done, a transfer included. */
const patienceMs = 15_000;

/** Logs in, for binary transfers. Rejects where the connection is closed before. */
export async function openFtpSession({ host, port, user, password, mode, onSocket }: FtpSessionOptions): Promise<FtpSession> {
  const control = connect({ host, port, noDelay: true });
  adopt(control);
  /** Once it goes on no longer. */
  const closing = new AbortController();
  control.once('close', () => closing.abort(new Error('the control connection is closed')));
  closing.signal.addEventListener('abort', () => wake());
  const replies: string[] = [];
  let text = '';
  let wake: () => void = () => undefined;
  control.setEncoding('latin1').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\r\n');
    text = lines.pop()!;
    replies.push(...lines.filter((line) => /^\d{3} /.test(line)));
    wake();
  });

  function adopt(socket: Socket): void {
    socket.on('error', () => undefined); // `close` follows
    onSocket(socket);
  }

  async function withPatience<Result>(act: () => Promise<Result>): Promise<Result> {
    const timer = setTimeout(() => closing.abort(new Error('nothing happens any more')), patienceMs);
    try {
      return await act();
    } finally {
      clearTimeout(timer);
    }
  }

  async function reply(): Promise<string> {
    while (replies.length === 0) {
      closing.signal.throwIfAborted();
      await new Promise<void>((resolve) => (wake = resolve));
    }
    return replies.shift()!;
  }

  async function expect(class_: '1' | '2' | '3', what: string): Promise<string> {
    const line = await reply();
    if (!line.startsWith(class_)) throw new Error(`${what}: ${line}`);
    return line;
  }

  async function ask(command: string, class_: '1' | '2' | '3' = '2'): Promise<string> {
    control.write(`${command}\r\n`);
    return await expect(class_, command);
  }

  /** Prepares a data connection; gives what awaits it. */
  async function prepare(): Promise<() => Promise<Socket>> {
    const { signal } = closing;
    if (mode === 'passive') {
      const data = connect({ host, port: Number(/\|(\d+)\|\)/.exec(await ask('EPSV'))![1]), noDelay: true });
      adopt(data);
      signal.addEventListener('abort', () => data.resume(), { once: true }); // its end is seen only by reading
      await once(data, 'connect', { signal });
      return () => Promise.resolve(data);
    }
    const listener = createServer({ noDelay: true });
    const arrived = new Promise<Socket>((resolve, reject) => {
      listener.once('connection', (data: Socket) => {
        adopt(data);
        listener.close();
        resolve(data);
      });
      signal.addEventListener('abort', () => {
        listener.close();
        reject(signal.reason as Error);
      }, { once: true });
    });
    arrived.catch(() => undefined); // nobody waits for it any more where the session has ended before
    await once(listener.listen(0, control.localAddress), 'listening');
    await ask(`EPRT |1|${control.localAddress}|${(listener.address() as AddressInfo).port}|`);
    return () => arrived;
  }

  async function transfer(attempt: Attempt, carry: (data: Socket) => Promise<void>): Promise<void> {
    await withPatience(async () => {
      const connected = await prepare();
      await ask(`${attempt.verb} ${attempt.path}`, '1');
      await carry(await connected());
      attempt.replyCode = Number((await expect('2', attempt.verb)).slice(0, 3));
    });
  }

  await withPatience(async () => {
    await expect('2', 'greeting');
    await ask(`USER ${user}`, '3');
    await ask(`PASS ${password}`);
    await ask('TYPE I');
  });
  return {
    get isOpen() {
      return !control.closed;
    },
    upload: (attempt, content) =>
      transfer(attempt, async (data) => {
        const closed = closeOf(data);
        data.end(content).resume();
        attempt.bytes = content.length;
        await closed;
      }),
    download: (attempt, onChunk) =>
      transfer(attempt, async (data) => {
        const closed = closeOf(data);
        data.on('data', (chunk: Buffer) => {
          onChunk(chunk);
          attempt.bytes += chunk.length;
        });
        await closed;
      }),
    async quit() {
      const closed = closeOf(control);
      await withPatience(() => ask('QUIT'));
      control.end();
      await closed;
    },
  };
}

/** It may be closed already: the reply before a transfer and the reset of its connection arrive together. */
async function closeOf(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close');
}
