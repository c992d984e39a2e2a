/** What is under way through a pair of routers (kernel-pair.ts) while one of them goes: connections, datagrams, and long transfers over FTP. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { waitFor } from '../../src/demo/processes.ts';
import { pairAddresses, pairPorts, type KernelPair } from './kernel-pair.ts';
import { startVsftpd, type Vsftpd } from './vsftpd.ts';

export interface Flow {
  readonly name: string;
  /** The SNAT address that the partner is to see. */
  readonly source: string;
  /** Grows with all that comes through. */
  readonly progress: () => Promise<number>;
}

export interface EchoFlow extends Flow {
  /** How the partner has seen it, `ADDRESS PORT`, each once; and how it has ended, if it has. */
  readonly seen: () => readonly string[];
}

export interface Transfer extends Flow {
  /** Whether of the long one something has arrived, and not all. */
  readonly isUnderWay: () => Promise<boolean>;
  /** Resolves once the long one and a short one after it have ended: with "complete", or with what is the matter. */
  readonly done: Promise<string>;
}

export interface LateTransfer extends Pick<Flow, 'source'> {
  /** Opens the data connection that the server has been asked for; resolves with how many bytes have come. */
  readonly go: () => Promise<number>;
}

export interface PairTraffic {
  /** A connection and a flow of datagrams of either family, with something under way all the time. */
  readonly echoes: readonly EchoFlow[];
  /** Downloads and uploads, passive and active, of either family; resolves once all are under way. */
  readonly startTransfers: () => Promise<readonly Transfer[]>;
  /** Short downloads of either family whose data connection has been spoken of, and is not there yet. */
  readonly startLateTransfers: () => Promise<readonly LateTransfer[]>;
  /** Control connections so far: the addresses from which they came. */
  readonly controlConnections: () => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
}

const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];
/** How data connections are asked for, and by which options of curl. */
const modes = [
  { family: 'ipv4', mode: 'PASV', options: ['--disable-epsv'] },
  { family: 'ipv4', mode: 'PORT', options: ['--disable-eprt', '--ftp-port', '-'] },
  { family: 'ipv6', mode: 'EPSV', options: [] },
  { family: 'ipv6', mode: 'EPRT', options: ['--ftp-port', '-'] },
] as const;

/** Bytes a second. The server has one rate for both; clients send slower, so that it has nothing left to take while nothing comes through. */
const rates = { download: 250_000, upload: 200_000 } as const;
const longFiles = { download: 'download.bin', upload: 'upload.bin' } as const;
const short = 'short.bin';
export const shortBytes = 1_000;

/** @param vsftpd path of the program; @param seconds how long the long transfers take */
export async function startPairTraffic(pair: KernelPair, vsftpd: string, seconds: number): Promise<PairTraffic> {
  const closing: (() => unknown)[] = [];
  const contents = { [longFiles.download]: randomBytes(seconds * rates.download), [longFiles.upload]: randomBytes(seconds * rates.upload), [short]: randomBytes(shortBytes) };
  const home = await mkdtemp(join(tmpdir(), 'sallyport-transfers-'));
  closing.push(() => rm(home, { recursive: true, force: true }));
  const close = async (): Promise<void> => {
    for (const each of closing.splice(0).reverse()) await each();
  };
  const startServer = async (family: Family): Promise<Vsftpd> => {
    const server = await startVsftpd(vsftpd, { anon_max_rate: String(rates.download), trans_chunk_size: '8192' }, { address: pairAddresses[family].partner, port: pairPorts.ftp, enter: pair.hosts.partner.enter });
    closing.push(server.stop);
    for (const directory of [home, server.directory]) for (const [name, content] of Object.entries(contents)) await writeFile(join(directory, name), content);
    return server;
  };
  try {
    const servers = { ipv4: await startServer('ipv4'), ipv6: await startServer('ipv6') };
    await pair.startNode('partner', 'echo-host.ts', [String(pairPorts.echo)], /ready/);
    const echoes = await Promise.all(families.flatMap((family) => (['tcp', 'udp'] as const).map((transport) => startEcho(pair, transport, family))));
    return { echoes, ...transfersThrough(pair, home, contents, servers), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Contents by the name of the file. */
type Contents = Readonly<Record<(typeof longFiles)['download' | 'upload'] | typeof short, Buffer>>;

function transfersThrough(pair: KernelPair, home: string, contents: Contents, servers: Readonly<Record<Family, Vsftpd>>): Pick<PairTraffic, 'startTransfers' | 'startLateTransfers' | 'controlConnections'> {
  let started = 0;
  async function startTransfer({ family, mode, options }: (typeof modes)[number], direction: 'download' | 'upload'): Promise<Transfer> {
    const { pod, partner } = pairAddresses[family];
    const { directory } = servers[family];
    const own = `${(started += 1)}-`;
    const url = `ftp://${family === 'ipv6' ? `[${partner}]` : partner}:${pairPorts.ftp}`;
    const download = (file: keyof typeof contents) => ({ args: ['-o', own + file, `${url}/${file}`], arrives: join(home, own + file), content: contents[file] });
    const upload = (file: keyof typeof contents) => ({ args: ['--limit-rate', String(rates.upload), '-T', file, `${url}/upload/${own}${file}`], arrives: join(directory, 'upload', own + file), content: contents[file] });
    const long = longFiles[direction];
    const files = direction === 'download' ? [download(long), upload(short)] as const : [upload(long), download(short)] as const;
    const common = ['-q', '-sS', '--max-time', '30', '--interface', pod, ...options];
    const result = pair.hosts.pods.run('curl', [...common, ...files[0].args, '--next', ...common, ...files[1].args], { directory: home, timeoutMs: 40_000 });
    const done = result.then(async ({ status, stderr }) => {
      if (status !== 0) return `curl ended with ${status}: ${stderr}`;
      const arrived = await Promise.all(files.map(async ({ arrives, content }) => content.equals(await readFile(arrives))));
      return arrived.every(Boolean) ? 'complete' : 'what has arrived is not what was sent';
    });
    const progress = async (): Promise<number> => (await stat(files[0].arrives).catch(() => ({ size: 0 }))).size;
    const isUnderWay = async (): Promise<boolean> => {
      const bytes = await progress();
      return bytes > 0 && bytes < contents[long].length;
    };
    await waitFor(`${direction} by ${mode} to begin`, 10_000, async () => (await isUnderWay()) || undefined);
    return { name: `FTP, ${direction} by ${mode}`, source: pairAddresses[family].snat, progress, isUnderWay, done };
  }

  async function startLateTransfer(family: Family): Promise<LateTransfer> {
    const { pod, partner } = pairAddresses[family];
    const signal = join(home, `${(started += 1)}-go`);
    const client = await pair.startNode('pods', 'late-data-client.ts', [pod, partner, String(pairPorts.ftp), short, signal], /^told$/m);
    return {
      source: pairAddresses[family].snat,
      async go() {
        await writeFile(signal, '');
        return Number(await waitFor('what was asked for', 10_000, () => /^received (\d+)$/m.exec(client.output())?.[1]));
      },
    };
  }

  return {
    startLateTransfers: () => Promise.all(families.map(startLateTransfer)),
    startTransfers: () => Promise.all(modes.flatMap((mode) => (['download', 'upload'] as const).map((direction) => startTransfer(mode, direction)))),
    controlConnections: async () => (await Promise.all(Object.values(servers).map((server) => server.log()))).flatMap((log) => [...log.matchAll(/CONNECT: Client "(?:::ffff:)?([^"]+)"/g)].map(([, address]) => address!)),
  };
}

async function startEcho(pair: KernelPair, transport: 'tcp' | 'udp', family: Family): Promise<EchoFlow> {
  const { pod, partner } = pairAddresses[family];
  const client = await pair.startNode('pods', 'ticking-client.ts', [transport, pod, partner, String(pairPorts.echo)], /you/);
  return {
    name: `${transport.toUpperCase()}, ${family}`,
    source: pairAddresses[family].snat,
    progress: () => Promise.resolve(client.output().split('\n').length),
    seen: () => [...new Set([...client.output().matchAll(/^(?:you|ended) (.*)$/gm)].map(([, how]) => how!))],
  };
}
