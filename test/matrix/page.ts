/** The matrix as a page for people: docs/reference/ftp-matrix.md. */
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import { clients, type Client } from './clients.ts';
import { operations } from './operations.ts';
import { servers } from './servers.ts';

const modes = ['Passive', 'Active'] as const;
const faulty = clients.flatMap(({ fault }) => (fault === undefined ? [] : [fault]));

export function matrixPage(): string {
  return [
    '# FTP servers and clients',
    '',
    'Written by `test/matrix` from the table that it plays (`UPDATE_GOLDEN=1 npx mocha test/matrix/ftp.test.ts` writes it again); not by hand.',
    '',
    'Each client, as a workload, speaks plain FTP with the agent; the gateway speaks with the server, in the mode that the service asks',
    'for, and over TLS that it originates where the server wants it. In each cell the client does this:',
    `${operations.join(', ')}.`,
    'Contents are compared byte by byte on both sides, and the server must have seen the address of the identity and no other.',
    '',
    'Server and client are as Debian 12 has them. "all" is all of the above; what is missing is a limit of the client\'s own, and so is what a number leads to.',
    ...faulty.flatMap(({ reason }, index) => ['', `(${index + 1}) ${reason}.`]),
    ...servers.flatMap(({ name, note }) => [
      '',
      `## ${name}`,
      '',
      note,
      '',
      '| client | its mode | server passive | server active | server passive, TLS | server active, TLS |',
      '|---|---|---|---|---|---|',
      ...clients.flatMap((client) => modes.map((mode) => `| ${client.name} | ${mode.toLowerCase()} |${` ${cellOf(client, mode)} |`.repeat(4)}`)),
    ]),
    '',
  ].join('\n');
}

function cellOf({ unable, fault }: Client, mode: FtpDataMode): string {
  const reasons = Object.entries(unable);
  const mark = fault?.modes.includes(mode) === true ? ` (${faulty.indexOf(fault) + 1})` : '';
  if (reasons.length === 0) return `all${mark}`;
  return `all but ${reasons.map(([operation]) => operation).join(' and ')}: ${[...new Set(reasons.map(([, reason]) => reason))].join('; ')}${mark}`;
}
