import { once, type EventEmitter } from 'node:events';

/** Says that something has become durable, or that the store closes. */
export type Changes = EventEmitter<{ change: [] }>;

/** Returns at the next change, or when the signal fires. */
export async function nextChange(changes: Changes, signal: AbortSignal | undefined): Promise<void> {
  await once(changes, 'change', signal && { signal }).catch((error: unknown) => {
    if (signal?.aborted !== true) throw error;
  });
}
