/** Sallyport as its users run it: the `sallyport` command as processes on loopback, with all their state in one directory. */
import { rmSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StatusResult } from '../api/admin.ts';
import { formatEndpoint } from '../core/ip-address.ts';
import { createProcesses, findFreePorts, thisHost, waitFor, type CommandResult, type Hosts } from './processes.ts';

export interface DeploymentOptions {
  /** An empty directory, which `close` removes. */
  readonly directory: string;
  /** Where the control plane listens. Default 127.0.0.1. */
  readonly controlAddress?: string;
  /** Further options of `sallyport serve`. */
  readonly serveOptions?: readonly string[];
  /** Where control plane (`control`), gateways and agents run. Default: here. */
  readonly hosts?: Hosts;
  /** Where Node keeps compiled code, so that commands start fast; by default in the directory. */
  readonly compileCache?: string;
}

export interface Deployment {
  readonly directory: string;
  /** What a user would set to talk to this control plane. */
  readonly environment: Readonly<Record<string, string>>;
  /** Where proxies find the control plane, `address:port`. */
  readonly controlEndpoint: string;
  /** Runs a command to its end, whatever that is. */
  readonly run: (args: readonly string[], stdin?: string) => Promise<CommandResult>;
  /** The same; throws where the command fails. */
  readonly cli: (args: readonly string[], stdin?: string) => Promise<CommandResult>;
  /** Starts the control plane, process `control`, and waits until it answers. */
  readonly startControl: () => Promise<void>;
  /** Writes the trust bundle to where gateway and agents look for it, and for each of them a join token. */
  readonly admit: (identities: Readonly<Record<string, string>>) => Promise<void>;
  /** Starts the gateway `name`, and does not wait for it. */
  readonly launchGateway: (name: string, options?: readonly string[]) => void;
  /** Makes the bootstrap of the Envoy that is the gateway `name`, starts it, and waits until it holds what it is to enforce. */
  readonly startEnvoyGateway: (name: string, program: string) => Promise<void>;
  /** Starts the agent `name` with its listeners at a loopback address, and does not wait for it. */
  readonly launchAgent: (name: string, listenAddress: string) => void;
  /** Waits until `/readyz` of a gateway or agent says yes. */
  readonly ready: (name: string) => Promise<void>;
  /** What `/readyz` says; undefined while nobody answers. */
  readonly status: (name: string) => Promise<unknown>;
  /** What `/metrics` of a gateway says. */
  readonly metrics: (name: string) => Promise<string>;
  /** The process id of control plane, gateway or agent. */
  readonly pid: (name: string) => number;
  /** SIGKILL, and until the process is gone. */
  readonly kill: (name: string) => Promise<void>;
  /** Where an agent has written SVID, key and bundle. */
  readonly svidDirectory: (name: string) => string;
  /** Ends all processes and removes the directory. */
  readonly close: () => Promise<void>;
}

const readyWithinMs = 20_000;

export async function createDeployment({ directory, controlAddress = '127.0.0.1', serveOptions = [], hosts = thisHost, compileCache = join(directory, 'compile-cache') }: DeploymentOptions): Promise<Deployment> {
  const environment = { SALLYPORT_STATE: directory };
  const processes = createProcesses(directory, { ...process.env, ...environment, NODE_COMPILE_CACHE: compileCache }, hosts);
  const [meshPort] = (await findFreePorts(1)) as [number];
  const controlEndpoint = formatEndpoint({ address: controlAddress, port: meshPort });
  const probePorts = new Map<string, number>();
  const bundle = join(directory, 'bundle.pem');
  const tokenFile = (name: string) => join(directory, `${name}.token`);
  const svidDirectory = (name: string) => join(directory, `${name}-svid`);
  /** However this process ends, nothing is left; what still wrote when it was killed is given the time to end. */
  const abandon = (): void => {
    processes.killAll();
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  };
  process.once('exit', abandon);

  async function cli(args: readonly string[], stdin?: string): Promise<CommandResult> {
    const result = await processes.run(args, stdin);
    if (result.status !== 0) throw new Error(`sallyport ${args.join(' ')} ended with ${result.status}: ${result.stderr.trim()}`);
    return result;
  }

  function launch(command: 'gateway' | 'agent', name: string, options: readonly string[]): void {
    const probe = probePorts.get(name);
    if (probe === undefined) throw new Error(`${name} was not admitted`);
    processes.start(name, [
      command,
      ...['--control', controlEndpoint, '--trust-bundle', bundle],
      ...['--state', join(directory, name), '--join-token-file', tokenFile(name), '--probe-listen', `127.0.0.1:${probe}`],
      ...options,
    ]);
  }

  const probe = (name: string, path: '/metrics' | '/readyz'): Promise<Response> => hosts.fetch(name, `http://127.0.0.1:${probePorts.get(name) ?? 0}${path}`, 2_000);
  /** Refused while the process is starting; who waits for it has a limit. */
  const probeReadiness = (name: string): Promise<Response | undefined> => probe(name, '/readyz').catch(() => undefined);

  return {
    directory,
    environment,
    controlEndpoint,
    run: processes.run,
    cli,
    async startControl() {
      processes.start('control', ['serve', '--listen', controlEndpoint, ...serveOptions]);
      await waitFor('the control plane', readyWithinMs, async () => ((await processes.run(['ca', 'show'])).status === 0 ? true : undefined));
    },
    async admit(identities) {
      const names = Object.keys(identities);
      const ports = await findFreePorts(names.length);
      names.forEach((name, index) => probePorts.set(name, probePorts.get(name) ?? ports[index]!));
      await Promise.all([
        cli(['ca', 'export']).then(({ stdout }) => writeFile(bundle, stdout)),
        ...Object.entries(identities).map(async ([name, spiffeId]) => {
          await writeFile(tokenFile(name), (await cli(['token', 'create', spiffeId])).stdout, { mode: 0o600 });
        }),
      ]);
    },
    launchGateway: (name, options = []) => launch('gateway', name, ['--name', name, ...options]),
    async startEnvoyGateway(name, program) {
      const bootstrap = join(directory, `${name}.yaml`);
      await writeFile(bootstrap, (await cli(['bootstrap', 'envoy', '--gateway', name, '--control', controlEndpoint, '--identity-dir', join(directory, `${name}.identity`)])).stdout);
      processes.startProgram(name, program, ['-c', bootstrap, '--use-dynamic-base-id', '--concurrency', '2', '--drain-time-s', '1', '--drain-strategy', 'immediate', '--log-level', 'warning']);
      await waitFor(name, readyWithinMs, async () => {
        const { proxies } = JSON.parse((await cli(['status', '-o', 'json'])).stdout) as StatusResult;
        return proxies.some(({ gateway, class: form, types }) => gateway === name && form === 'envoy' && types.length > 2 && types.every(({ state }) => state === 'SYNCED')) ? true : undefined;
      });
    },
    launchAgent: (name, listenAddress) => launch('agent', name, ['--listen-address', listenAddress, '--write-svid', svidDirectory(name)]),
    async ready(name) {
      try {
        await waitFor(name, readyWithinMs, async () => ((await probeReadiness(name))?.ok === true ? true : undefined));
      } catch (cause) {
        const log = await readFile(join(directory, `${name}.log`), 'utf8');
        throw new Error(`${name} is not ready; its log ends with:\n${log.split('\n').slice(-8).join('\n')}`, { cause });
      }
    },
    status: async (name) => await (await probeReadiness(name))?.json(),
    metrics: async (name) => await (await probe(name, '/metrics')).text(),
    pid: processes.pid,
    kill: processes.kill,
    svidDirectory,
    async close() {
      await processes.stop();
      process.off('exit', abandon);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
