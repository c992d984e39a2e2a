import { parseAddress } from '../core/ip-address.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import { closeStream, runFtpSession } from '../relay/ftp-session.ts';
import { reset } from '../relay/reset.ts';
import { createFtpDataChannels } from './ftp-data-channels.ts';
import type { ProtocolHandler } from './protocol.ts';

/**
 * FTP: the control connection is read by core's reducer. Data connections come from the client by mTLS like it did, and go to the server
 * or come from it as the service says. A transfer that runs may outlive its control connection, but not its grant.
 */
export const handleFtp: ProtocolHandler = (context) => {
  let ended: ConnectionReason | undefined;
  let stop: (reason: ConnectionReason) => void = () => reset(context.client);

  async function serve(): Promise<void> {
    const { client, ledger, servicePort, settings } = context;
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
    const serverAddress = dialled.remote.address;
    const channels = createFtpDataChannels(context, serverAddress);
    const session = runFtpSession({
      client,
      server: dialled.socket,
      clientFacingAddress,
      clientAddress: null, // a client comes by mTLS, so it is never dialled
      serverAddress,
      serverFacingAddress: servicePort.ftp?.dataMode === 'Active' ? dialled.local.address : null,
      idleTimeoutMs: settings.limits.idleTimeoutMs,
      onNotice: ({ reason, detail }) => ledger.denied(reason, detail),
      openChannel: channels.open,
    });
    stop = (reason) => {
      session.stop(reason);
      channels.end(reason);
    };
    const { reason, ...bytes } = await session.ended;
    record.closed({ reason: ended ?? reason, ...bytes });
    await channels.settled();
  }

  return {
    done: serve(),
    end: (reason) => {
      ended ??= reason;
      stop(reason);
    },
  };
};
