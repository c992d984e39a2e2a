/** Real FTP servers, each to be had in either mode, with TLS and without. */
import type { FtpServer, FtpServerOptions } from '../support/ftp-server.ts';
import { ftpUser } from '../support/ftp-server.ts';
import type { peers } from '../support/peers.ts';
import { startProftpd } from '../support/proftpd.ts';
import { startPureFtpd } from '../support/pure-ftpd.ts';
import { modeOnly, startVsftpd, tlsOnly } from '../support/vsftpd.ts';

export interface ServerKind {
  readonly name: string;
  readonly peer: keyof typeof peers;
  readonly login: { readonly user: string; readonly password: string };
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
    note: 'Refuses the commands of the other mode, and data connections from elsewhere than the control connection; with TLS it insists that data connections resume its session.',
    start: (program, { dataMode, tls }) => startVsftpd(program, { ...modeOnly[dataMode], ...(tls === null ? {} : tlsOnly(tls.certificateFile, tls.keyFile)) }),
  },
  {
    name: 'pure-ftpd',
    peer: 'pureftpd',
    login: ownUser,
    note: 'Refuses `PASV` and `EPSV` in active mode; it has no way to refuse the others in passive mode.',
    start: startPureFtpd,
  },
  {
    name: 'ProFTPD',
    peer: 'proftpd',
    login: ownUser,
    note: 'Refuses the commands of the other mode, and data connections from elsewhere than the control connection; with TLS it insists that data connections resume its session.',
    start: startProftpd,
  },
];
