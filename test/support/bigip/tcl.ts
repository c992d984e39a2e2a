/** A tclsh that interprets an iRule as a BIG-IP does: one process, asked by lines, for as many connections as a test has. `irules.tcl` says what it knows. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createInterface } from 'node:readline';

/** What an event has brought about, of it one thing. */
export type Effect =
  | { readonly kind: 'pool' | 'snatpool'; readonly name: string }
  | { readonly kind: 'reject' }
  | { readonly kind: 'send'; readonly line: string }
  | { readonly kind: 'after'; readonly timer: string; readonly everyMs: number }
  | { readonly kind: 'cancel'; readonly timer: string }
  /** A Tcl error that nothing has caught: the connection is reset. */
  | { readonly kind: 'error'; readonly message: string };

/** Those that the iRule may have handlers for. */
export type IruleEvent = 'CLIENT_ACCEPTED' | 'CLIENTSSL_CLIENTHELLO' | 'CLIENTSSL_CLIENTCERT' | 'CLIENTSSL_HANDSHAKE' | 'LB_FAILED' | 'SERVER_CONNECTED' | 'SERVER_CLOSED' | 'CLIENT_CLOSED';

/** What commands tell of a connection, from the event on at which it is said. */
export interface Facts {
  readonly clientAddress?: string;
  readonly clientPort?: number;
  readonly virtualAddress?: string;
  readonly virtualPort?: number;
  /** Whole, with its type and length; empty for none. */
  readonly serverNameExtension?: Buffer;
  /** PEM; empty for none. */
  readonly certificate?: string;
  /** X509_V_ERR_. */
  readonly verifyResult?: number;
  readonly snatAddress?: string;
  readonly snatPort?: number;
  readonly targetAddress?: string;
  readonly targetPort?: number;
  /** On the server's side. */
  readonly bytesIn?: number;
  readonly bytesOut?: number;
}

/** Bytes as they are, text as UTF-8. */
type Word = string | number | Buffer;

export interface Tcl {
  /** Instead of the one before. Throws where Tcl does. */
  load(iRule: string): Promise<void>;
  setGroup(name: string, records: readonly { readonly key: string; readonly value: string }[]): Promise<void>;
  setPool(name: string, members: readonly { readonly address: string; readonly port: number }[]): Promise<void>;
  /** A SNAT pool, or a log publisher. */
  setObject(name: string): Promise<void>;
  drop(name: string): Promise<void>;
  event(connection: number, event: IruleEvent, facts?: Facts): Promise<readonly Effect[]>;
  timer(connection: number, timer: string, facts?: Facts): Promise<readonly Effect[]>;
  forget(connection: number): Promise<void>;
  /** What a proc of the iRule's returns. Throws where it ends by an error. */
  call(proc: string, ...words: readonly Word[]): Promise<string>;
  stop(): Promise<void>;
}

/** @param program path of tclsh, see `requirePeer` */
export function startTcl(program: string): Tcl {
  const child = spawn(program, [fileURLToPath(new URL('irules.tcl', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting: { readonly resolve: (words: readonly string[]) => void; readonly reject: (error: Error) => void }[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [status, ...words] = line.split(' ');
    const decoded = words.map((word) => Buffer.from(word.slice(1), 'base64').toString('latin1'));
    const { resolve, reject } = waiting.shift()!;
    if (status === 'ok') resolve(decoded);
    else reject(new Error(`Tcl says: ${decoded.join(' ')}`));
  });
  const exited = once(child, 'exit').then(() => {
    for (const { reject } of waiting) reject(new Error('tclsh has ended'));
  });
  child.stdin.on('error', () => undefined); // of one that has ended, which is told above

  const ask = (...words: readonly Word[]): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin.write(`${words.map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word))).toString('base64')).join(' ')}\n`);
    });
  const tell = async (...words: readonly Word[]): Promise<void> => {
    await ask(...words);
  };

  return {
    load: (iRule) => tell('load', iRule),
    setGroup: (name, records) => tell('group', name, ...records.flatMap(({ key, value }) => [key, value])),
    setPool: (name, members) => tell('pool', name, ...members.flatMap(({ address, port }) => [address, port])),
    setObject: (name) => tell('object', name),
    drop: (name) => tell('drop', name),
    event: async (connection, event, facts = {}) => effectsOf(await ask('event', connection, event, ...wordsOf(facts))),
    timer: async (connection, timer, facts = {}) => effectsOf(await ask('timer', connection, timer, ...wordsOf(facts))),
    forget: (connection) => tell('forget', connection),
    call: async (proc, ...words) => (await ask('call', proc, ...words))[0]!,
    async stop() {
      child.stdin.end();
      await exited;
    },
  };
}

const wordsOf = (facts: Facts): readonly Word[] => Object.entries(facts).flatMap(([name, value]: readonly [string, Word]) => [name, value]);

function effectsOf(words: readonly string[]): readonly Effect[] {
  return Array.from({ length: words.length / 2 }, (_, index) => effectOf(words[index * 2]!, words[index * 2 + 1]!));
}

function effectOf(kind: string, value: string): Effect {
  switch (kind) {
    case 'pool':
    case 'snatpool':
      return { kind, name: value };
    case 'reject':
      return { kind };
    case 'send':
      return { kind, line: value };
    case 'after': {
      const [timer, everyMs] = value.split(' ');
      return { kind, timer: timer!, everyMs: Number(everyMs) };
    }
    case 'cancel':
      return { kind, timer: value };
    case 'error':
      return { kind, message: value };
    default:
      throw new Error(`an effect that nobody knows: ${kind}`);
  }
}
