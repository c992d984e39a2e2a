import assert from 'node:assert/strict';
import { forgetDenials, readDenials, readUnrecorded } from '../../../src/backends/kernel/index.ts';

/** As nft 1.0.6 lists it. */
const listing = (elements: readonly object[]): string =>
  JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6' } }, { set: { family: 'inet', name: 'denied4', table: 'sallyport', type: ['mark'], handle: 7, size: 8192, ...(elements.length === 0 ? {} : { elem: elements.map((elem) => ({ elem })) }) } }] });
const nowMs = Date.parse('2026-11-22T06:00:00Z');
const noted = (number: number, expires = 3_600, source = '192.0.2.9') => ({ val: { concat: [number, source, 55_904, '203.0.113.10', 7_000] }, expires });

describe('what the kernel has noted of refusals', () => {
  it('is read with its reason, its protocol, and when it was', () => {
    assert.deepEqual(readDenials(listing([noted(0x101, 3_590)]), nowMs), [
      { reason: 'not-a-workload', transport: 'tcp', source: { address: '192.0.2.9', port: 55_904 }, destination: { address: '203.0.113.10', port: 7_000 }, atMs: nowMs - 10_000, element: '257 . 192.0.2.9 . 55904 . 203.0.113.10 . 7000' },
    ]);
    assert.deepEqual(readDenials(listing([noted(0x203)]), nowMs).map(({ reason, transport }) => [reason, transport]), [['no-policy', 'udp']]);
  });

  it('is nothing where nothing is there, or nothing of ours', () => {
    assert.deepEqual(readDenials(listing([]), nowMs), []);
    assert.deepEqual(readDenials(listing([noted(7), noted(0x1ff), noted(0x301)]), nowMs), []);
  });

  it('is forgotten element by element, as it was read', () => {
    const denials = readDenials(listing([noted(0x101), noted(0x102, 3_600, '192.0.2.10')]), nowMs);
    assert.equal(forgetDenials('ipv4', denials), 'delete element inet sallyport denied4 { 257 . 192.0.2.9 . 55904 . 203.0.113.10 . 7000, 258 . 192.0.2.10 . 55904 . 203.0.113.10 . 7000 }\n');
  });

  it('tells how much found no room', () => {
    assert.equal(readUnrecorded(listing([{ val: 0x101, counter: { packets: 5, bytes: 300 } }, { val: 0x203, counter: { packets: 2, bytes: 120 } }])), 7);
    assert.equal(readUnrecorded(listing([])), 0);
  });
});
