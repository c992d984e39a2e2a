import { createServer, type Server } from 'node:http';
import { SallyportError } from '../core/errors.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import { formatEndpoint, isLoopback, type IpAddress } from '../core/ip-address.ts';

interface Readiness {
  readonly ready: boolean;
}

export interface HealthListener {
  readonly port: number;
  close(): Promise<void>;
}

/** Throws SallyportError `unavailable` where it cannot listen. */
export async function openHealthListener(endpoint: Endpoint, status: () => Readiness): Promise<HealthListener> {
  const server: Server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 1_000 }, (request, response) => {
    const path = request.method === 'GET' || request.method === 'HEAD' ? request.url : undefined;
    const { code, body } = answerProbe(path, status(), endpoint.address);
    response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(new SallyportError('unavailable', `health cannot be served on ${formatEndpoint(endpoint)}`, { cause: error })));
    // No host means every address to Node too, and then it does without IPv6 on a kernel that has none.
    server.listen({ ...(endpoint.address === '::' ? {} : { host: endpoint.address }), port: endpoint.port }, resolve);
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

/**
 * Kubernetes' probes: `/livez` says 200 while the process runs, `/readyz` says 200 or 503. To whoever is on the same host with the whole
 * status; the kubelet asks from outside of the pod, where others may be who are not to hear which services this workload uses.
 */
export function answerProbe(path: string | undefined, status: Readiness, listensOn: IpAddress): { readonly code: number; readonly body: object } {
  if (path === '/livez') return { code: 200, body: { alive: true } };
  if (path === '/readyz') return { code: status.ready ? 200 : 503, body: isLoopback(listensOn) ? status : { ready: status.ready } };
  return { code: 404, body: { paths: ['/livez', '/readyz'] } };
}
