/** A bounded rate of records for what strangers can cause: a flood of them must not fill the ledger and so stop everyone. */
export interface RecordBudget {
  /** Whether one more may be recorded now. */
  take(): boolean;
  /** How many were not. */
  readonly refused: number;
}

const perSecond = 200;
const burst = 1_000;

/** 200 records a second after a burst of 1,000 (docs/decisions/0404). `now` in milliseconds. */
export function createRecordBudget(now: () => number): RecordBudget {
  let left = burst;
  let filledAtMs = now();
  let refused = 0;
  return {
    take() {
      const nowMs = now();
      left = Math.min(burst, left + (Math.max(0, nowMs - filledAtMs) / 1_000) * perSecond);
      filledAtMs = nowMs;
      if (left < 1) {
        refused += 1;
        return false;
      }
      left -= 1;
      return true;
    },
    get refused() {
      return refused;
    },
  };
}
