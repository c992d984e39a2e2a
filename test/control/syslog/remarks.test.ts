import assert from 'node:assert/strict';
import { createRemarks } from '../../../src/control/syslog/remarks.ts';

const minuteMs = 60_000;

describe('what was wrong with syslog of late', () => {
  let nowMs = Date.UTC(2026, 10, 22, 7, 30);
  const now = () => nowMs;

  it('is news once, told with how often it was, and forgotten ten minutes after the last time', () => {
    const remarks = createRemarks(now);
    assert.equal(remarks.note('a line of "f5" was refused', 'is not JSON'), true);
    nowMs += minuteMs;
    assert.equal(remarks.note('a line of "f5" was refused', 'is not JSON'), false);
    assert.deepEqual(remarks.conditions(), [`a line of "f5" was refused, 2 times of late, at last ${new Date(nowMs).toISOString()}: it is not JSON`]);
    nowMs += 10 * minuteMs;
    assert.deepEqual(remarks.conditions(), []);
    assert.equal(remarks.note('a line of "f5" was refused', 'is not JSON'), true);
    assert.match(remarks.conditions().join(), /, once of late/);
  });

  it('is news for few reasons only, since senders choose their words', () => {
    const remarks = createRemarks(now);
    const news = Array.from({ length: 50 }, (_, index) => remarks.note('a line of "f5" was refused', `names the origin "${index}"`));
    assert.equal(news.filter(Boolean).length, 8);
    assert.match(remarks.conditions().join(), /50 times .* "49"$/);
  });

  it('is kept of the hundred that were wrong last, since strangers choose their addresses', () => {
    const remarks = createRemarks(now);
    for (let index = 0; index < 1_000; index += 1) remarks.note(`a connection from 10.0.0.${index} was refused`, 'is unknown');
    const conditions = remarks.conditions();
    assert.deepEqual([conditions.length, conditions.at(-1)?.startsWith('a connection from 10.0.0.999 ')], [100, true]);
  });
});
