/** The list for spreadsheets and tickets, a line a flow (RFC 4180, but that lines end with a line feed alone, as other tools of a command line want it, and spreadsheets take it). */
import { sortedUnique } from '../../core/order.ts';
import { describePorts, type AllowList } from './allow-list.ts';

const headings = ['direction', 'transport', 'source', 'source ports', 'destination', 'destination ports', 'services', 'uses', 'subjects', 'policies', 'bindings'];

export function renderCsv({ flows }: AllowList): string {
  const rows = flows.map(({ direction, transport, source, destination, needs }) => [
    direction,
    transport,
    source.host,
    describePorts(source.ports),
    destination.host,
    describePorts(destination.ports),
    ...[needs.map(({ service }) => service), needs.map(({ use }) => use), needs.map(({ subject }) => subject), needs.flatMap(({ policies }) => policies), needs.map(({ binding }) => binding)].map((each) => sortedUnique(each).join(' ')),
  ]);
  return [headings, ...rows].map((row) => `${row.map(quoted).join(',')}\n`).join('');
}

function quoted(field: string): string {
  return /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}
