/** The cells of the matrix, and which of them cannot work. */
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import { clients, type Client } from './clients.ts';
import { servers, type ServerKind } from './servers.ts';

/** How a cell's server comes to TLS: never; by the gateway, for a workload that speaks plain FTP; by the workload itself, through the gateway. */
export const tlsKinds = ['none', 'explicit', 'implicit', 'passed through'] as const;
export type TlsKind = (typeof tlsKinds)[number];

export const dataModes = ['Passive', 'Active'] as const satisfies readonly FtpDataMode[];

/** What a service of the mesh asks for. */
export interface Column {
  readonly tls: TlsKind;
  /** The server's. */
  readonly dataMode: FtpDataMode;
}

export const columns: readonly Column[] = tlsKinds.flatMap((tls) => dataModes.map((dataMode) => ({ tls, dataMode })));

export interface Cell {
  readonly server: ServerKind;
  readonly client: Client;
  /** The client's. */
  readonly mode: FtpDataMode;
  readonly column: Column;
}

export const cellsOf = (server: ServerKind, client: Client): readonly Cell[] => client.modes.flatMap((mode) => columns.map((column) => ({ server, client, mode, column })));

export const nameOf = ({ client, mode, column: { tls, dataMode } }: Cell): string => `${client.name}, ${mode.toLowerCase()}, server ${dataMode.toLowerCase()}, TLS ${tls}`;

/** Why nothing can be transferred in a cell. */
export interface Limit {
  readonly reason: string;
  /** What the client says then. */
  readonly says: RegExp;
}

/** Undefined where all works that the client has a way to do. */
export function limitOf({ server, client, mode, column: { tls, dataMode } }: Cell): Limit | undefined {
  if (tls === 'implicit' && !server.implicitTls) return { reason: 'the server, as Debian compiles it, knows no implicit TLS', says: /cannot be secured/ };
  if (tls !== 'passed through') return undefined;
  if (client.tls === null) return { reason: 'the client speaks no TLS, and the server takes no login without', says: /TLS|encryption/ };
  if (mode === 'Active') return { reason: "passed through, nobody on the way can read and mend the `PORT` or `EPRT`, which names the client's own address within the mesh; the server refuses it", says: either(server.refuses.otherMode, server.refuses.foreignAddress) };
  if (dataMode === 'Active') return { reason: 'passed through, there is one session from end to end, and so one mode; the server is held to the other one', says: server.refuses.otherMode };
  if (client.tls.believesAddress) return { reason: 'the client connects to the address that a 227 names rather than to the one that it knows, and has no `EPSV` with IPv4; that address is not to be reached but by the gateway', says: /127\.0\.3\.1.*refused/ };
  if (server.resumesOnly && !client.tls.resumesSession) return { reason: 'the client does not resume the TLS session of the control connection with data connections, which the server insists on', says: /522|425|EOF/ };
  return undefined;
}

const either = (one: RegExp, other: RegExp): RegExp => new RegExp(`${one.source}|${other.source}`);

/** Where a file of 1 GB is carried both ways: once at each server, in each pair of modes, by each kind of TLS. */
export const bigCells: readonly Cell[] = [
  bigCell('vsftpd', 'curl', 'Active', 'explicit', 'Passive'),
  bigCell('pure-ftpd', "Debian's ftp", 'Passive', 'none', 'Active'),
  bigCell('ProFTPD', 'lftp', 'Active', 'implicit', 'Active'),
  bigCell('pyftpdlib', "Node's basic-ftp", 'Passive', 'passed through', 'Passive'),
];

function bigCell(server: string, client: string, mode: FtpDataMode, tls: TlsKind, dataMode: FtpDataMode): Cell {
  return {
    server: servers.find(({ name }) => name === server)!,
    client: clients.find(({ name }) => name === client)!,
    mode,
    column: columns.find((column) => column.tls === tls && column.dataMode === dataMode)!,
  };
}
