import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { openFtpPath } from '../support/ftp-path.ts';
import { requirePeer } from '../support/peers.ts';
import { startVsftpd } from '../support/vsftpd.ts';

/**
 * Python's ftplib sends ABOR, all of it, as urgent data, and vsftpd reads no command while it transfers. At the server's pace the file
 * takes a minute, so whoever waits for it fails.
 */
const script = `
import ftplib, sys
ftp = ftplib.FTP()
ftp.connect('127.0.0.1', int(sys.argv[1]), timeout=10)
ftp.login()
ftp.set_pasv(sys.argv[2] == 'passive')
data = ftp.transfercmd('RETR big.bin')
data.recv(1000)
print(ftp.abort())
data.close()
print(ftp.getmultiline())
print(ftp.pwd())
ftp.retrlines('NLST')
print(ftp.quit())
`;

describe('ftp whose client gives up a download', function () {
  this.timeout(20_000);
  for (const dataMode of ['Passive', 'Active'] as const) {
    for (const clientMode of ['passive', 'active'] as const) {
      it(`goes on at once, the client in ${clientMode} and the server in ${dataMode.toLowerCase()} mode`, async function () {
        const python = requirePeer(this, 'python');
        const vsftpd = await startVsftpd(requirePeer(this, 'vsftpd'), { anon_max_rate: '200000', connect_from_port_20: 'NO' });
        const path = await openFtpPath({ serverPort: vsftpd.port, dataMode });
        try {
          await writeFile(join(vsftpd.directory, 'big.bin'), randomBytes(12_000_000));
          const { stdout } = await promisify(execFile)(python, ['-c', script, String(path.agentPort), clientMode], { timeout: 15_000 });
          assert.match(stdout, /^426 .*\n22[56] .*\n\/\nbig\.bin\nupload\n221 /);
          await path.gateway.record('connection-closed', ({ reason }) => reason === 'ftp-transfer-aborted' || reason === 'client-closed');
        } finally {
          await path.stop();
          await vsftpd.stop();
        }
      });
    }
  }
});
