/**
 * The text of a BIG-IP's configuration: `COMPONENT NAME { SETTING VALUE ... }`, words, and braces about what belongs together. Its grammar
 * is that of Tcl's commands and lists.
 *
 * Source: tmsh reference (clouddocs.f5.com, "TMSH Reference"): "Configuration of the BIG-IP system using tmsh", `sys config`.
 */
import { invariant } from '../../core/errors.ts';

/** A word, words in braces, or settings in braces. */
export type TmshValue = string | readonly string[] | TmshSettings;

export interface TmshSettings {
  readonly [setting: string]: TmshValue;
}

export interface TmshObject {
  /** As `ltm pool`. */
  readonly component: string;
  readonly path: string;
  /** An iRule's is its text. */
  readonly body: TmshSettings | string;
}

const bareWord = /^[\w./:,%*@+-]+$/;

/** One word, whatever is in it. */
export const tmshWord = (text: string): string => (bareWord.test(text) ? text : `"${text.replaceAll(/["\\$[\]{}]/g, String.raw`\$&`)}"`);

export function tmshText({ component, path, body }: TmshObject): string {
  const head = `${component} ${tmshWord(path)}`;
  if (typeof body !== 'string') return `${head} ${inBraces(body, '')}\n`;
  invariant(isBraced(body), 'an iRule stands in braces as it is');
  return `${head} {\n${body}}\n`;
}

function inBraces(settings: TmshSettings, indent: string): string {
  const inner = `${indent}    `;
  const lines = Object.entries(settings).map(([name, value]) => `${inner}${tmshWord(name)} ${valueText(value, inner)}\n`);
  return lines.length === 0 ? '{ }' : `{\n${lines.join('')}${indent}}`;
}

function valueText(value: TmshValue, indent: string): string {
  if (typeof value === 'string') return tmshWord(value);
  return isWords(value) ? ['{', ...value.map(tmshWord), '}'].join(' ') : inBraces(value, indent);
}

const isWords = (value: readonly string[] | TmshSettings): value is readonly string[] => Array.isArray(value);

/** Whether braces about it are read as they stand: those in it come in pairs, and no backslash ends a line, which would join it with the next. */
function isBraced(text: string): boolean {
  let depth = 0;
  for (const [brace] of text.matchAll(/\\[^]|[{}]/g)) {
    if (brace === '\\\n') return false;
    if (brace === '{') depth += 1;
    if (brace === '}') depth -= 1;
    if (depth < 0) return false;
  }
  return depth === 0 && text.endsWith('\n');
}
