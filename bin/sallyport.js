#!/usr/bin/env node
// Starts the CLI on the Node that comes with the package where the machine's own is older than 24.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

// A checkout runs its sources; the package ships only what was built from them.
const source = new URL('../src/cli/main.ts', import.meta.url);
const entry = fileURLToPath(existsSync(source) ? source : new URL('../dist/cli/main.js', import.meta.url));

if (Number(process.versions.node.split('.')[0]) >= 24) {
  process.argv[1] = entry;
  await import(entry);
} else {
  const bundled = createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
  const child = spawn(bundled, [entry, ...process.argv.slice(2)], { stdio: 'inherit' });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    if (signal !== null) process.kill(process.pid, signal);
    else process.exitCode = code;
  });
}
