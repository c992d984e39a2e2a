/** The one order of names in plans, assignments and messages: by UTF-16 code unit, whatever the locale. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Sorted copy without duplicates. */
export function sortedUnique(texts: Iterable<string>): string[] {
  return [...new Set(texts)].sort(byText);
}

/** `a, b, c and 7 more`: what a message names when there may be thousands. */
export function boundedList(texts: readonly string[], limit = 8): string {
  const shown = texts.slice(0, limit).join(', ');
  return texts.length <= limit ? shown : `${shown} and ${texts.length - limit} more`;
}
