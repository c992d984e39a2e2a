/** The matrix as a page for people: docs/reference/ftp-matrix.md. */
import { bigCells, cellsOf, columns, dataModes, limitOf, nameOf, tlsKinds, type Cell, type TlsKind } from './cells.ts';
import { clients } from './clients.ts';
import { operations } from './operations.ts';
import { servers, type ServerKind } from './servers.ts';

const headings: Readonly<Record<TlsKind, string>> = { none: 'no TLS', explicit: 'explicit TLS', implicit: 'implicit TLS', 'passed through': 'TLS passed through' };

/** What holds of all cells of a client at any server. */
const unableOf = ({ client: { name, unable } }: Cell): string | undefined => (unable.length === 0 ? undefined : `${name} has no way to ${unable.join(', to ')}; all else works`);

export function matrixPage(): string {
  const cells = servers.flatMap((server) => clients.flatMap((client) => cellsOf(server, client)));
  const notes = [...new Set(cells.map(noteOf).filter((note) => note !== undefined))];
  const passiveOnly = clients.filter(({ modes }) => !modes.includes('Active')).map(({ name }) => name);
  const rows = (server: ServerKind): readonly string[] =>
    clients.flatMap((client) =>
      dataModes.map((mode) => {
        const row = cellsOf(server, client).filter((cell) => cell.mode === mode);
        return `| ${client.name} | ${mode.toLowerCase()} | ${columns.map((column) => wordOf(row.find((cell) => cell.column === column), notes)).join(' | ')} |`;
      }),
    );
  return [
    '# FTP servers and clients',
    '',
    'Written by `test/matrix` from the table that it plays (`UPDATE_GOLDEN=1 npx mocha test/matrix/ftp.test.ts` writes it again); not by hand.',
    '',
    'Each client is a workload: it speaks with its agent, the gateway with the server, in the mode that the service asks for. Without TLS both',
    'speak plain FTP; with explicit (`AUTH TLS`) or implicit TLS the client does, and the gateway secures the way to the server; where TLS is',
    'passed through, the client speaks it with the server itself, from end to end. In each cell the client does this:',
    `${operations.join(', ')}.`,
    'Contents are compared byte by byte on both sides, and the server must have seen the address of the identity and no other. What servers name',
    'in a 227 is an address where nobody listens.',
    '',
    `"all" is all of the above. A number is a limit of the server's or the client's own, and the test holds each of them to it: "no" is that nothing is done, and that it is said why. ${passiveOnly.join(' and ')} has no active mode ("-"). Servers and clients are as Debian 12, PyPI and npm have them.`,
    '',
    ...notes.map((note, index) => `${index + 1}. ${note}.`),
    '',
    'A file of 1 GB passes both ways, by its hash:',
    '',
    ...bigCells.map((cell) => `- ${cell.server.name}: ${nameOf(cell)}`),
    ...servers.flatMap((server) => [
      '',
      `## ${server.name}`,
      '',
      server.note,
      '',
      `| client | its mode |${tlsKinds.map((tls) => dataModes.map((dataMode) => ` ${headings[tls]}, server ${dataMode.toLowerCase()} |`).join('')).join('')}`,
      `|---|---|${'---|'.repeat(columns.length)}`,
      ...rows(server),
    ]),
    '',
  ].join('\n');
}

const noteOf = (cell: Cell): string | undefined => limitOf(cell)?.reason ?? unableOf(cell);

function wordOf(cell: Cell | undefined, notes: readonly string[]): string {
  if (cell === undefined) return '-';
  const note = noteOf(cell);
  if (note === undefined) return 'all';
  return limitOf(cell) === undefined ? `all but (${notes.indexOf(note) + 1})` : `no (${notes.indexOf(note) + 1})`;
}
