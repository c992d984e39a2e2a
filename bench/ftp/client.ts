/** The least of an FTP client, so that none of its own work hides what is measured: passive by EPSV, one transfer at a time. */
import { once } from 'node:events';
import net from 'node:net';

export interface FtpClient {
  list(path: string): Promise<number>;
  /** Bytes received; what comes is not kept. */
  get(path: string): Promise<number>;
  put(path: string, content: Iterable<Buffer>): Promise<void>;
  close(): void;
}

/** Logs in as anybody. */
export async function openFtp({ host, port }: { readonly host: string; readonly port: number }): Promise<FtpClient> {
  const control = net.connect({ host, port, noDelay: true });
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => undefined);
  let input = '';
  let awaited: ((line: string) => void) | undefined;
  const next = (): Promise<string> => Promise.race([failed.promise, new Promise<string>((resolve) => {
    awaited = resolve;
    deliver();
  })]);
  function deliver(): void {
    const reply = /^\d{3} .*\r\n/m.exec(input);
    if (reply === null || awaited === undefined) return;
    input = input.slice(reply.index + reply[0].length);
    const resolve = awaited;
    awaited = undefined;
    resolve(reply[0]);
  }
  control.on('data', (chunk: Buffer) => {
    input += chunk.toString('latin1');
    deliver();
  });
  control.on('error', failed.reject);
  control.on('close', () => failed.reject(new Error(`${host}:${port} has closed the control connection`)));

  async function expect(codes: string): Promise<string> {
    const reply = await next();
    if (!codes.includes(reply[0]!)) throw new Error(`${host}:${port} has said ${reply.trim()}`);
    return reply;
  }
  async function ask(command: string, codes: string): Promise<string> {
    control.write(`${command}\r\n`);
    return await expect(codes);
  }

  /** One data connection, over which `command` does what it does. */
  async function transfer(command: string, carry: (data: net.Socket) => Promise<number>): Promise<number> {
    const dataPort = Number(/\|(\d+)\|\)/.exec(await ask('EPSV', '2'))![1]);
    const data = net.connect({ host, port: dataPort, noDelay: true });
    await once(data, 'connect');
    await ask(command, '1');
    const bytes = await carry(data);
    await expect('2');
    return bytes;
  }

  async function receive(data: net.Socket): Promise<number> {
    let bytes = 0;
    data.on('data', (chunk: Buffer) => (bytes += chunk.length));
    await once(data, 'end');
    return bytes;
  }

  await expect('2');
  await ask('USER anonymous', '3');
  await ask('PASS bench', '2');
  await ask('TYPE I', '2');
  return {
    list: (path) => transfer(`LIST ${path}`, receive),
    get: (path) => transfer(`RETR ${path}`, receive),
    async put(path, content) {
      await transfer(`STOR ${path}`, async (data) => {
        for (const chunk of content) if (!data.write(chunk)) await once(data, 'drain');
        data.end();
        data.resume();
        return 0;
      });
    },
    close: () => control.destroy(),
  };
}
