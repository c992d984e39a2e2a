import { setTimeout as sleep } from 'node:timers/promises';

/** Waits until `condition` gives something other than undefined or false; fails after `limitMs`, saying what was awaited. */
export async function until<Value>(what: string, condition: () => Value | undefined | false | Promise<Value | undefined | false>, limitMs = 5_000): Promise<Value> {
  const endMs = Date.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > endMs) throw new Error(`not within ${limitMs} ms: ${what}`);
    await sleep(5);
  }
}
