import { connect as connectTcp } from 'node:net';
import { connect as connectTls, type SecureContext, type TLSSocket } from 'node:tls';
import { meshSecureContext, serverIdentityCheck } from '../api/mesh-credentials.ts';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import type { IdentitySource, WorkloadIdentity } from '../identity/index.ts';
import { setCarrier } from '../relay/reset.ts';
import { formatEndpoint } from '../core/ip-address.ts';

/**
 * Opens mTLS to one gateway of an upstream: TLS 1.3, with the identity of this moment. Resolves once the gateway has proved
 * to be one of the upstream's server identities, with a stream that passes half-closes on; nothing of the workload is sent before.
 * Throws SallyportError `unavailable` or `timeout`, or the signal's reason.
 */
export type DialGateway = (upstream: AgentUpstream, gateway: Endpoint, signal: AbortSignal) => Promise<TLSSocket>;

const keepAliveMs = 30_000;

export function createGatewayDialler(source: IdentitySource, { now, dialTimeoutMs }: { readonly now: () => number; readonly dialTimeoutMs: number }): DialGateway {
  let prepared: { readonly identity: WorkloadIdentity; readonly context: SecureContext } | undefined;

  function secureContext(): SecureContext {
    const identity = source.current;
    if (identity === undefined) throw new SallyportError('unavailable', 'there is no identity yet');
    if (identity.expiresAtMs <= now()) throw new SallyportError('unavailable', `identity "${identity.spiffeId}" has expired`, { hint: 'see why it is not renewed in the agent\'s log, or give it a new token' });
    if (prepared?.identity !== identity) prepared = { identity, context: meshSecureContext(identity.trustBundlePem, identity) };
    return prepared.context;
  }

  return async (upstream, gateway, signal) => {
    signal.throwIfAborted();
    const context = secureContext();
    const carrier = connectTcp({ host: gateway.address, port: gateway.port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs });
    const socket = connectTls({ socket: carrier, secureContext: context, servername: upstream.serverName, checkServerIdentity: serverIdentityCheck(upstream.serverIdentities) });
    setCarrier(socket, carrier);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(new SallyportError('timeout', `gateway ${formatEndpoint(gateway)} has not answered within ${dialTimeoutMs} ms`)), dialTimeoutMs);
      const abort = () => settle(signal.reason as Error);
      const fail = (error: Error) => settle(new SallyportError('unavailable', `gateway ${formatEndpoint(gateway)} cannot be used: ${error.message}`, { cause: error }));
      const vanish = () => fail(new Error('it has closed the connection'));
      let settled = false;
      function settle(error?: Error): void {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        if (error === undefined) {
          resolve(socket);
          return;
        }
        socket.destroy();
        carrier.destroy();
        reject(error);
      }
      signal.addEventListener('abort', abort, { once: true });
      // These listeners stay: what fails later is seen by whoever has the socket by then, and the carrier's errors are the socket's too.
      carrier.on('error', fail);
      socket.on('error', fail);
      socket.on('close', vanish);
      // Node 24.21 crashes (SIGSEGV) where a connection is reset within the call that ends its handshake: that call is left first.
      socket.once('secureConnect', () => setImmediate(settle));
    });
  };
}
