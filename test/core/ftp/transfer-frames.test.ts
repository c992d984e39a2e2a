import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { beginFrame, createTransferFrameReader, dataHead, endFrame } from '../../../src/core/ftp/index.ts';

/** What is read of a stream that comes in these pieces: data as one text between the other frames. */
function read(pieces: readonly Buffer[]): string | undefined {
  const reader = createTransferFrameReader();
  let text = '';
  for (const piece of pieces) {
    const frames = reader.take(piece);
    if (frames === undefined) return undefined;
    for (const frame of frames) text += frame.kind === 'data' ? frame.payload.toString('latin1') : `<${frame.kind}>`;
  }
  return text;
}

const data = (text: string): Buffer[] => [dataHead(text.length), Buffer.from(text, 'latin1')];
const stream = Buffer.concat([beginFrame, ...data('abc'), ...data(''), ...data('de'), endFrame, beginFrame, endFrame]);

describe('frames of transfers', () => {
  it('are read the same however the stream is split', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(stream.length)), (cuts) => {
        const edges = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
        assert.equal(read(edges.slice(1).map((end, index) => stream.subarray(edges[index], end))), '<begin>abcde<end><begin><end>');
      }),
    );
  });

  it('give data as it comes, before the frame is whole', () => {
    assert.equal(read([Buffer.concat([dataHead(1_000_000), Buffer.from('abc')])]), 'abc');
  });

  it('are not made of just any bytes', () => {
    for (const strange of [Buffer.from('GET / HTTP/1.1\r\n'), Buffer.from([0, 0, 0, 0, 1]), Buffer.from([3, 0, 0, 0, 0])]) assert.equal(read([strange]), undefined, strange.toString('hex'));
  });
});
