/** What benches of FTP do with a server, by whichever way it is reached, and what that costs. */
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openFtp, type FtpClient } from './client.ts';
import type { Note } from './turns.ts';

const bulkBytes = 256 << 20;
const filesPerFigure = 200;

/** Where a client finds the server. */
export interface Place {
  readonly host: string;
  readonly port: number;
  /** Of the processes between client and server, the server's neighbour last. */
  readonly pids: readonly number[];
}

/** Processor time of all threads, milliseconds: `se.sum_exec_runtime` of each, since /proc/PID/stat counts in hundredths of a second. */
async function cpuMs(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = await Promise.all(threads.map(async (thread) => Number((await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')[0])));
  return times.reduce((sum, time) => sum + time, 0) / 1e6;
}

/** By the clock, and in processor time of what stands between client and server. */
export async function costOf({ pids }: Place, work: () => Promise<unknown>): Promise<{ readonly wallMs: number; readonly cpu: number }> {
  const cpu = async (): Promise<number> => (await Promise.all(pids.map(cpuMs))).reduce((sum, each) => sum + each, 0);
  const [before, startedAtMs] = [await cpu(), performance.now()];
  await work();
  const wallMs = performance.now() - startedAtMs;
  return { wallMs, cpu: (await cpu()) - before };
}

const chunk = Buffer.alloc(1 << 16, 'x');
const bulk = (): Buffer[] => Array.from({ length: bulkBytes / chunk.length }, () => chunk);
const small = [Buffer.alloc(1_024, 'x')];

/** Puts what is fetched and listed where a server offers it. */
export async function writeFiles(directory: string): Promise<void> {
  await writeFile(join(directory, 'bulk'), bulk());
  await mkdir(join(directory, 'small'));
  await writeFile(join(directory, 'small', 'file'), small);
}

/** One large file, there and back. */
export async function measureBulk(place: Place, note: Note): Promise<void> {
  const client = await openFtp(place);
  const kinds: Readonly<Record<string, () => Promise<unknown>>> = { download: () => client.get('/bulk'), upload: () => client.put('/upload/bulk', bulk()) };
  for (const [kind, work] of Object.entries(kinds)) {
    const { wallMs, cpu } = await costOf(place, work);
    note(`${kind}, MB/s`, bulkBytes / 1e3 / wallMs);
    if (place.pids.length > 0) note(`${kind}, CPU ms a GB`, cpu / (bulkBytes / 1e9));
  }
  client.close();
}

/** Many small ones, one after the other on one session. */
export async function measureFiles(place: Place, note: Note): Promise<void> {
  const client = await openFtp(place);
  const kinds: Readonly<Record<string, (client: FtpClient) => Promise<unknown>>> = { list: () => client.list('/small'), get: () => client.get('/small/file'), put: () => client.put('/upload/file', small) };
  let [wallMs, cpu] = [0, 0];
  for (const [kind, work] of Object.entries(kinds)) {
    const cost = await costOf(place, async () => {
      for (let done = 0; done < filesPerFigure; done += 1) await work(client);
    });
    note(`small files, ${kind}/s`, filesPerFigure / (cost.wallMs / 1_000));
    wallMs += cost.wallMs;
    cpu += cost.cpu;
  }
  note('small files, all three/s', (3 * filesPerFigure) / (wallMs / 1_000));
  if (place.pids.length > 0) note('small files, CPU us each', (cpu * 1_000) / (3 * filesPerFigure));
  client.close();
}
