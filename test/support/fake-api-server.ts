/** An API server that answers as a test has it, for what a real one does under load only. Plain HTTP on loopback. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ApiAccess } from '../../src/kubernetes/client.ts';

/** A request as it came: its query, and when, by a clock that only goes forward. */
export interface Asked {
  readonly query: URLSearchParams;
  readonly atMs: number;
}

export interface FakeApiServer {
  readonly access: ApiAccess;
  /** All requests up to now, the first one first. */
  readonly asked: readonly Asked[];
  close(): void;
}

/** Answers the requests one after another; where nothing more is left, all others are left waiting. */
export async function startFakeApiServer(...answers: readonly ((response: ServerResponse) => void)[]): Promise<FakeApiServer> {
  const left = [...answers];
  const asked: Asked[] = [];
  const server = createServer(({ url = '/' }, response) => {
    asked.push({ query: new URL(url, 'http://fake').searchParams, atMs: performance.now() });
    left.shift()?.(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    access: { getCurrentCluster: () => ({ server: url }), applyToHTTPSOptions: () => Promise.resolve() },
    asked,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** A `Status`, as the API server gives with each refusal. */
export function refuse(code: number, reason: string, headers: Readonly<Record<string, string>> = {}): (response: ServerResponse) => void {
  return (response) => response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: `it says ${code}` }));
}

export const answer = (body: object) => (response: ServerResponse): void => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));

/** Events of a watch that goes on. */
export const events = (...lines: readonly object[]) => (response: ServerResponse): void => {
  response.writeHead(200, { 'content-type': 'application/json' });
  for (const line of lines) response.write(`${JSON.stringify(line)}\n`);
  response.flushHeaders();
};
