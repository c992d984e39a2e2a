/** A token bucket a key, as a function of values: `take` gives the next state and whether there was room. */
export interface RateLimit {
  /** Whether one more event of this key is within its rate; counts it when it is. */
  take(key: string, nowMs: number): boolean;
  /** Takes back a `take` whose event turned out not to be one. */
  giveBack(key: string, nowMs: number): void;
}

interface Bucket {
  level: number;
  updatedAtMs: number;
}

const keysMax = 10_000; // beyond this many sources at once, all newcomers share one bucket: memory stays bounded under a flood

/** Allows `burst` at once and `perSecond` over time, for each key. */
export function createRateLimit({ burst, perSecond }: { readonly burst: number; readonly perSecond: number }): RateLimit {
  const buckets = new Map<string, Bucket>();
  const levelAt = (bucket: Bucket, nowMs: number) => Math.min(burst, bucket.level + (Math.max(0, nowMs - bucket.updatedAtMs) / 1000) * perSecond);

  function bucketOf(key: string, nowMs: number): Bucket {
    const known = buckets.get(key);
    if (known !== undefined) return known;
    if (buckets.size >= keysMax) {
      for (const [other, bucket] of buckets) if (levelAt(bucket, nowMs) >= burst) buckets.delete(other);
    }
    const name = buckets.size >= keysMax ? '' : key;
    const bucket = buckets.get(name) ?? { level: burst, updatedAtMs: nowMs };
    buckets.set(name, bucket);
    return bucket;
  }

  return {
    take(key, nowMs) {
      const bucket = bucketOf(key, nowMs);
      bucket.level = levelAt(bucket, nowMs);
      bucket.updatedAtMs = nowMs;
      if (bucket.level < 1) return false;
      bucket.level -= 1;
      return true;
    },
    giveBack(key, nowMs) {
      bucketOf(key, nowMs).level += 1; // what is above the burst is left out at the next look
    },
  };
}
