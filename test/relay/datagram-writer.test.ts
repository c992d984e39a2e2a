import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { createCapsuleDecoder } from '../../src/core/udp/capsule.ts';
import { backlogBytesMax, createDatagramWriter } from '../../src/relay/datagram-writer.ts';

/** A connection that takes each write when it is told to. */
function slowStream() {
  const writes: { readonly bytes: Buffer; readonly taken: () => void }[] = [];
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, taken) => void writes.push({ bytes: chunk, taken }),
    writev: (chunks, taken) => void writes.push({ bytes: Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), taken }),
  });
  return { stream, writes };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));
const textsOf = (bytes: Buffer) => createCapsuleDecoder().take(bytes).datagrams.map(({ payload }) => payload.toString());

describe('datagrams onto a mesh connection', () => {
  it('go out together where they come in one turn of the event loop, in order', async () => {
    const { stream, writes } = slowStream();
    const { write } = createDatagramWriter(stream);
    for (const text of ['a', 'b', 'c']) assert.equal(write({ contextId: 0, payload: Buffer.from(text) }), true);
    await turn();
    assert.deepEqual(writes.map(({ bytes }) => textsOf(bytes)), [['a', 'b', 'c']]);
  });

  it('wait for a slow connection up to a bound, are dropped above it, and go on when it takes them', async () => {
    const { stream, writes } = slowStream();
    const { write } = createDatagramWriter(stream);
    const payload = Buffer.alloc(60_000);
    const verdicts = Array.from({ length: 20 }, () => write({ contextId: 0, payload }));
    assert.ok(stream.writableLength < backlogBytesMax + 2 * payload.length, `${stream.writableLength} bytes wait`);
    assert.deepEqual(verdicts, verdicts.map((_, index) => index < 5));
    await turn();
    assert.equal(write({ contextId: 0, payload }), false);
    writes[0]!.taken();
    await turn();
    assert.equal(write({ contextId: 0, payload }), true);
  });

  it('are dropped once it is closed', () => {
    const { stream } = slowStream();
    stream.destroy();
    assert.equal(createDatagramWriter(stream).write({ contextId: 0, payload: Buffer.from('x') }), false);
  });
});
