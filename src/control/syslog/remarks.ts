/** What was wrong of late: for `status`, and so that the log says each thing once, not once a line. */

export interface Remarks {
  /** `reason` is the end of a sentence. Whether it is worth a line of the log: neither this, nor much else, was noted of the subject of late. */
  note(subject: string, reason: string): boolean;
  /** A sentence for each subject of which something was noted of late. */
  conditions(): readonly string[];
}

const rememberedMs = 10 * 60_000;
/** Strangers have as many addresses as they like. */
const subjectsMax = 100;
/** Senders may choose the words that a reason quotes. */
const reasonsMax = 8;

interface Remembered {
  readonly count: number;
  readonly lastMs: number;
  readonly reason: string;
  /** Those that the log has. */
  readonly told: Set<string>;
}

export function createRemarks(now: () => number): Remarks {
  /** What was noted last is last. */
  const remembered = new Map<string, Remembered>();

  function forget(): void {
    for (const [subject, { lastMs }] of remembered) {
      if (remembered.size <= subjectsMax && lastMs > now() - rememberedMs) return;
      remembered.delete(subject);
    }
  }

  return {
    note(subject, reason) {
      const { count = 0, told = new Set<string>() } = remembered.get(subject) ?? {};
      remembered.delete(subject);
      remembered.set(subject, { count: count + 1, lastMs: now(), reason, told });
      forget();
      const isNews = !told.has(reason) && told.size < reasonsMax;
      if (isNews) told.add(reason);
      return isNews;
    },
    conditions() {
      forget();
      return [...remembered].map(([subject, { count, lastMs, reason }]) => `${subject}, ${count === 1 ? 'once' : `${count} times`} of late, at last ${new Date(lastMs).toISOString()}: it ${reason}`);
    },
  };
}
