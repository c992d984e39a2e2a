import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SallyportError } from '../core/errors.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { formatEndpoint, isLoopback } from '../core/ip-address.ts';

export interface ProbeListener {
  readonly port: number;
  close(): Promise<void>;
}

export interface ProbeSources {
  readonly status: () => { readonly ready: boolean };
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
}

/**
 * `/livez`, `/readyz` (200 or 503, with the status as JSON) and `/metrics`. Throws SallyportError `usage` for an address that is
 * not a loopback address, and `unavailable` where it cannot listen.
 */
export async function openProbeListener(endpoint: Endpoint, { status, metrics }: ProbeSources): Promise<ProbeListener> {
  if (!isLoopback(endpoint.address)) {
    throw new SallyportError('usage', `"${formatEndpoint(endpoint)}" is not a loopback address`, { hint: 'probes and metrics are served on loopback addresses only' });
  }
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 }, (request, response) => {
    const json = (code: number, body: unknown): void => void response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const path = request.method === 'GET' || request.method === 'HEAD' ? request.url : undefined;
    if (path === '/livez') json(200, { alive: true });
    else if (path === '/readyz') json(status().ready ? 200 : 503, status());
    else if (path === '/metrics') void metrics.render().then((text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text));
    else json(404, { paths: ['/livez', '/metrics', '/readyz'] });
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new SallyportError('unavailable', `probes cannot be served on ${formatEndpoint(endpoint)}`, { cause })));
    server.listen({ host: endpoint.address, port: endpoint.port }, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
