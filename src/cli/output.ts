/** How results are printed: tables for people, JSON and YAML for programs. stdout is data and nothing else. */
import { Option } from 'commander';
import { stringify } from 'yaml';
import { printable } from '../core/printable.ts';
import type { CliContext } from './context.ts';

export const outputFormats = ['json', 'yaml', 'wide', 'name'] as const;
export type OutputFormat = (typeof outputFormats)[number];

export function outputOption(formats: readonly OutputFormat[] = ['json', 'yaml']): Option {
  return new Option('-o, --output <format>', 'output format').choices(formats);
}

/** kubectl's kind of table: upper-case headings, two spaces or more between columns, no lines. Cells are made printable. */
export function formatTable(headings: readonly string[], texts: readonly (readonly string[])[]): string {
  const rows = [headings, ...texts].map((row) => row.map(printable));
  const widths = headings.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows.map((row) => formatRow(row, widths)).join('\n');
}

/** A line of such a table; a cell that is wider than its column moves the rest. */
export function formatRow(cells: readonly string[], widths: readonly number[]): string {
  return cells.map((cell, column) => (column === cells.length - 1 ? printable(cell) : `${printable(cell).padEnd(widths[column]!)}  `)).join('').trimEnd();
}

/** Prints a value as JSON or YAML; `table` is called where no format was asked for. */
export function print(context: CliContext, format: OutputFormat | undefined, value: unknown, table: () => string): void {
  if (format === 'json') context.out(JSON.stringify(value, null, 2));
  else if (format === 'yaml') context.out(formatYaml(value).trimEnd());
  else context.out(table());
}

/** For whoever reads it: Kubernetes and Envoy read YAML 1.1, where `on` is no text. */
export function formatYaml(value: unknown): string {
  return stringify(value, { aliasDuplicateObjects: false, compat: 'yaml-1.1' });
}
