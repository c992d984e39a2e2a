/**
 * The `sallyport` command. stdout is data, stderr is talk; exit codes: 0 ok, 1 negative answer or differences, 2 usage or
 * invalid input, 3 not found, 4 not authorised, 5 conflict or exhausted, 6 unavailable or timed out, 70 bug.
 */
import { CommanderError } from 'commander';
import { SallyportError } from '../core/errors.ts';
import { describeError } from './faults.ts';
import type { CliContext } from './context.ts';
import { createProgram } from './program.ts';

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
// A reader that has seen enough (`| head`) closes the pipe; that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 70));

const context: CliContext = {
  env: process.env,
  stdin: process.stdin,
  out: (line) => void process.stdout.write(`${line}\n`),
  say: (line) => void process.stderr.write(`${line}\n`),
  isTerminal: process.stdout.isTTY,
  setExitStatus: (status) => void (process.exitCode = status),
  signal: interrupted.signal,
};

try {
  await createProgram(context).parseAsync(process.argv);
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2; // commander has printed it
  else if (error instanceof SallyportError) {
    for (const line of describeError(error)) context.say(line);
    process.exitCode = error.meaning.exit;
  } else {
    context.say(`bug: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exitCode = 70;
  }
}
