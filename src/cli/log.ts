import type { Logger } from 'pino';

/** The log of a process that goes on: JSON lines on stderr, since stdout is for data. */
export async function createLog(name: string, level: string): Promise<Logger> {
  const { pino } = await import('pino');
  return pino({ name, level }, pino.destination(2));
}
