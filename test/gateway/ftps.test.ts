/** FTPS towards real servers: vsftpd, which demands that data connections resume the control connection's session. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls, { type TLSSocket } from 'node:tls';
import { secureControl, type FtpsSettings, type SecuredControl } from '../../src/gateway/ftps.ts';
import { startDialogue } from '../../src/demo/clients.ts';
import { reset } from '../../src/relay/reset.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki } from '../support/pki.ts';
import { startVsftpd, tlsOnly, type Vsftpd } from '../support/vsftpd.ts';

const serverName = 'ftp.partner.example';
const pki = makePki();
const settings: FtpsSettings = { handshake: 'Explicit', serverName, caCertificates: pki.rootPem };
const statement = Buffer.alloc(300_000, 'statement');

describe('ftps towards the server', () => {
  let directory: string;
  const undo: (() => unknown)[] = [];

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-ftps-'));
    undo.push(() => rm(directory, { recursive: true, force: true }));
    const server = pki.issue('spiffe://unused/ns/a/sa/b', { names: [{ type: 'dns', value: serverName }] });
    await writeFile(join(directory, 'server.pem'), server.certificateChainPem);
    await writeFile(join(directory, 'server.key'), server.privateKeyPem, { mode: 0o600 });
  });
  const { DEFAULT_MAX_VERSION } = tls;
  afterEach(() => {
    tls.DEFAULT_MAX_VERSION = DEFAULT_MAX_VERSION;
  });
  after(async () => {
    for (const step of undo.reverse()) await step();
  });

  async function connect(port: number): Promise<net.Socket> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    undo.push(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  }

  async function startSecure(test: Mocha.Context, more: Readonly<Record<string, string>> = {}): Promise<Vsftpd> {
    const vsftpd = await startVsftpd(requirePeer(test, 'vsftpd'), {
      ...tlsOnly(join(directory, 'server.pem'), join(directory, 'server.key')),
      ...more,
    });
    undo.push(vsftpd.stop);
    await writeFile(join(vsftpd.directory, 'statement.bin'), statement);
    return vsftpd;
  }

  async function logIn({ socket }: SecuredControl) {
    const control = startDialogue(socket);
    const say = async (line: string): Promise<string> => {
      control.write(`${line}\r\n`);
      return await control.readUntil('\r\n');
    };
    assert.match(await control.readUntil('\r\n'), /^220 /);
    await say('USER anonymous');
    assert.match(await say('TYPE I'), /^200 /);
    const passive = async (): Promise<net.Socket> => connect(Number(/\(\|\|\|([0-9]+)\|\)/.exec(await say('EPSV'))![1]));
    return { control, say, passive };
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    for (const handshake of ['Explicit', 'Implicit'] as const) {
      it(`transfers both ways by ${version}, ${handshake.toLowerCase()}, where data connections must resume the session`, async function () {
        tls.DEFAULT_MAX_VERSION = version;
        const vsftpd = await startSecure(this, handshake === 'Implicit' ? { implicit_ssl: 'YES' } : {});
        const secured = await secureControl(await connect(vsftpd.port), { ...settings, handshake }, 5_000);
        assert.ok(secured.ok, JSON.stringify(secured));
        assert.equal(secured.socket.getProtocol(), version);
        const { control, say, passive } = await logIn(secured);
        for (let round = 0; round < 3; round += 1) {
          const carrier = await passive();
          control.write('RETR statement.bin\r\n');
          const data: TLSSocket = await secured.secureData(carrier, 5_000);
          assert.equal(data.isSessionReused(), true);
          assert.deepEqual(await startDialogue(data).readAll(), statement);
          data.end();
          assert.match(await control.readUntil('\r\n'), /^150 /);
          assert.match(await control.readUntil('\r\n'), /^226 /);
        }
        const uploading = await passive();
        control.write('STOR upload/report.bin\r\n');
        const upload = await secured.secureData(uploading, 5_000);
        upload.end(statement);
        assert.match(await control.readUntil('\r\n'), /^150 /);
        assert.match(await control.readUntil('\r\n'), /^226 /);
        assert.deepEqual(await readFile(join(vsftpd.directory, 'upload/report.bin')), statement);
        assert.match(await say('QUIT'), /^221 /);
      });
    }
  }

  /** A server that says these, one after each line it hears; it speaks first. */
  async function startScripted(...replies: readonly string[]): Promise<net.Socket> {
    const server = net.createServer((socket) => {
      const left = [...replies];
      socket.on('error', () => undefined);
      socket.write(left.shift()!, 'latin1');
      socket.on('data', () => {
        const reply = left.shift();
        if (reply === undefined) socket.end();
        else socket.write(reply, 'latin1');
      });
    });
    undo.push(() => server.close());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return await connect((server.address() as AddressInfo).port);
  }

  const refusals: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['has no TLS', ['220 ready\r\n', '500 unknown command\r\n'], /^the server refuses TLS: "500 unknown command"$/],
    ['turns everybody away', ['421 too many users\r\n'], /^the server's greeting is "421 too many users"$/],
    ['is no FTP server', ['SSH-2.0-OpenSSH_9.2\r\n'], /^the server sent what is not a reply$/],
    ['sends commands of its own behind its answer, for TLS to cover', ['220 ready\r\n', '234 go on\r\n200 injected\r\n'], /^the server has sent more than its answer before TLS$/],
    ['closes instead of securing', ['220 ready\r\n', '234 go on\r\n'], /./],
    ['never ends its greeting', [`220-${'x'.repeat(70_000)}\r\n`], /^the server's reply is longer than 65536 bytes$/],
    ['sends control characters', ['220 ready\r\n', '500 \x1b[2J\r\n'], /^the server refuses TLS: "500 \?\[2J"$/],
  ];
  for (const [what, replies, detail] of refusals) {
    it(`goes no further with a server that ${what}`, async () => {
      const carrier = await startScripted(...replies);
      const outcome = await secureControl(carrier, settings, 5_000);
      assert.ok(!outcome.ok);
      assert.match(outcome.detail, detail);
      assert.equal(carrier.destroyed, true);
    });
  }

  // Where it may not, the process ends by SIGSEGV, and this run with it.
  it('gives a data connection that may be reset at once', async function () {
    const vsftpd = await startSecure(this);
    const secured = await secureControl(await connect(vsftpd.port), settings, 5_000);
    assert.ok(secured.ok, JSON.stringify(secured));
    const { control, passive } = await logIn(secured);
    const carrier = await passive();
    control.write('RETR statement.bin\r\n');
    const data = await secured.secureData(carrier, 5_000);
    const closed = once(data, 'close');
    reset(data);
    await closed;
  });

  it('goes no further with a server that is silent for too long', async () => {
    const carrier = await startScripted('220-ready\r\n');
    const outcome = await secureControl(carrier, settings, 50);
    assert.deepEqual(outcome, { ok: false, reason: 'target-tls-failed', detail: 'the server has not secured the connection within 50 ms' });
  });

  const untrusted: readonly (readonly [string, Partial<FtpsSettings>, RegExp])[] = [
    ['another name than the one asked for', { serverName: 'ftp.other.example' }, /altnames/],
    ['an authority that nobody named', { caCertificates: makePki().rootPem }, /certificate/],
  ];
  for (const [what, change, detail] of untrusted) {
    it(`sends nothing to a server whose certificate has ${what}`, async function () {
      const vsftpd = await startSecure(this);
      const outcome = await secureControl(await connect(vsftpd.port), { ...settings, ...change }, 5_000);
      assert.ok(!outcome.ok);
      assert.match(outcome.detail, detail);
      assert.doesNotMatch(await vsftpd.log(), /PBSZ/);
    });
  }
});
