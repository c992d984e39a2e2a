import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createSyslogDeframer, type SyslogFrame } from '../../../src/core/syslog/framing.ts';
import { counted, delimited } from '../../support/syslog.ts';

const bytesMax = 64;

const shown = (frame: SyslogFrame): string => (frame.kind === 'message' ? frame.bytes.toString('latin1') : frame.kind);
const read = (...chunks: readonly (string | Buffer)[]): readonly string[] => {
  const deframer = createSyslogDeframer(bytesMax);
  return chunks.flatMap((chunk) => deframer.push(Buffer.from(chunk as string))).map(shown);
};

/** What a frame may hold: anything counted; what ends with a line feed, no line feed and "<" first. */
const anyCounted = fc.uint8Array({ minLength: 1, maxLength: bytesMax }).map((bytes) => ({ message: Buffer.from(bytes), framed: counted(Buffer.from(bytes)) }));
const anyLine = fc.uint8Array({ maxLength: bytesMax - 1 }).map((bytes) => {
  const message = Buffer.concat([Buffer.from('<'), Buffer.from(bytes.filter((byte) => byte !== 0x0a))]);
  return { message, framed: delimited(message) };
});

describe('frames of syslog', () => {
  it('are the same wherever the bytes are cut, counted and with a line feed in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(anyCounted, anyLine), { maxLength: 8 }), fc.array(fc.nat(40), { maxLength: 40 }), (frames, cuts) => {
        const deframer = createSyslogDeframer(bytesMax);
        const got: string[] = [];
        let rest = Buffer.concat(frames.map(({ framed }) => framed));
        for (const cut of [...cuts, Infinity]) {
          got.push(...deframer.push(rest.subarray(0, cut)).map(shown));
          rest = rest.subarray(Math.min(cut, rest.length));
        }
        assert.deepEqual(got, frames.map(({ message }) => message.toString('latin1')));
        assert.equal(deframer.isWithinFrame(), false);
      }),
    );
  });

  it('that share the memory of a chunk keep what they say while the next ones come', () => {
    const deframer = createSyslogDeframer(bytesMax);
    const [first] = deframer.push(Buffer.from('5 <1>1 5 <2'));
    deframer.push(Buffer.from('>1 3'));
    assert.equal(first === undefined ? undefined : shown(first), '<1>1 ');
  });

  for (const [what, bytes, frames] of [
    ['a line feed after a counted frame is nothing', '4 <1>1\n\n4 <2>1', ['<1>1', '<2>1']],
    ['a counted frame may hold line feeds', '6 <1>\n\n2', ['<1>\n\n2']],
    ['a count may be followed by the longest message', `64 ${'x'.repeat(64)}`, ['x'.repeat(64)]],
    ['a longer one is passed over, and the next is read', `65 ${'x'.repeat(65)}4 <1>1`, ['too-long', '<1>1']],
    ['so is a line that is longer', `<${'x'.repeat(64)}\n4 <1>1`, ['too-long', '<1>1']],
    ['a line may be the longest message', `<${'x'.repeat(63)}\n`, [`<${'x'.repeat(63)}`]],
    ['a count does not begin with zero', '04 <1>1', ['out-of-step']],
    ['nothing has no frame', '0 4 <1>1', ['out-of-step']],
    ['a count has seven digits at most', `${'9'.repeat(8)} `, ['out-of-step']],
    ['a count ends with a space', '4<1>1', ['out-of-step']],
    ['what begins otherwise is the end of all', 'GET / HTTP/1.1\n4 <1>1', ['out-of-step']],
    ['so is TLS', Buffer.from('16030100', 'hex'), ['out-of-step']],
  ] as const) {
    it(what, () => {
      assert.deepEqual(read(bytes), frames);
      assert.deepEqual(read(...[...Buffer.from(bytes as string)].map((byte) => Buffer.from([byte]))), frames, 'byte by byte');
    });
  }

  it('says whether one has begun and is not whole', () => {
    const deframer = createSyslogDeframer(bytesMax);
    const states = ['', '1', '4 <', '1>1', ' - - - - -', '<', '\n', '?'].map((text) => {
      deframer.push(Buffer.from(text));
      return deframer.isWithinFrame();
    });
    assert.deepEqual(states, [false, true, true, true, false, true, false, false]);
  });

  it('holds no more of a frame than a message may have, however long it claims to be', () => {
    const deframer = createSyslogDeframer(bytesMax);
    const chunk = Buffer.alloc(65_536, 'x');
    const before = process.memoryUsage().arrayBuffers;
    deframer.push(Buffer.from('9999999 '));
    for (let index = 0; index < 100; index += 1) assert.deepEqual(deframer.push(chunk), []);
    assert.ok(process.memoryUsage().arrayBuffers - before < 1_000_000);
  });
});
