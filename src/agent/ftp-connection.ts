/** FTP at the agent: the workload may be passive or active, the gateway is always passive. */
import type { Socket } from 'node:net';
import { parseAddress } from '../core/ip-address.ts';
import { runFtpSession } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import type { ConnectionOptions, EndReason } from './connection-options.ts';
import { dialFor } from './dial-for.ts';
import { createFtpDataChannels } from './ftp-data-channels.ts';

/** Carries one control connection of the workload, and its data connections, until nothing is left of them. */
export async function carryFtp(local: Socket, options: ConnectionOptions, signal: AbortSignal): Promise<void> {
  const { upstream, gateways, dial, limits, log } = options;
  const fields = { service: upstream.id };
  const gateway = await dialFor(local, gateways, { upstream, dial, signal, log });
  if (gateway === undefined) {
    reset(local);
    return;
  }
  const [clientFacingAddress, clientAddress, serverAddress] = [local.localAddress, local.remoteAddress, gateway.remoteAddress].map((address) => parseAddress(address ?? ''));
  if (clientFacingAddress === undefined || clientAddress === undefined || serverAddress === undefined) {
    reset(local); // one of them was closed just now, and has no address any more
    reset(gateway);
    return;
  }
  const channels = createFtpDataChannels({ ...options, control: local, clientFacingAddress, clientAddress, gatewayAddress: serverAddress, signal });
  const session = runFtpSession({
    client: local,
    server: gateway,
    clientFacingAddress,
    clientAddress,
    tlsPassedThrough: true, // whether AUTH goes further is the gateway's decision
    serverAddress,
    serverFacingAddress: null,
    keeper: 'server',
    openChannel: channels.open,
    idleTimeoutMs: limits.idleTimeoutMs,
    onNotice: (notice) => log.warn({ ...fields, ...notice }, 'ftp session'),
  });
  const stop = () => session.stop(signal.reason as EndReason);
  signal.addEventListener('abort', stop, { once: true });
  const { reason } = await session.ended;
  signal.removeEventListener('abort', stop);
  await channels.settled();
  log.debug({ ...fields, reason }, 'ftp session has ended');
}
