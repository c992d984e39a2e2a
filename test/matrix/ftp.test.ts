/** Real FTP servers and real clients, through agent and gateway, in every combination of modes, without TLS, and with it from the gateway or from the client. */
import assert from 'node:assert/strict';
import { link, mkdtemp, rm } from 'node:fs/promises';
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { runProgram } from '../e2e/support/programs.ts';
import type { FtpServer } from '../support/ftp-server.ts';
import { requirePeer } from '../support/peers.ts';
import { bigCells, cellsOf, limitOf, nameOf, type Cell } from './cells.ts';
import { clients, type Invocation, type Session } from './clients.ts';
import { fillCell, hashOf, isDone, operations, writeBigFile, type CellFiles } from './operations.ts';
import { matrixPage } from './page.ts';
import { servers } from './servers.ts';
import { openStage, type Stage } from './stage.ts';

/** Cells that are played at once. */
const width = 4;
const page = new URL('../../docs/reference/ftp-matrix.md', import.meta.url);

describe('the matrix of FTP servers and clients', function () {
  this.timeout(120_000);
  let stage: Stage | undefined;
  let bigHash: string;

  before(async function () {
    stage = await openStage(new Map(servers.map((kind) => [kind, requirePeer(this, kind.peer)])));
    bigHash = await writeBigFile(join(stage.home, 'big.bin'));
  });
  after(() => stage?.close());

  for (const server of servers) {
    for (const client of clients) {
      it(`${server.name} and ${client.name} transfer wherever neither has a limit of its own`, async function () {
        const program = client.peer === null ? process.execPath : requirePeer(this, client.peer);
        const faults = await inTurns(cellsOf(server, client), width, async (cell) => await faultOf(cell, program));
        if (faults.some((fault) => fault !== undefined)) assert.fail(faults.filter((fault) => fault !== undefined).join('\n\n'));
      });
    }
  }

  for (const cell of bigCells) {
    it(`a file of 1 GB passes both ways: ${cell.server.name} and ${nameOf(cell)}`, async function () {
      const program = cell.client.peer === null ? process.execPath : requirePeer(this, cell.client.peer);
      const { home, snatAddress } = stage!;
      const { session, server, files } = await enter(cell, stage!);
      const big = join(home, 'big.bin');
      await link(big, join(server.directory, 'big.bin'));
      const said = await run(program, [cell.client.carry(session)], files.local);
      assert.ok(said.succeeded, said.output.slice(-600));
      assert.deepEqual(await Promise.all([join(files.local, 'big.bin'), join(files.remote, 'big.bin')].map(hashOf)), [bigHash, bigHash]);
      assert.deepEqual(await server.clients(), [snatAddress]);
      for (const directory of [files.local, files.remote]) await rm(join(directory, 'big.bin'));
    });
  }

  for (const { name, peer, help } of clients) {
    if (help === undefined) continue;
    it(`${name} says of no way to do what it is not told to do`, async function () {
      const { stdout, stderr } = await runProgram(peer === null ? process.execPath : requirePeer(this, peer), help.args);
      assert.notEqual(stdout, '');
      assert.doesNotMatch(stdout + stderr, help.never);
    });
  }

  it('stands in docs/reference/ftp-matrix.md', () => {
    const text = matrixPage();
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(page, text);
    assert.equal(readFileSync(page, 'utf8'), text, 'UPDATE_GOLDEN=1 writes it again');
  });

  /** What is otherwise than the table says; undefined where nothing is. */
  async function faultOf(cell: Cell, program: string): Promise<string | undefined> {
    const { session, server, files } = await enter(cell, stage!);
    const limit = limitOf(cell);
    const said = await run(program, cell.client.operate(session), files.local, limit?.says);
    const done = await filter(operations, (operation) => isDone(operation, files, said.output));
    const seen = await server.clients();
    await rm(files.local, { recursive: true });
    const isAsWritten =
      seen.every((address) => address === stage!.snatAddress) &&
      (limit === undefined
        ? said.succeeded && seen.length === 1 && isDeepStrictEqual(done, operations.filter((operation) => !cell.client.unable.includes(operation)))
        : limit.says.test(said.output) && done.length === 0);
    return isAsWritten ? undefined : `${nameOf(cell)} ${said.succeeded ? 'has done' : 'failed behind'} ${done.join(', ') || 'nothing'}; the server has seen ${seen.join(', ') || 'nobody'}:\n${said.output.slice(-600)}`;
  }
});

/** What a client is told of its session, with all that it finds in place. */
async function enter({ client, server: kind, mode, column }: Cell, { home, host, caFile, placeOf }: Stage): Promise<{ readonly session: Session; readonly server: FtpServer; readonly files: CellFiles }> {
  const { server, port } = placeOf(kind, column);
  const local = await mkdtemp(join(home, 'client-'));
  const directory = `upload/${basename(local)}`;
  const files = { local, remote: join(server.directory, directory) };
  await fillCell(files);
  return { session: { host, port, ...kind.login, mode, directory, caFile: column.tls === 'passed through' && client.tls !== null ? caFile : null }, server, files };
}

async function filter<Item>(items: readonly Item[], isKept: (item: Item) => Promise<boolean>): Promise<readonly Item[]> {
  const kept = await Promise.all(items.map(isKept));
  return items.filter((_, index) => kept[index]);
}

/** Runs a client until it fails, or says `end`: some try again later on. @returns all that it said */
async function run(program: string, invocations: readonly Invocation[], directory: string, end?: RegExp): Promise<{ readonly succeeded: boolean; readonly output: string }> {
  let output = '';
  for (const { args, input = '' } of invocations) {
    const { status, stdout, stderr } = await runProgram(program, args, { directory, env: { HOME: directory }, input, timeoutMs: 60_000, ...(end === undefined ? {} : { killAt: end }) });
    output += stdout + stderr;
    if (status !== 0) return { succeeded: false, output };
  }
  return { succeeded: true, output };
}

/** Acts on all, `width` at a time. @returns what came of each, in the same order */
async function inTurns<Item, Result>(items: readonly Item[], width: number, act: (item: Item) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  let next = 0;
  async function goOn(): Promise<void> {
    while (next < items.length) {
      const index = next++;
      results[index] = await act(items[index]!);
    }
  }
  await Promise.all(Array.from({ length: width }, goOn));
  return results;
}
