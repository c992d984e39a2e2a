/** The log of a BIG-IP at a control plane, sent by programs that are not ours. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { adminPaths, type StatusResult, type WhoisResult } from '../../../src/api/admin.ts';
import { parseAddressRange } from '../../../src/core/ip-address.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { commandLine } from '../../cli/support/command-line.ts';
import { startTestControl, type Svid, type TestControl } from '../../support/control.ts';
import { requirePeer } from '../../support/peers.ts';
import { bigipLine, bigipManifests, counted, delimited } from '../../support/syslog.ts';

const limitMs = 5_000;
const own = 'spiffe://cluster.local/ns/sallyport-system/sa/f5';
const allowed = (gateway: string, text: string) => {
  const parsed = parseAddressRange(text);
  assert.ok(parsed.ok);
  return { gateway, addresses: parsed.range };
};

describe("a BIG-IP's log at the control plane", () => {
  let control: TestControl;
  let directory: string;
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-syslog-'));
    control = await startTestControl({
      syslog: {
        tcp: { host: '127.0.0.1', port: 0 },
        tls: { host: '127.0.0.1', port: 0 },
        allowed: [allowed('f5', '127.0.0.1'), allowed('embedded', '127.0.0.2'), allowed('gone', '127.0.0.3')],
      },
    });
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(`${bigipManifests}---
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: embedded}
spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 16443}]}
`);
  });
  after(async () => {
    await control.close();
    await rm(directory, { recursive: true });
  });

  let port = 41_000;
  /** A port that no other test asks about. */
  const newPort = (): number => (port += 1);
  const whois = async (snatPort: number): Promise<WhoisResult['connections']> => (await control.admin.get<WhoisResult>(adminPaths.whois, { address: '10.4.0.65', port: String(snatPort), time: new Date().toISOString(), toleranceMs: '1000' })).connections;
  const untilKnown = (snatPort: number) => waitFor('whois to know', limitMs, async () => (await whois(snatPort))[0]);
  const conditions = async (): Promise<string> => (await control.admin.get<StatusResult>(adminPaths.status)).conditions.join('\n');
  const untilSaid = (words: RegExp) => waitFor(String(words), limitMs, async () => words.exec(await conditions()) ?? undefined);
  const metric = async (name: string): Promise<number> => Number(new RegExp(`^sallyport_control_syslog_${name} ([0-9]+)$`, 'm').exec(await control.admin.text(adminPaths.metrics))?.[1] ?? 0);

  /** Sends it from an address, ends its side, and waits for the end of the other. */
  async function send(bytes: Buffer, localAddress = '127.0.0.1'): Promise<void> {
    const socket = connect({ host: '127.0.0.1', port: control.control.syslog!.ports.tcp!, localAddress });
    socket.on('error', () => undefined);
    socket.end(bytes);
    await once(socket.resume(), 'close');
  }

  for (const [framing, options] of [
    ['with line feeds', []],
    ['counted', ['--octet-count']],
  ] as const) {
    it(`is taken of logger, ${framing}, and whois and ledger answer for it`, async function () {
      const logger = requirePeer(this, 'logger');
      const snatPort = newPort();
      for (const type of ['connection-opened', 'connection-closed'] as const) {
        const text = / - (\{.*)$/.exec(bigipLine(type, { snatPort, connectionId: `logger-${snatPort}` }).toString())![1]!;
        await promisify(execFile)(logger, ['--rfc5424=notq', '--tcp', '--server', '127.0.0.1', '--port', String(control.control.syslog!.ports.tcp!), '--size', '65536', '--tag', 'sallyport', '--msgid', type, ...options, '--', text]);
      }
      await waitFor('whois to know its end', limitMs, async () => (await whois(snatPort))[0]?.closed ?? undefined);
      const sallyport = commandLine(join(control.directory, 'admin.sock'));
      const { status, out } = await sallyport(['whois', `10.4.0.65:${snatPort}`]);
      assert.equal(status, 0, out);
      for (const words of [/^identity: +spiffe:\/\/cluster\.local\/ns\/payments\/sa\/upload$/m, /^service: +payments\/partner:tls$/m, /^target: +198\.51\.100\.7:443 \(stream\)$/m, /^gateway: +f5$/m, /\(finished, 10 bytes sent, 20 received\)$/m]) assert.match(out, words);
      assert.match((await sallyport(['ledger', 'tail'])).out, new RegExp(`logger-${snatPort}`));
    });
  }

  it('is counted by gateway', async () => {
    const before = await metric('records_total\\{gateway="f5"\\}');
    const snatPort = newPort();
    await send(counted(bigipLine('connection-opened', { snatPort })));
    await untilKnown(snatPort);
    assert.equal(await metric('records_total\\{gateway="f5"\\}'), before + 1);
  });

  it('tells who it was where the end has come before the beginning', async () => {
    const snatPort = newPort();
    await send(Buffer.concat([delimited(bigipLine('connection-closed', { snatPort, connectionId: 'early' })), counted(bigipLine('connection-opened', { snatPort, connectionId: 'early' }))]));
    const { opened, closed } = await untilKnown(snatPort);
    assert.deepEqual([opened.origin, closed?.reason], ['f5', 'finished']);
  });

  it('is not taken as that of another gateway, and status says so', async () => {
    const snatPort = newPort();
    const before = await metric('lines_refused_total\\{gateway="f5"\\}');
    await send(Buffer.concat([counted(bigipLine('connection-opened', { snatPort, origin: 'embedded' })), counted(bigipLine('connection-opened', { snatPort: newPort() }))]));
    await untilKnown(port);
    assert.deepEqual(await whois(snatPort), []);
    assert.equal(await metric('lines_refused_total\\{gateway="f5"\\}'), before + 1);
    await untilSaid(/a syslog line of gateway "f5" was refused, .*: it names the origin "embedded", which it did not come from/);
  });

  for (const [whom, localAddress, words] of [
    ['an address that nobody has named', '127.0.0.9', /a syslog connection from 127\.0\.0\.9 was refused, .*: it has an address that "--syslog-allow" does not name/],
    ['a gateway of another class', '127.0.0.2', /from 127\.0\.0\.2 was refused, .*: it would be gateway "embedded", and there is none of class bigip that is called so/],
    ['a gateway that there is not', '127.0.0.3', /from 127\.0\.0\.3 was refused, .*: it would be gateway "gone"/],
  ] as const) {
    it(`is not taken of ${whom}, and status says so`, async () => {
      const before = await metric('connections_refused_total');
      const snatPort = newPort();
      await send(counted(bigipLine('connection-opened', { snatPort })), localAddress);
      await untilSaid(words);
      assert.deepEqual([await whois(snatPort), await metric('connections_refused_total')], [[], before + 1]);
    });
  }

  it('is not taken any more once its gateway is not there', async () => {
    const socket = connect({ host: '127.0.0.1', port: control.control.syslog!.ports.tcp! });
    const snatPort = newPort();
    socket.write(counted(bigipLine('connection-opened', { snatPort })));
    await untilKnown(snatPort);
    await control.admin.post(adminPaths.remove, { refs: [{ kind: 'EgressGateway', namespace: '', name: 'f5' }] });
    const after = newPort();
    const ended = once(socket, 'close');
    socket.on('error', () => undefined);
    socket.write(counted(bigipLine('connection-opened', { snatPort: after })));
    await ended;
    assert.deepEqual(await whois(after), []);
    await control.apply(bigipManifests);
  });

  describe('over TLS', () => {
    /** openssl as a client that sends a line, and stays until it is ended or has been for a while; what it said. */
    async function sendByOpenssl(openssl: string, line: Buffer, certificate: Svid | undefined, options: readonly string[] = []): Promise<void> {
      const files = { cert: certificate?.certificateChainPem, key: certificate?.privateKeyPem, ca: (await control.mesh()).trustBundlePem };
      const path = (name: string): string => join(directory, `${name}.pem`);
      for (const [name, text] of Object.entries(files)) if (text !== undefined) await writeFile(path(name), text, { mode: 0o600 });
      const shown = certificate === undefined ? [] : ['-cert', path('cert'), '-cert_chain', path('cert'), '-key', path('key')];
      const child = spawn(openssl, ['s_client', '-connect', `127.0.0.1:${control.control.syslog!.ports.tls!}`, '-CAfile', path('ca'), '-verify_return_error', '-quiet', '-no_ign_eof', ...shown, ...options], { stdio: ['pipe', 'ignore', 'ignore'] });
      child.stdin.on('error', () => undefined);
      child.stdin.end(line);
      await once(child, 'close');
    }

    for (const version of ['-tls1_3', '-tls1_2'] as const) {
      it(`is taken of openssl that shows the gateway's certificate, with ${version}`, async function () {
        const snatPort = newPort();
        await sendByOpenssl(requirePeer(this, 'openssl'), counted(bigipLine('connection-opened', { snatPort })), await control.svid(own), [version]);
        assert.equal((await untilKnown(snatPort)).opened.origin, 'f5');
      });
    }

    it('is taken with a certificate that is good for the control plane alone', async function () {
      const snatPort = newPort();
      await sendByOpenssl(requirePeer(this, 'openssl'), counted(bigipLine('connection-opened', { snatPort })), await control.proxyCertificate(own));
      assert.equal((await untilKnown(snatPort)).opened.origin, 'f5');
    });

    for (const [whom, certificateOf, words] of [
      ['nobody', () => Promise.resolve(undefined), /it has shown no certificate that the trust bundle verifies/],
      ['a workload', () => control.svid('spiffe://cluster.local/ns/payments/sa/upload'), /it is spiffe:\/\/cluster\.local\/ns\/payments\/sa\/upload, which is not the identity of a gateway of class bigip/],
      ['a gateway of another class', () => control.svid('spiffe://cluster.local/ns/sallyport-system/sa/embedded'), /sa\/embedded, which is not the identity of a gateway of class bigip/],
      [
        'a certificate of another authority that names the gateway',
        async () => {
          const other = await startTestControl();
          await other.admin.post(adminPaths.caInit, {});
          const svid = await other.svid(own);
          await other.close();
          return svid;
        },
        /it has shown no certificate that the trust bundle verifies/,
      ],
      [
        "the gateway's certificate that is revoked",
        async () => {
          const svid = await control.svid(own);
          await control.admin.post(adminPaths.revocations, { spiffeId: own });
          return svid;
        },
        /it has a certificate of .*\/f5 that is revoked/,
      ],
    ] as const) {
      it(`is not taken of ${whom}, from an address that plain TCP would allow, and status says so`, async function () {
        const openssl = requirePeer(this, 'openssl');
        const certificate = await certificateOf();
        const before = await metric('connections_refused_total');
        const snatPort = newPort();
        await sendByOpenssl(openssl, counted(bigipLine('connection-opened', { snatPort })), certificate);
        await waitFor('the refusal', limitMs, async () => ((await metric('connections_refused_total')) > before ? true : undefined));
        await untilSaid(words);
        assert.deepEqual(await whois(snatPort), []);
      });
    }

    it('is not taken in the clear, and a monitor that looks whether somebody listens is no stranger', async () => {
      const before = await metric('connections_refused_total');
      const monitor = connect({ host: '127.0.0.1', port: control.control.syslog!.ports.tls! });
      await once(monitor, 'connect');
      monitor.destroy();
      const clear = connect({ host: '127.0.0.1', port: control.control.syslog!.ports.tls! });
      clear.on('error', () => undefined);
      clear.write(counted(bigipLine('connection-opened', { snatPort: newPort() })));
      await once(clear.resume(), 'close');
      await untilSaid(/it has failed in its TLS handshake \(ERR_SSL_/);
      assert.deepEqual([await whois(port), await metric('connections_refused_total')], [[], before + 1]);
    });
  });
});
