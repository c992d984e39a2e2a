#!/usr/bin/env node
// Starts the CLI on the Node that comes with the package where the machine's own is older than 24.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

// A checkout runs its sources; the package ships only what was built from them.
const source = new URL('../src/cli/main.ts', import.meta.url);
const entry = fileURLToPath(existsSync(source) ? source : new URL('../dist/cli/main.js', import.meta.url));

const command = [entry, ...process.argv.slice(2)];

// The control plane is not to stand still for more than 5 ms, and collecting a large young generation takes longer
// (docs/decisions/0106). V8 takes its size only when a process starts.
const isServe = process.argv[2] === 'serve';
// On Kubernetes a pod has so much memory and no more, and 16,000 objects that come at once leave much behind.
const isBounded = isServe && process.argv.includes('--kubernetes');
const nodeOptions = isServe ? ['--max-semi-space-size=4', ...(isBounded ? ['--heap-growing-percent=15'] : [])] : [];
const environment = { ...(isBounded ? { MALLOC_ARENA_MAX: '1' } : {}), ...process.env };

if (Number(process.versions.node.split('.')[0]) < 24) {
  const bundled = createRequire(import.meta.url).resolve(`node-${process.platform}-${process.arch}/bin/node`);
  const child = spawn(bundled, [...nodeOptions, ...command], { stdio: 'inherit', env: environment });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    if (signal !== null) process.kill(process.pid, signal);
    else process.exitCode = code;
  });
} else if (isServe) {
  // The same process goes on, with its id, files and terminal. What Node was given comes after our own, and so wins.
  process.execve(process.execPath, [process.execPath, ...nodeOptions, ...process.execArgv, ...command], environment);
} else {
  process.argv[1] = entry;
  await import(entry);
}
