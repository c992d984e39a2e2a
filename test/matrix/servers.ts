/** Real FTP servers, each to be had in either mode, with TLS and without. */
import { announcedAddress, ftpUser, type FtpServer, type FtpServerOptions } from '../support/ftp-server.ts';
import type { peers } from '../support/peers.ts';
import { startProftpd } from '../support/proftpd.ts';
import { startPureFtpd } from '../support/pure-ftpd.ts';
import { startPyftpdlib } from '../support/pyftpdlib.ts';
import { modeOnly, startVsftpd, tlsOnly } from '../support/vsftpd.ts';

export interface ServerKind {
  readonly name: string;
  readonly peer: keyof typeof peers;
  readonly login: { readonly user: string; readonly password: string };
  /** Whether it can speak TLS from the first byte. */
  readonly implicitTls: boolean;
  /** Whether it insists that data connections resume the TLS session of the control connection. */
  readonly resumesOnly: boolean;
  /** How it refuses data connections of the mode that it is not held to, and to or from addresses other than the control connection's. */
  readonly refuses: { readonly otherMode: RegExp; readonly foreignAddress: RegExp };
  /** What it holds the gateway to; for the page. */
  readonly note: string;
  readonly start: (program: string, options: FtpServerOptions) => Promise<FtpServer>;
}

const ownUser = { user: ftpUser.name, password: ftpUser.password };

export const servers: readonly ServerKind[] = [
  {
    name: 'vsftpd',
    peer: 'vsftpd',
    login: { user: 'anonymous', password: 'workload@example' },
    implicitTls: true,
    resumesOnly: true,
    refuses: { otherMode: /550 Permission denied/, foreignAddress: /500 Illegal (PORT|EPRT) command/ },
    note: 'Refuses the commands of the other mode, and data connections from elsewhere than the control connection; with TLS it insists that data connections resume its session.',
    start: (program, { dataMode, tls, passivePorts }) =>
      startVsftpd(program, {
        ...modeOnly[dataMode],
        pasv_address: announcedAddress,
        ...(tls === null ? {} : { ...tlsOnly(tls.certificateFile, tls.keyFile), implicit_ssl: tls.handshake === 'Implicit' ? 'YES' : 'NO' }),
        ...(passivePorts === undefined ? {} : { pasv_min_port: String(passivePorts.first), pasv_max_port: String(passivePorts.last) }),
      }),
  },
  {
    name: 'pure-ftpd',
    peer: 'pureftpd',
    login: ownUser,
    implicitTls: false,
    resumesOnly: false,
    refuses: { otherMode: /500 Unknown command/, foreignAddress: /500 I won't open a connection/ },
    note: 'Refuses `PASV` and `EPSV` in active mode; it has no way to refuse the others in passive mode.',
    start: startPureFtpd,
  },
  {
    name: 'ProFTPD',
    peer: 'proftpd',
    login: ownUser,
    implicitTls: true,
    resumesOnly: true,
    refuses: { otherMode: /501 \w+: Operation not permitted/, foreignAddress: /500 Illegal (PORT|EPRT) command/ },
    note: 'Refuses the commands of the other mode, and data connections from elsewhere than the control connection; with TLS it insists that data connections resume its session.',
    start: startProftpd,
  },
  {
    name: 'pyftpdlib',
    peer: 'pyftpdlib',
    login: ownUser,
    implicitTls: true,
    resumesOnly: false,
    refuses: { otherMode: /500 Command "\w+" not understood/, foreignAddress: /foreign address/ },
    note: 'Refuses the commands of the other mode, and data connections from elsewhere than the control connection. Implicit TLS is one method of a class of its own that says so.',
    start: startPyftpdlib,
  },
];
