/** Results of checks, for people. */
import { boundedList } from '../core/order.ts';
import { printable } from '../core/printable.ts';
import { categories, type CheckResult, type Verdict } from './checks.ts';

/** The first ones tell the rest. */
const namedMax = 5;

const words: Readonly<Record<Verdict, string>> = { passed: 'ok', failed: 'FAILED', warned: 'warning', skipped: 'skipped' };

/** A line for each check under its category, and what is to be done under what did not pass. */
export function describeResults(results: readonly CheckResult[]): readonly string[] {
  return categories.flatMap((category) => {
    const own = results.filter((result) => result.category === category);
    return own.length === 0 ? [] : [category, ...own.flatMap(linesOf), ''];
  });
}

function linesOf({ verdict, title, message, named = [], hint, reference }: CheckResult): readonly string[] {
  const more = (text: string): string => `           ${printable(text)}`;
  return [
    printable(`  ${words[verdict].padEnd(7)}  ${title}${message === undefined ? '' : `: ${message}`}`),
    ...named.slice(0, namedMax).map((each) => more(`- ${each}`)),
    ...(named.length > namedMax ? [more(`- and ${named.length - namedMax} more`)] : []),
    ...(hint === undefined ? [] : [more(`hint: ${hint}`)]),
    ...(reference === undefined ? [] : [more(`see ${reference}`)]),
  ];
}

/** As in `2 failed (ca-present, lease-held), 1 warning (names-free)`; that all is well where it is. */
export function summaryOf(results: readonly CheckResult[]): string {
  const of = (verdict: Verdict, word: string): readonly string[] => {
    const codes = results.flatMap((result) => (result.verdict === verdict ? [result.code] : []));
    return codes.length === 0 ? [] : [`${codes.length} ${word} (${boundedList(codes)})`];
  };
  const parts = [...of('failed', 'failed'), ...of('warned', 'with warnings'), ...of('skipped', 'could not be looked at')];
  return parts.length === 0 ? 'all is well' : parts.join(', ');
}
