import { createFtpRules, type FtpConstraints } from '../core/ftp/index.ts';
import { parseAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { FtpTls } from '../core/plan/plan.ts';
import { closeStream, runFtpSession } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { createFtpDataChannels } from './ftp-data-channels.ts';
import { createFtpTransfers } from './ftp-transfers.ts';
import type { Dialled } from './dial.ts';
import { secureControl, type SecuredServer, type SecuringFailure } from './ftps.ts';
import type { ProtocolHandler } from './protocol.ts';

/**
 * FTP: the control connection is read by core's reducer. Data connections come from the client by mTLS like it did, and go to the server
 * or come from it as the service says. A transfer that runs may outlive its control connection, but not its grant.
 */
export const handleFtp: ProtocolHandler = (context) => {
  let ended: ConnectionReason | undefined;
  let stop: (reason: ConnectionReason) => void = () => reset(context.client);

  async function serve(): Promise<void> {
    const { client, grant, ledger, now, servicePort, settings } = context;
    const clientFacingAddress = parseAddress(client.localAddress ?? '');
    if (clientFacingAddress === undefined) {
      ledger.denied('client-closed', 'the client closed the connection before the server was reached'); // just now: it has no address any more
      reset(client);
      return;
    }
    const dialled = await context.dial();
    if (!dialled.ok) {
      ledger.denied(ended ?? dialled.reason, dialled.detail);
      if (client.writable) client.write('421 Service not available: the server cannot be reached.\r\n'); // in place of a greeting (RFC 959 section 5.4)
      await closeStream(client);
      return;
    }
    const record = ledger.opened(dialled, { channel: 'ftp-control' });
    stop = () => {
      reset(client);
      reset(dialled.socket);
    };
    const server = await secureServer(dialled, servicePort.ftp?.tls ?? null, settings.limits.connectTimeoutMs);
    if (!server.ok) {
      if (ended === undefined) ledger.denied(server.reason, server.detail);
      record.closed({ reason: ended ?? server.reason, bytesSent: 0, bytesReceived: 0 });
      if (client.writable) client.write('421 Service not available: the connection to the server cannot be secured.\r\n');
      await closeStream(client);
      return;
    }
    const serverAddress = dialled.remote.address;
    const channels = createFtpDataChannels(context, { address: serverAddress, secureData: server.secureData });
    const transfers = createFtpTransfers({ record, flowOf: channels.flowOf, now });
    const session = runFtpSession({
      client,
      server: server.socket,
      clientFacingAddress,
      clientAddress: null, // a client comes by mTLS, so it is never dialled
      serverAddress,
      serverFacingAddress: servicePort.ftp?.dataMode === 'Active' ? dialled.local.address : null,
      keeper: 'client',
      tlsPassedThrough: servicePort.ftp?.tls?.mode === 'PassThrough',
      idleTimeoutMs: settings.limits.idleTimeoutMs,
      onNotice: ({ reason, detail }) => ledger.denied(reason, detail),
      openChannel: channels.open,
      rules: grant.ftp === null ? null : createFtpRules(grant.ftp),
      transfers,
    });
    stop = (reason) => {
      session.stop(reason);
      channels.end(reason);
    };
    const { reason, ...bytes } = await session.ended;
    transfers.sessionEnded(ended ?? reason);
    record.closed({ reason: ended ?? reason, ...bytes });
    await channels.settled();
    await transfers.settled();
  }

  return {
    done: serve(),
    end: (reason) => {
      ended ??= reason;
      stop(reason);
    },
    allowedBy: ({ ftp }) => coversRules(ftp, context.grant.ftp),
  };
};

/** Whether all that `rules` allow is allowed by the next ones too: the session goes on under those that it began with. */
function coversRules(next: readonly FtpConstraints[] | null, rules: readonly FtpConstraints[] | null): boolean {
  if (next === null) return true;
  const alternatives = new Set(next.map((each) => JSON.stringify(each)));
  return rules?.every((each) => alternatives.has(JSON.stringify(each))) === true;
}

/** The server's end of the session, by TLS where the service says so. */
async function secureServer({ socket, target, remote }: Dialled, tls: FtpTls | null, timeoutMs: number): Promise<SecuredServer | SecuringFailure> {
  if (tls?.mode !== 'Originate') return { ok: true, socket, secureData: (data) => Promise.resolve(data) };
  const { handshake, caCertificates } = tls;
  return await secureControl(socket, { handshake, serverName: tls.serverName ?? (target.kind === 'host' ? target.host : remote.address), ...(caCertificates === null ? {} : { caCertificates }) }, timeoutMs);
}
