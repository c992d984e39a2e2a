/**
 * `npm test`: everything that this machine can run. A missing peer is named with the command that installs it and its
 * tests are skipped; with CI=true what is missing is installed, and a skipped test fails the run.
 */
import { globSync } from 'node:fs';
import Mocha from 'mocha';
import { installCommand, installPeers, missingPeers } from './peers.ts';

const inCi = process.env['CI'] === 'true';

function preparePeers(): void {
  const missing = missingPeers();
  if (missing.length === 0) return;
  if (!inCi) {
    process.stderr.write(`missing: ${missing.map((peer) => peer.program).join(', ')}; their tests are skipped\n  install: ${installCommand(missing)}\n`);
    return;
  }
  installPeers(missing);
}

/** Mocha lets a rejection that nobody waits for pass; here it fails the run, since it would end a process in production. */
const unhandled: unknown[] = [];
process.on('unhandledRejection', (reason) => {
  unhandled.push(reason);
  process.stderr.write(`unhandled rejection: ${reason instanceof Error ? (reason.stack ?? reason.message) : String(reason)}\n`);
});

async function runTests(patterns: readonly string[]): Promise<number> {
  const files = patterns.flatMap((pattern) => globSync(pattern)).sort();
  if (files.length === 0) throw new Error(`no test file matches ${patterns.join(' ')}`);
  const mocha = new Mocha({ timeout: 10_000, forbidOnly: true, reporter: 'spec', failZero: true });
  for (const file of files) mocha.addFile(file);
  await mocha.loadFilesAsync();
  return await new Promise((resolve) => {
    const runner = mocha.run((failures) => {
      const { passes = 0, pending = 0 } = runner.stats ?? {};
      const failed = failures + unhandled.length;
      process.stdout.write(`${passes} passed, ${failed} failed, ${pending} skipped\n`);
      resolve(failed > 0 || (inCi && pending > 0) ? 1 : 0);
    });
  });
}

// What tests start they end on exit, which a signal alone would not bring about.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

preparePeers();
const args = process.argv.slice(2);
// A test that leaves a handle open would hang the run: it ends here.
process.exit(await runTests(args.length > 0 ? args : ['test/**/*.test.ts']));
