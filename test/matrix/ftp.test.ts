/** Real FTP servers and real clients, through agent and gateway, in every combination of modes, with TLS that the gateway originates and without. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import { runProgram } from '../e2e/support/programs.ts';
import { openFtpPath, snatAddress, type FtpPath } from '../support/ftp-path.ts';
import type { FtpServer } from '../support/ftp-server.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki } from '../support/pki.ts';
import { clients, type Client } from './clients.ts';
import { operations, smallFiles, type Operation } from './operations.ts';
import { matrixPage } from './page.ts';
import { servers, type ServerKind } from './servers.ts';

const modes = ['Passive', 'Active'] as const satisfies readonly FtpDataMode[];
const serverName = 'ftp.partner.example';
const page = new URL('../../docs/reference/ftp-matrix.md', import.meta.url);
const statement = randomBytes(1_000_000);
const report = randomBytes(700_000);
/** A name that no client is told, so that it is said only where it is listed. */
const listedOnly = 'listed-only.txt';
const pki = makePki();

describe('the matrix of FTP servers and clients', () => {
  for (const server of servers) for (const dataMode of modes) for (const tls of [false, true]) describeServer(server, dataMode, tls);

  it('stands in docs/reference/ftp-matrix.md', () => {
    const text = matrixPage();
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(page, text);
    assert.equal(readFileSync(page, 'utf8'), text, 'UPDATE_GOLDEN=1 writes it again');
  });
});

function describeServer(kind: ServerKind, dataMode: FtpDataMode, tls: boolean): void {
  describe(`${kind.name}, ${dataMode.toLowerCase()}${tls ? ', TLS' : ''}`, function () {
    this.timeout(60_000);
    const closing: (() => Promise<unknown>)[] = [];
    let server: FtpServer;
    let path: FtpPath;
    let home: string;

    before(async function () {
      const program = requirePeer(this, kind.peer);
      home = await mkdtemp(join(tmpdir(), 'sallyport-ftp-matrix-'));
      closing.push(() => rm(home, { recursive: true, force: true }));
      const files = { certificateFile: join(home, 'server.pem'), keyFile: join(home, 'server.key') };
      const { certificateChainPem, privateKeyPem } = pki.issue('spiffe://unused/ns/a/sa/b', { names: [{ type: 'dns', value: serverName }] });
      await writeFile(files.certificateFile, certificateChainPem);
      await writeFile(files.keyFile, privateKeyPem, { mode: 0o600 });
      server = await kind.start(program, { dataMode, tls: tls ? files : null });
      closing.push(server.stop);
      await writeFile(join(server.directory, 'statement.bin'), statement);
      await writeFile(join(server.directory, listedOnly), '');
      await writeSmallFiles(join(server.directory, 'many'), 'statement');
      const ftps = { mode: 'Originate', handshake: 'Explicit', serverName, caCertificates: pki.rootPem } as const;
      path = await openFtpPath({ serverPort: server.port, dataMode, ftps: tls ? ftps : null });
      closing.push(path.stop);
    });
    after(async () => {
      for (const close of closing.reverse()) await close();
    });

    for (const client of clients) {
      for (const mode of modes) {
        it(`${client.name}, ${mode.toLowerCase()}`, async function () {
          const program = requirePeer(this, client.peer);
          const work = await mkdtemp(join(home, 'client-'));
          await prepare(server, work);
          const output = await runClient(client, program, mode, work);
          const able = operations.filter((operation) => client.unable[operation] === undefined);
          for (const operation of able) assert.ok(await outcomes[operation]({ output, work, directory: server.directory }), `${operation}: ${output}`);
          assert.deepEqual(await server.clients(), [snatAddress]);
        });
      }
    }

    /** @returns all that its program said */
    async function runClient(client: Client, program: string, mode: FtpDataMode, work: string): Promise<string> {
      let said = '';
      for (const invocation of client.invocations({ port: path.agentPort, ...kind.login, mode })) {
        const run = () => runProgram(program, invocation.args, { directory: work, env: { HOME: work }, input: invocation.input ?? '', timeoutMs: 40_000 });
        let result = await run();
        for (let more = 5; more > 0 && result.status !== 0 && hasFaulted(client, mode, result.stderr); more--) result = await run();
        said += `${result.stdout}${result.stderr}`;
        assert.equal(result.status, 0, said);
      }
      return said;
    }
  });
}

const hasFaulted = ({ fault }: Client, mode: FtpDataMode, text: string): boolean => fault !== undefined && fault.modes.includes(mode) && fault.says.test(text);

/** What a client finds where it runs, and an empty directory for it on the server. */
async function prepare({ directory }: FtpServer, work: string): Promise<void> {
  await writeFile(join(work, 'report.bin'), report);
  await writeFile(join(work, 'rest.bin'), statement.subarray(0, 300_000));
  await writeSmallFiles(join(work, 'many'), 'report');
  await mkdir(join(work, 'back'));
  const target = join(directory, 'upload/many');
  await rm(join(directory, 'upload/report.bin'), { force: true });
  await rm(target, { recursive: true, force: true });
  await mkdir(target);
  await chmod(target, 0o777);
}

async function writeSmallFiles(directory: string, of: string): Promise<void> {
  await mkdir(directory);
  for (const name of smallFiles) await writeFile(join(directory, name), `${of} ${name}`);
}

interface Result {
  /** All that the client said. */
  readonly output: string;
  readonly work: string;
  readonly directory: string;
}

const outcomes: Readonly<Record<Operation, (result: Result) => boolean | Promise<boolean>>> = {
  list: ({ output }) => output.includes(listedOnly),
  download: async ({ work }) => statement.equals(await readFile(join(work, 'got.bin'))),
  resume: async ({ work }) => statement.equals(await readFile(join(work, 'rest.bin'))),
  upload: async ({ directory }) => report.equals(await readFile(join(directory, 'upload/report.bin'))),
  'download 30 small files': ({ work }) => smallFilesAreIn(join(work, 'back'), 'statement'),
  'upload 30 small files': ({ directory }) => smallFilesAreIn(join(directory, 'upload/many'), 'report'),
};

async function smallFilesAreIn(directory: string, of: string): Promise<boolean> {
  const texts = await Promise.all(smallFiles.map((name) => readFile(join(directory, name), 'utf8')));
  return texts.every((text, index) => text === `${of} ${smallFiles[index]!}`);
}
