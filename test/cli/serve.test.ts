import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { commandLine } from './support/command-line.ts';

const limitMs = 8_000;

interface Sallyport {
  readonly child: ChildProcess;
  /** Resolves with the first line of the log that has this message. */
  logged(message: string): Promise<Readonly<Record<string, unknown>>>;
  /** Resolves with exit status or signal, and everything that was printed. */
  readonly ended: Promise<{ readonly status: number | string | null; readonly out: string; readonly err: string }>;
}

describe('sallyport as a process', () => {
  let directory: string;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-serve-'));
  });
  afterEach(async () => {
    for (const child of children.splice(0).filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    rmSync(directory, { recursive: true });
  });

  function start(args: readonly string[]): Sallyport {
    const child = spawn(process.execPath, ['bin/sallyport.js', ...args], { env: { ...process.env, SALLYPORT_STATE: directory }, stdio: ['pipe', 'pipe', 'pipe'] });
    children.push(child);
    const lines: string[] = [];
    const watchers = new Set<() => void>();
    createInterface(child.stderr).on('line', (line) => {
      lines.push(line);
      for (const watcher of watchers) watcher();
    });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    const ended = once(child, 'close').then(([status, signal]) => ({ status: (status ?? signal) as number | string | null, out, err: lines.join('\n') }));
    return {
      child,
      ended,
      logged: (message) =>
        new Promise((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error(`no ${JSON.stringify(message)} in:\n${lines.join('\n')}`)), limitMs);
          const look = () => {
            const found = lines.find((line) => line.includes(`"msg":${JSON.stringify(message)}`));
            if (found === undefined) return;
            clearTimeout(timer);
            watchers.delete(look);
            resolve(JSON.parse(found) as Record<string, unknown>);
          };
          watchers.add(look);
          look();
        }),
    };
  }

  const serve = () => start(['serve', '--listen', '127.0.0.1:0']);

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`serve ends with status 0 by ${signal}, having answered on its socket, and leaves the state for the next`, async () => {
      const first = serve();
      await first.logged('control plane started');
      assert.equal((await start(['ca', 'init']).ended).status, 0);
      first.child.kill(signal);
      const { status, out } = await first.ended;
      assert.deepEqual([status, out], [0, '']);
      const second = serve();
      await second.logged('control plane started');
      const shown = await start(['status']).ended;
      assert.deepEqual([shown.status, /^control plane +ready/.test(shown.out)], [0, true], shown.err);
      second.child.kill(signal);
      assert.equal((await second.ended).status, 0);
      assert.equal(existsSync(join(directory, 'control', 'admin.sock')), false);
    });
  }

  it('serve goes on in the process that was started, with a young generation that is collected quickly', async () => {
    const served = serve();
    await served.logged('control plane started');
    assert.ok(readFileSync(`/proc/${served.child.pid!}/cmdline`, 'utf8').split('\0').includes('--max-semi-space-size=4'));
  });

  it('serve on Kubernetes grows by little before it collects, and has one arena, unless told otherwise', () => {
    const tell = "if (!process.argv[1].endsWith('bin/sallyport.js')) { console.log(JSON.stringify([process.execArgv, process.env.MALLOC_ARENA_MAX])); process.exit(); }";
    const told = (args: readonly string[], own: NodeJS.ProcessEnv = {}): unknown =>
      JSON.parse(execFileSync(process.execPath, ['bin/sallyport.js', 'serve', ...args], { encoding: 'utf8', env: { ...process.env, ...own, NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(tell)}` } }));
    assert.deepEqual(told(['--kubernetes']), [['--max-semi-space-size=4', '--heap-growing-percent=15'], '1']);
    assert.deepEqual(told(['--kubernetes'], { MALLOC_ARENA_MAX: '2' }), [['--max-semi-space-size=4', '--heap-growing-percent=15'], '2']);
    assert.deepEqual(told([]), [['--max-semi-space-size=4'], null]);
  });

  it('serve takes no collector in the clear elsewhere, no secret in its URL, and no file for it that is not there, with status 2', async () => {
    const collector = 'https://collector.observability:4318';
    for (const [args, said] of [
      [['--ledger-otlp', 'http://10.0.0.1:4318'], /neither https:\/\/ nor http:\/\/ on this host/],
      [['--ledger-otlp', 'https://me:secret@collector:4318'], /more than a scheme/],
      [['--ledger-otlp', collector, '--ledger-otlp-headers', '/none'], /file "\/none" cannot be read/],
      [['--ledger-otlp', collector, '--ledger-otlp-ca', '/none'], /file "\/none" cannot be read/],
      [['--ledger-otlp-ca', '/none'], /which is missing/],
    ] as const) {
      const { status, err } = await start(['serve', '--listen', '127.0.0.1:0', ...args]).ended;
      assert.equal(status, 2, err);
      assert.match(err, said);
      assert.ok(!err.includes('secret@'), err);
    }
  });

  it('serve takes no syslog of everybody, of nobody, or of addresses that are not one gateway\'s, with status 2', async () => {
    const syslog = ['--syslog', '127.0.0.1:0'];
    for (const [args, said] of [
      [syslog, /go together/],
      [['--syslog-allow', 'f5=10.0.0.7'], /go together/],
      [[...syslog, '--syslog-allow', '10.0.0.7'], /is not a gateway and its addresses/],
      [[...syslog, '--syslog-allow', '=10.0.0.7'], /is not a gateway and its addresses/],
      [[...syslog, '--syslog-allow', 'f5=10.0.0.7/24'], /host bits/],
      [[...syslog, '--syslog-allow', 'f5='], /is not a gateway and its addresses/],
      [[...syslog, '--syslog-allow', 'f5=10.0.0.0/24', '--syslog-allow', 'other=10.0.0.7'], /is of gateway "f5" and of "other"/],
      [['--syslog', '127.0.0.1', '--syslog-allow', 'f5=10.0.0.7'], /--syslog/],
      [['--syslog-tls', '127.0.0.1'], /--syslog-tls/],
    ] as const) {
      const { status, err } = await commandLine(join(directory, 'none.sock'), { SALLYPORT_STATE: directory })(['serve', '--listen', '127.0.0.1:0', ...args]);
      assert.equal(status, 2, err);
      assert.match(err, said);
    }
  });

  it('serve takes no lifetime of SVIDs that could not be renewed in time, nor one that is no longer short, with status 2', async () => {
    for (const lifetime of ['4s', '25h', 'soon']) {
      const { status, err } = await start(['serve', '--listen', '127.0.0.1:0', '--svid-lifetime', lifetime]).ended;
      assert.equal(status, 2, err);
      assert.match(err, /^error: .*--svid-lifetime/m);
    }
  });

  it('serve is refused the state of another, with status 5', async () => {
    const first = serve();
    await first.logged('control plane started');
    const { status, err } = await serve().ended;
    assert.equal(status, 5, err);
    assert.match(err, /^error: /m);
    assert.doesNotMatch(err, /bug:/);
  });

  it('serve says that its port is taken, with status 6', async () => {
    const first = start(['serve', '--listen', '127.0.0.1:0', '--state', join(directory, 'a')]);
    await first.logged('control plane started');
    await start(['ca', 'init', '--server', join(directory, 'a', 'admin.sock')]).ended;
    const { port } = await first.logged('listening for workloads and gateways');
    const second = start(['serve', '--listen', `127.0.0.1:${String(port)}`, '--state', join(directory, 'b')]);
    await second.logged('control plane started');
    const { status, err } = await start(['ca', 'init', '--server', join(directory, 'b', 'admin.sock')]).ended;
    assert.notEqual(status, 0, err);
    second.child.kill('SIGTERM');
    await second.ended;
    const third = await start(['serve', '--listen', `127.0.0.1:${String(port)}`, '--state', join(directory, 'b')]).ended;
    assert.equal(third.status, 6, third.err);
    assert.match(third.err, /^error: .*EADDRINUSE/m);
  });

  it('says of an address that this host has not, that it has not', async () => {
    const { status, err } = await start(['serve', '--listen', '127.0.0.1:0', '--probe-listen', '192.0.2.1:15020']).ended;
    assert.equal(status, 6);
    assert.match(err, /cannot listen on "192\.0\.2\.1:15020" \(EADDRNOTAVAIL\).*\nhint: this host has no such address/);
  });

  it('a command that waits for its input ends by SIGINT as programs do', async () => {
    const waiting = start(['validate', '-f', '-']);
    // It reads once it has taken up what was written: from then on it waits for the rest.
    await new Promise((resolve) => waiting.child.stdin!.write('#'.repeat(1 << 20), resolve));
    waiting.child.kill('SIGINT');
    assert.equal((await waiting.ended).status, 'SIGINT');
  });

  it('a reader that has seen enough is no error', async () => {
    const help = start(['--help']);
    help.child.stdout!.destroy();
    assert.equal((await help.ended).status, 0);
  });
});
