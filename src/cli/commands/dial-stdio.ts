import { createConnection } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { defaultSocketPath, errorCodeOf, type CliContext } from '../context.ts';

/** As `docker system dial-stdio`: what is at the other end of `kubectl exec` speaks to the admin API as if it were here. */
export function addDialStdio(program: Command, context: CliContext): void {
  program
    .command('dial-stdio')
    .summary("join standard input and output with the admin API's socket, as commands elsewhere have it done in a pod")
    .addHelpText('after', '\nEXIT CODES\n  0 either side has ended it   6 control plane away')
    .action(async () => {
      const path = defaultSocketPath(context.env);
      const socket = createConnection(path);
      // Bytes, and not the lines that other commands print.
      const { stdin, stdout } = process;
      try {
        // Whoever asks keeps its side open until the answer has ended.
        await Promise.race([pipeline(stdin, socket), pipeline(socket, stdout, { end: false })]);
      } catch (cause) {
        throw new SallyportError('unavailable', `the control plane cannot be reached at ${JSON.stringify(path)} (${errorCodeOf(cause)})`, { place: path, cause });
      } finally {
        socket.destroy();
        stdin.destroy();
      }
    });
}
