/** A control plane that takes a BIG-IP's log, as a process: killed and started again, whois goes on answering. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDeployment, type Deployment } from '../../src/demo/deployment.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { requirePeer } from '../support/peers.ts';
import { bigipLine, bigipManifests } from '../support/syslog.ts';

describe('sallyport serve --syslog', function () {
  this.timeout(60_000);
  let sallyport: Deployment;
  let port: number;
  before(async () => {
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await createDeployment({ directory: await mkdtemp(join(tmpdir(), 'sallyport-syslog-')), serveOptions: ['--syslog', `127.0.0.1:${port}`, '--syslog-allow', 'f5=127.0.0.0/30'] });
    await sallyport.startControl();
    await sallyport.cli(['ca', 'init']);
    await sallyport.cli(['apply', '-f', '-'], bigipManifests);
  });
  after(() => sallyport.close());

  it('has what it has taken after it was killed, and takes what comes then', async function () {
    const logger = requirePeer(this, 'logger');
    const send = async (type: 'connection-opened' | 'connection-closed') => {
      const text = / - (\{.*)$/.exec(bigipLine(type, {}).toString())![1]!;
      await promisify(execFile)(logger, ['--rfc5424=notq', '--tcp', '--server', '127.0.0.1', '--port', String(port), '--size', '65536', '--tag', 'sallyport', '--msgid', type, '--octet-count', '--', text]);
    };
    const whois = () => sallyport.run(['whois', '10.4.0.65:40132']);
    const untilSaid = (words: RegExp) =>
      waitFor(String(words), 20_000, async () => {
        const { status, stdout } = await whois();
        return (status === 0 && words.test(stdout)) || undefined;
      });

    await send('connection-opened');
    await untilSaid(/^closed: +not yet$/m);
    await sallyport.kill('control');
    await assert.rejects(send('connection-closed'), /failed to connect/);
    await sallyport.startControl();
    await untilSaid(/^identity: +spiffe:\/\/cluster\.local\/ns\/payments\/sa\/upload$/m);
    await waitFor('the receiver', 20_000, () => send('connection-closed').then(() => true, () => undefined));
    await untilSaid(/^closed: .*\(finished, 10 bytes sent, 20 received\)$/m);
    assert.equal((await sallyport.run(['ledger', 'verify'])).status, 0);
  });
});
