/** What the threads of a Node process hold on their heaps, by its inspector: nothing in the process is made for it. */
import { readFile } from 'node:fs/promises';
import { waitFor } from '../../../src/demo/processes.ts';

/** Stands before a command of Node's: its inspector, which opens at SIGUSR1, then takes a free port. */
export const inspectable: readonly string[] = ['env', 'NODE_OPTIONS=--inspect-port=127.0.0.1:0'];

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
}

interface HeapUsage {
  readonly usedSize: number;
  /** Of array buffers. */
  readonly backingStorageSize: number;
}

/** Opens the inspector of a process that was started as `inspectable`, and gives its address. `log` is the file that has its stderr. */
export async function openInspector(pid: number, log: string): Promise<string> {
  process.kill(pid, 'SIGUSR1');
  return await waitFor('the inspector', 10_000, async () => /Debugger listening on (ws:\S+)/.exec(await readFile(log, 'utf8'))?.[1]);
}

/** Bytes in use after a collection, of the main thread and of each worker. */
export async function measureHeaps(inspector: string): Promise<readonly number[]> {
  const socket = new WebSocket(inspector);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  const main = talk((text) => socket.send(text));
  const workers = new Map<string, ReturnType<typeof talk>>();
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(String(data)) as Message;
    const { sessionId = '', message: text = '' } = (message.params ?? {}) as { readonly sessionId?: string; readonly message?: string };
    if (message.method === 'NodeWorker.attachedToWorker') workers.set(sessionId, talk((inner) => void main.call('NodeWorker.sendMessageToWorker', { sessionId, message: inner })));
    else if (message.method === 'NodeWorker.receivedMessageFromWorker') workers.get(sessionId)?.take(JSON.parse(text) as Message);
    else main.take(message);
  };
  try {
    await main.call('NodeWorker.enable', { waitForDebuggerOnStart: false }); // tells of those that run before it answers
    return await Promise.all([main, ...workers.values()].map(heapOf));
  } finally {
    socket.close();
  }
}

async function heapOf({ call }: ReturnType<typeof talk>): Promise<number> {
  // What the first round frees may hold more, by finalisers and weak references.
  for (let turn = 0; turn < 3; turn++) await call('HeapProfiler.collectGarbage');
  const { usedSize, backingStorageSize } = (await call('Runtime.getHeapUsage')) as HeapUsage;
  return usedSize + backingStorageSize;
}

/** Questions and answers with one thread. */
function talk(send: (text: string) => void) {
  const waiting = new Map<number, (result: unknown) => void>();
  let calls = 0;
  return {
    call: (method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> =>
      new Promise((resolve) => {
        const id = (calls += 1);
        waiting.set(id, resolve);
        send(JSON.stringify({ id, method, params }));
      }),
    take({ id, result }: Message) {
      const resolve = waiting.get(id ?? 0);
      waiting.delete(id ?? 0);
      resolve?.(result);
    },
  };
}
