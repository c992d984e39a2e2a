/**
 * The `sallyport` command. stdout is data, stderr is talk; exit codes: 0 ok, 1 negative answer or differences, 2 usage or
 * invalid input, 3 not found, 4 not authorised, 5 conflict or exhausted, 6 unavailable or timed out, 70 bug.
 */
import type { CliContext } from './context.ts';
import { run } from './run.ts';

// A reader that has seen enough (`| head`) closes the pipe; that is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 70));

const interrupted = new AbortController();
let isHandled = false;

const context: CliContext = {
  env: process.env,
  stdin: process.stdin,
  out: (text) => void process.stdout.write(`${text}\n`),
  say: (text) => void process.stderr.write(`${text}\n`),
  setExitStatus: (status) => void (process.exitCode = status),
  interruption() {
    if (!isHandled) for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort());
    isHandled = true;
    return interrupted.signal;
  },
};

await run(context, process.argv.slice(2));
