/** What the matrix is played on: each server once for each column, and one Sallyport with a service port for each of them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FtpsHandshake } from '../../src/core/objects/index.ts';
import { findFreePorts } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment } from '../support/deployment.ts';
import type { FtpServer } from '../support/ftp-server.ts';
import { makePki } from '../support/pki.ts';
import { columns, type Column, type TlsKind } from './cells.ts';
import { fillServer } from './operations.ts';
import type { ServerKind } from './servers.ts';

export interface Stage {
  /** For files of clients; removed in the end. */
  readonly home: string;
  /** Where the workload finds its agent. */
  readonly host: string;
  /** The only address that servers may see. */
  readonly snatAddress: string;
  /** Whom a client trusts that speaks TLS itself. */
  readonly caFile: string;
  readonly placeOf: (kind: ServerKind, column: Column) => Place;
  readonly close: () => Promise<void>;
}

/** Where a column leads to at a server. */
export interface Place {
  /** At the agent. */
  readonly port: number;
  readonly server: FtpServer;
}

interface PlacedPort extends Place {
  readonly kind: ServerKind;
  readonly column: Column;
  readonly dataPorts: PortRange | undefined;
}

interface PortRange {
  readonly first: number;
  readonly last: number;
}

const serverName = 'ftp.partner.example';
const workload = 'productpage';
const host = '127.0.2.1';
/** Of a server whose TLS is passed through. With few, servers wait for one whose last connection is just over: vsftpd for a second each time. */
const dataPortCount = 48;

const handshakes: Readonly<Record<TlsKind, FtpsHandshake | null>> = { none: null, explicit: 'Explicit', implicit: 'Implicit', 'passed through': 'Explicit' };

/** @param programs of the servers that this machine has */
export async function openStage(programs: ReadonlyMap<ServerKind, string>): Promise<Stage> {
  const closing: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const each of closing.reverse()) await each();
  };
  try {
    const home = await mkdtemp(join(tmpdir(), 'sallyport-ftp-matrix-'));
    closing.push(() => rm(home, { recursive: true, force: true }));
    const caFile = join(home, 'root.pem');
    const files = { certificateFile: join(home, 'server.pem'), keyFile: join(home, 'server.key') };
    const pki = makePki();
    const { certificateChainPem, privateKeyPem } = pki.issue('spiffe://unused/ns/a/sa/b', { names: [{ type: 'dns', value: serverName }, { type: 'ip', value: host }] });
    await writeFile(caFile, pki.rootPem);
    await writeFile(files.certificateFile, certificateChainPem);
    await writeFile(files.keyFile, privateKeyPem, { mode: 0o600 });

    const places = [...programs].flatMap(([kind, program]) => columns.map((column) => ({ kind, program, column })));
    const ports = await findFreePorts(places.length);
    const passed = places.filter(({ column }) => column.tls === 'passed through');
    const [firstDataPort] = (await findFreePorts(passed.length * dataPortCount)) as [number];
    const placed: PlacedPort[] = [];
    for (const [index, place] of places.entries()) {
      const { kind, program, column } = place;
      const first = firstDataPort + passed.indexOf(place) * dataPortCount;
      const dataPorts = column.tls === 'passed through' ? { first, last: first + dataPortCount - 1 } : undefined;
      const handshake = handshakes[column.tls];
      const server = await kind.start(program, { dataMode: column.dataMode, tls: handshake === null ? null : { handshake, ...files }, ...(dataPorts === undefined ? {} : { passivePorts: dataPorts }) });
      closing.push(server.stop);
      await fillServer(server.directory);
      placed.push({ kind, column, server, port: ports[index]!, dataPorts });
    }
    const sallyport = await startTestDeployment({ agents: [workload], agentAddresses: { [workload]: host }, manifests: manifestsOf(placed, pki.rootPem) });
    closing.push(sallyport.close);
    return {
      home,
      host,
      caFile,
      snatAddress: snatAddresses[workload],
      placeOf: (kind, column) => placed.find((each) => each.kind === kind && each.column === column)!,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function manifestsOf(placed: readonly PlacedPort[], caCertificates: string): string {
  const written = placed.map(({ column: { tls, dataMode }, server, port, dataPorts }, index) => ({
    name: `at-${index}`,
    port,
    targetPort: server.port,
    protocol: tls === 'none' ? 'FTP' : 'FTPS',
    ftp: { dataMode },
    ...(tls === 'none' ? {} : { tls: dataPorts === undefined ? { handshake: handshakes[tls], serverName, caCertificates } : { mode: 'PassThrough', dataPorts } }),
  }));
  return serviceManifests({ name: 'partner', port: 0, targetPort: 0, allowed: [workload] }).replace(/ports: \[.*\]/, () => `ports: ${JSON.stringify(written)}`);
}
