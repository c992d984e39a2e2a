const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Milliseconds of a span such as `1h30m`, `30s` or `7d`; undefined for anything else, and for spans above ten years. */
export function parseDuration(text: string): number | undefined {
  if (!/^([0-9]{1,9}(ms|[smhd]))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)(ms|[smhd])/g)) total += Number(count) * unitMs[unit as keyof typeof unitMs];
  return total <= 3_650 * unitMs.d ? total : undefined;
}

/** The shortest spelling that `parseDuration` reads back to the same number: `90_000` is `1m30s`. */
export function formatDuration(milliseconds: number): string {
  let rest = milliseconds;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    const count = Math.floor(rest / unitMs[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs[unit];
  }
  return text === '' ? '0s' : text;
}
