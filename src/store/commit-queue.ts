import { SallyportError } from '../core/errors.ts';

/**
 * Group commit: whatever was pushed while the last group was being made durable is the next group, and what the next turns of
 * the event loop bring. One at a time costs a disk's whole latency each; in groups the same disk takes tens of thousands a second.
 */
export interface CommitQueue<Item, Receipt> {
  /** Why nothing is taken any more, or undefined. */
  readonly failure: SallyportError | undefined;
  /** What was pushed and is not being written yet. */
  readonly waitingBytes: number;
  /** Why an item of this size would be refused at this moment, or undefined. */
  refusal(bytes: number): SallyportError | undefined;
  /**
   * Queues an item; resolves once it is durable. Rejects with `unavailable` where the queue is full or closed, and with
   * `store-failed` once a write has failed: what is on the disk is then unknown, so nothing further is written.
   */
  push(item: Item, bytes: number): Promise<Receipt>;
  /** Runs `work` alone, after everything pushed before is durable and before anything pushed later is written. */
  exclusive(work: () => Promise<void>): Promise<void>;
  /** Takes nothing more, and rejects what waits, as after a failed write. */
  fail(cause: unknown): void;
  /** Waits for what was pushed, then takes nothing more. */
  close(): Promise<void>;
}

export interface CommitQueueOptions<Item, Receipt> {
  /** For messages: the file. */
  readonly name: string;
  /** Makes a group durable and gives a receipt for each item. Never called again after it has thrown. */
  readonly write: (group: readonly Item[]) => Promise<readonly Receipt[]>;
  /** A group ends when it holds this much; an item that alone is larger is a group of its own. */
  readonly groupBytesMax?: number;
  readonly groupItemsMax?: number;
  /** Refuses when this much waits. */
  readonly queueBytesMax?: number;
}

type Waiting<Item, Receipt> =
  | { readonly kind: 'item'; readonly item: Item; readonly bytes: number; readonly resolve: (receipt: Receipt) => void; readonly reject: (error: unknown) => void }
  | { readonly kind: 'work'; readonly work: () => Promise<void>; readonly resolve: () => void; readonly reject: (error: unknown) => void };

// A group costs the disk, the thread that writes it and the answers that leave behind it about the same, whatever its size.
const gatherTurnsMax = 10;
const quietTurns = 2; // one lies between for certain, in whatever order a turn's work is done

export function openCommitQueue<Item, Receipt>({ name, write, groupBytesMax = 1 << 20, groupItemsMax = 256, queueBytesMax = 64 << 20 }: CommitQueueOptions<Item, Receipt>): CommitQueue<Item, Receipt> {
  const waiting: Waiting<Item, Receipt>[] = [];
  let waitingBytes = 0;
  let failure: SallyportError | undefined;
  let closed = false;
  let draining: Promise<void> | undefined;

  function refusal(bytes: number): SallyportError | undefined {
    if (failure !== undefined) return failure;
    if (closed) return new SallyportError('unavailable', `${JSON.stringify(name)} is closed`, { place: name });
    if (waiting.length > 0 && waitingBytes + bytes > queueBytesMax) return overload(name, waitingBytes);
    return undefined;
  }

  function enqueue(entry: Waiting<Item, Receipt>): void {
    waiting.push(entry);
    draining ??= drain();
  }

  async function drain(): Promise<void> {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (first.kind === 'work') {
        waiting.shift();
        await first.work().then(first.resolve, first.reject);
      } else {
        await gather();
        await writeGroup();
      }
    }
    draining = undefined; // in the turn that found nothing waiting, so that the next push starts anew
  }

  /** Waits while the turns of the event loop bring the group company, so that what comes one by one leaves together. */
  async function gather(): Promise<void> {
    for (let turn = 0, lastNews = 0, had = waiting.length; turn < gatherTurnsMax && turn - lastNews < quietTurns && had < groupItemsMax; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (waiting.length > had) lastNews = turn + 1;
      had = waiting.length;
    }
  }

  function takeGroup(): Extract<Waiting<Item, Receipt>, { kind: 'item' }>[] {
    const group = [];
    let bytes = 0;
    for (const entry of waiting) {
      if (entry.kind !== 'item' || group.length === groupItemsMax || (group.length > 0 && bytes + entry.bytes > groupBytesMax)) break;
      group.push(entry);
      bytes += entry.bytes;
    }
    waiting.splice(0, group.length);
    waitingBytes -= bytes;
    return group;
  }

  async function writeGroup(): Promise<void> {
    const group = takeGroup();
    try {
      const receipts = await write(group.map((entry) => entry.item));
      group.forEach((entry, index) => entry.resolve(receipts[index]!));
    } catch (error) {
      const reason = fail(error);
      for (const entry of group) entry.reject(reason);
    }
  }

  function fail(cause: unknown): SallyportError {
    failure ??= storeFailure(name, cause);
    for (const entry of waiting.splice(0)) entry.reject(failure);
    waitingBytes = 0;
    return failure;
  }

  return {
    get failure() {
      return failure;
    },
    get waitingBytes() {
      return waitingBytes;
    },
    refusal,
    push: (item, bytes) =>
      new Promise((resolve, reject) => {
        const refused = refusal(bytes);
        if (refused !== undefined) {
          reject(refused);
          return;
        }
        waitingBytes += bytes;
        enqueue({ kind: 'item', item, bytes, resolve, reject });
      }),
    exclusive: (work) =>
      new Promise((resolve, reject) => {
        const refused = refusal(0);
        if (refused !== undefined) reject(refused);
        else enqueue({ kind: 'work', work, resolve, reject });
      }),
    fail,
    close: async () => {
      closed = true;
      await draining;
    },
  };
}

function overload(name: string, waitingBytes: number): SallyportError {
  return new SallyportError('unavailable', `${JSON.stringify(name)} has ${waitingBytes} bytes waiting for the disk`, { place: name, hint: 'try again later; if it stays so, the disk is too slow for the load' });
}

/** What every caller gets once the disk has refused a write. */
function storeFailure(name: string, cause: unknown): SallyportError {
  if (cause instanceof SallyportError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
  const hint = code === 'ENOSPC' ? 'make room on the disk, then start the process again' : "look at the kernel's log for this disk, then start the process again";
  return new SallyportError('store-failed', `writing ${JSON.stringify(name)} failed (${code})`, { place: name, hint, cause });
}
