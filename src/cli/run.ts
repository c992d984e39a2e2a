import { CommanderError } from 'commander';
import { SallyportError } from '../core/errors.ts';
import { harmless } from '../core/printable.ts';
import type { CliContext } from './context.ts';
import { describeError } from './faults.ts';
import { createProgram } from './program.ts';

/**
 * Runs one command line (without node and script) to its end: prints, tells errors, and sets the exit status. Never
 * rejects. Nothing that it prints moves a terminal's cursor or colours it, whatever a manifest or a server holds.
 */
export async function run(given: CliContext, args: readonly string[]): Promise<void> {
  const context: CliContext = { ...given, out: (text) => given.out(harmless(text)), say: (text) => given.say(harmless(text)) };
  try {
    await createProgram(context).parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode !== 0) context.setExitStatus(2); // commander has printed it
    } else if (error instanceof SallyportError) {
      for (const line of describeError(error)) context.say(line);
      context.setExitStatus(error.meaning.exit);
    } else if (error instanceof Error && 'syscall' in error) {
      // What the operating system refused, such as a port that is taken, is no bug of ours.
      context.say(`error: ${error.message}`);
      context.setExitStatus(6);
    } else {
      context.say(`bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
      context.setExitStatus(70);
    }
  }
}
