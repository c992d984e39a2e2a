/** Clients in a network of namespaces that are let through, or not, and live on, or do not: from any address of a host to an echo host. */
import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../../src/demo/processes.ts';
import type { NetworkHost } from './network-namespaces.ts';
import { startServerProcess, type ServerProcess } from './server-process.ts';

export interface TickingClients {
  /** From this source address; resolves once it is connected, or refused. */
  start(source: string): Promise<ServerProcess>;
  /** How it ended; undefined while it has not. */
  readonly endOf: (client: ServerProcess) => string | undefined;
  /** The address from which a new client is seen; or how that ended. */
  seenAs(source: string): Promise<string>;
  /** Fails unless it goes on to be answered. */
  livesOn(client: ServerProcess): Promise<void>;
  /** Ends those that there are. */
  stop(): Promise<void>;
}

/** Runs a host that says to whoever connects which address it sees. */
export const startEchoHost = (host: NetworkHost, port: number): Promise<ServerProcess> => startNode(host, 'echo-host.ts', [String(port)], /ready/);

export function tickingClients(host: NetworkHost, to: { readonly address: string; readonly port: number }): TickingClients {
  const clients: ServerProcess[] = [];
  const endOf = (client: ServerProcess): string | undefined => /^ended (.*)$/m.exec(client.output())?.[1];
  const ticksOf = (client: ServerProcess): number => Number([...client.output().matchAll(/^ticks (\d+)$/gm)].at(-1)?.[1] ?? 0);
  async function start(source: string): Promise<ServerProcess> {
    const client = await startNode(host, 'ticking-client.ts', ['tcp', source, to.address, String(to.port)], /you|ended/);
    clients.push(client);
    return client;
  }
  return {
    start,
    endOf,
    async seenAs(source) {
      const client = await start(source);
      return /^you (\S+)/m.exec(client.output())?.[1] ?? endOf(client)!;
    },
    async livesOn(client) {
      const before = ticksOf(client);
      await waitFor('more ticks', 3_000, () => (ticksOf(client) > before + 3 ? true : undefined));
      assert.equal(endOf(client), undefined);
    },
    async stop() {
      for (const client of clients.splice(0)) await client.stop();
    },
  };
}

async function startNode(host: NetworkHost, file: string, args: readonly string[], ready: RegExp): Promise<ServerProcess> {
  return await startServerProcess(process.execPath, [join(import.meta.dirname, file), ...args], { directory: await mkdtemp(join(tmpdir(), 'sallyport-node-')), ready, enter: host.enter });
}
