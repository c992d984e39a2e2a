/** How results are printed: tables for people, JSON and YAML for programs. stdout is data and nothing else. */
import { Option } from 'commander';
import { stringify } from 'yaml';
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

/** Text from outside, made fit for one line: control characters, line ends and what turns the direction of writing are shown, not sent. */
export function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escapeCharacter);
}

/**
 * Any output, made safe for a terminal: control characters, and with them escape sequences, are shown but for line ends and
 * tabs. JSON and YAML keep their meaning, since they hold such characters only in quotes, where the escape says the same.
 */
export function harmless(text: string): string {
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
