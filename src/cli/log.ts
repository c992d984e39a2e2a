import { Option } from 'commander';
import type { Logger } from 'pino';

export function logLevelOption(): Option {
  return new Option('--log-level <level>', 'how much the log says').choices(['trace', 'debug', 'info', 'warn', 'error']).default('info');
}

/** The log of a process that goes on: JSON lines on stderr, since stdout is for data. */
export async function createLog(name: string, level: string): Promise<Logger> {
  const { pino } = await import('pino');
  return pino({ name, level }, pino.destination(2));
}
