/** What the demo's workloads run: a curl-like CONNECT and a passive FTP client, each over whatever socket it is given. */
import { connect as connectTcp } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const timeoutMs = 10_000;

/** Reads from a stream in the pieces a dialogue needs. Ends with an error when the peer does, or after ten seconds of silence. */
export interface Dialogue {
  readonly socket: Duplex;
  write(text: string | Buffer): void;
  /** Up to and including `end`. */
  readUntil(end: string): Promise<string>;
  readAll(): Promise<Buffer>;
}

export function startDialogue(socket: Duplex): Dialogue {
  let buffered = Buffer.alloc(0);
  let failure: Error | undefined;
  let ended = false;
  let wake: () => void = () => undefined;
  socket.on('data', (chunk: Buffer) => {
    buffered = Buffer.concat([buffered, chunk]);
    wake();
  });
  socket.on('error', (error: Error) => {
    failure = error;
    wake();
  });
  socket.on('end', () => finish());
  socket.on('close', () => finish());
  function finish(): void {
    ended = true;
    wake();
  }
  async function more(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('the peer is silent')), timeoutMs);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (ended || failure !== undefined) wake();
    });
  }
  return {
    socket,
    write: (text) => void socket.write(text),
    async readUntil(end) {
      for (;;) {
        const at = buffered.indexOf(end);
        if (at !== -1) {
          const text = buffered.subarray(0, at + end.length).toString('latin1');
          buffered = buffered.subarray(at + end.length);
          return text;
        }
        if (ended || failure !== undefined) throw failure ?? new Error('the peer has closed the connection');
        await more();
      }
    },
    async readAll() {
      while (!ended && failure === undefined) await more();
      if (failure !== undefined) throw failure;
      return buffered;
    },
  };
}

/** A plain connection, as a workload makes to its agent. */
export async function openPlain(port: number, address = '127.0.0.1'): Promise<Dialogue> {
  const socket = connectTcp({ port, host: address, noDelay: true });
  const dialogue = startDialogue(socket);
  await happened(socket, 'connect');
  return dialogue;
}

/** An mTLS connection as a sidecar makes it, with the SVID that an agent wrote to `directory`. */
export async function openAsSidecar(directory: string, port: number, serverName?: string): Promise<Dialogue> {
  const file = (name: string) => readFileSync(join(directory, name));
  const socket: TLSSocket = connectTls({
    host: '127.0.0.1',
    port,
    ...(serverName === undefined ? {} : { servername: serverName }),
    cert: file('svid.pem'),
    key: file('svid_key.pem'),
    ca: file('svid_bundle.pem'),
    ALPNProtocols: ['istio'],
    minVersion: 'TLSv1.3',
    // The demo plays the workload's side only; that agents check the gateway's SPIFFE ID is proved in the agent's tests.
    checkServerIdentity: () => undefined,
  });
  const dialogue = startDialogue(socket);
  await happened(socket, 'secureConnect');
  return dialogue;
}

async function happened(socket: Duplex, event: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} within ${timeoutMs / 1000} s`)), timeoutMs);
    socket.once(event, () => {
      clearTimeout(timer);
      resolve();
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
}

/** `curl -p -x PROXY http://ORIGIN/`: CONNECT, then a GET through the tunnel. The answer's body. */
export async function fetchThroughProxy(proxy: Dialogue, originPort: number): Promise<string> {
  proxy.write(`CONNECT 127.0.0.1:${originPort} HTTP/1.1\r\nHost: 127.0.0.1:${originPort}\r\n\r\n`);
  const head = await proxy.readUntil('\r\n\r\n');
  if (!/^HTTP\/1\.[01] 200 /.test(head)) throw new Error(`the proxy answered ${head.split('\r\n')[0] ?? ''}`);
  proxy.write(`GET / HTTP/1.1\r\nHost: 127.0.0.1:${originPort}\r\nConnection: close\r\n\r\n`);
  const answer = (await proxy.readAll()).toString('utf8');
  return answer.slice(answer.indexOf('\r\n\r\n') + 4);
}

/** A logged-in FTP session that speaks EPSV or PASV, one transfer at a time. */
export interface FtpClient {
  command(line: string): Promise<string>;
  /** The port of the next data connection. */
  passive(mode: 'EPSV' | 'PASV'): Promise<number>;
  download(command: string, open: (port: number) => Promise<Dialogue>, mode?: 'EPSV' | 'PASV'): Promise<Buffer>;
  upload(path: string, content: Buffer, open: (port: number) => Promise<Dialogue>): Promise<void>;
  end(): void;
}

export async function logIn(control: Dialogue): Promise<FtpClient> {
  async function reply(): Promise<string> {
    const first = await control.readUntil('\r\n');
    let line = first;
    if (first[3] === '-') while (!line.startsWith(`${first.slice(0, 3)} `)) line = await control.readUntil('\r\n');
    return line.trimEnd();
  }
  async function command(line: string): Promise<string> {
    control.write(`${line}\r\n`);
    return await expect(await reply(), line);
  }
  function expect(answer: string, line: string): Promise<string> {
    return /^[123]/.test(answer) ? Promise.resolve(answer) : Promise.reject(new Error(`${line.split(' ')[0]!}: ${answer}`));
  }
  async function passive(mode: 'EPSV' | 'PASV'): Promise<number> {
    const answer = await command(mode);
    if (mode === 'EPSV') return Number(/\(\|\|\|([0-9]+)\|\)/.exec(answer)![1]);
    const [high, low] = /([0-9]+),([0-9]+)\)?[^0-9]*$/.exec(answer)!.slice(1).map(Number);
    return high! * 256 + low!;
  }
  await expect(await reply(), 'greeting');
  await command('USER demo');
  await command('PASS demo');
  await command('TYPE I');
  return {
    command,
    passive,
    async download(line, open, mode = 'EPSV') {
      const data = await open(await passive(mode));
      await command(line);
      const content = await data.readAll();
      data.socket.destroy();
      await expect(await reply(), line);
      return content;
    },
    async upload(path, content, open) {
      const data = await open(await passive('PASV'));
      await command(`STOR ${path}`);
      data.socket.end(content);
      await expect(await reply(), 'STOR');
      data.socket.destroy();
    },
    end: () => control.socket.destroy(),
  };
}
