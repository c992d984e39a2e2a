import { createServer, type Server } from 'node:http';
import { SallyportError } from '../core/errors.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { formatEndpoint, isLoopback } from '../core/ip-address.ts';

export interface HealthListener {
  readonly port: number;
  close(): Promise<void>;
}

/**
 * Kubernetes' probes: `/livez` says 200 while the process runs, `/readyz` says 200 or 503 with the status as JSON.
 * Throws SallyportError `usage` for an address that is not a loopback address, and `unavailable` where it cannot listen.
 */
export async function openHealthListener(endpoint: Endpoint, status: () => { readonly ready: boolean }): Promise<HealthListener> {
  if (!isLoopback(endpoint.address)) throw new SallyportError('usage', `"${formatEndpoint(endpoint)}" is not a loopback address`, { hint: 'health is served on loopback addresses only' });
  const server: Server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 }, (request, response) => {
    const known = request.method === 'GET' || request.method === 'HEAD' ? request.url : undefined;
    const current = status();
    const [code, body] = known === '/livez' ? [200, { alive: true }] : known === '/readyz' ? [current.ready ? 200 : 503, current] : [404, { paths: ['/livez', '/readyz'] }];
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new SallyportError('unavailable', `health cannot be served on ${formatEndpoint(endpoint)}`, { cause: error })));
    server.listen({ host: endpoint.address, port: endpoint.port }, resolve);
  });
  const place = server.address();
  return {
    port: place !== null && typeof place === 'object' ? place.port : endpoint.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
