import assert from 'node:assert/strict';
import { createRecordBudget } from '../../src/core/record-budget.ts';

describe('records of what strangers cause', () => {
  it('come at a bounded rate, and the rest are counted', () => {
    let nowMs = 0;
    const budget = createRecordBudget(() => nowMs);
    const taken = (tries: number) => Array.from({ length: tries }, () => budget.take()).filter(Boolean).length;
    const burst = taken(5_000);
    assert.ok(burst < 5_000);
    assert.equal(budget.refused, 5_000 - burst);
    nowMs += 1_000;
    const later = taken(5_000);
    assert.ok(later > 0 && later < burst);
    nowMs -= 10_000; // a clock that is set back gives nothing away
    assert.equal(taken(10), 0);
  });
});
