import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createDeframer, frameMessage, messagePrefix, prefixBytes, sharedBytesMin } from '../../src/grpc/framing.ts';

const frame = (message: Uint8Array): Buffer => Buffer.concat([messagePrefix(message.length), message]);

describe('gRPC framing', () => {
  it('says that a message is not compressed, and its length in network order', () => {
    assert.equal(messagePrefix(0x01020304).toString('hex'), '0001020304');
  });

  it('joins what is small with the prefix, and leaves large pieces as they are', () => {
    const [small, large, last] = [Buffer.from('header'), Buffer.alloc(sharedBytesMin, 'x'), Buffer.from('end')];
    assert.deepEqual(frameMessage([small, last]), [Buffer.concat([messagePrefix(9), small, last])]);
    assert.deepEqual(frameMessage([]), [messagePrefix(0)]);
    const pieces = frameMessage([small, large, last]);
    assert.deepEqual(pieces[0], Buffer.concat([messagePrefix(sharedBytesMin + 9), small]));
    assert.ok(pieces[1] === large && pieces[2] === last);
  });

  it('gives the same messages wherever the bytes are cut', () => {
    const anyMessages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 });
    fc.assert(
      fc.property(anyMessages, fc.array(fc.nat(60), { maxLength: 40 }), (messages, cuts) => {
        const deframer = createDeframer(40);
        const got: string[] = [];
        let rest = Buffer.concat(messages.map(frame));
        for (const cut of [...cuts, Infinity]) {
          const pushed = deframer.push(rest.subarray(0, cut));
          assert.ok(typeof pushed !== 'string');
          got.push(...pushed.map((message) => message.toString('hex')));
          rest = rest.subarray(Math.min(cut, rest.length));
        }
        assert.deepEqual(got, messages.map((message) => Buffer.from(message).toString('hex')));
        assert.equal(deframer.isWithinMessage(), false);
      }),
    );
  });

  it('knows when it is within a message', () => {
    const deframer = createDeframer(10);
    deframer.push(Buffer.from([0, 0]));
    assert.equal(deframer.isWithinMessage(), true);
    deframer.push(Buffer.from([0, 0, 1, 7]));
    assert.equal(deframer.isWithinMessage(), false);
  });

  it('refuses a message that is compressed, or longer than it takes, by its first bytes', () => {
    assert.equal(createDeframer(10).push(Buffer.from([1, 0, 0, 0, 1])), 'compressed');
    assert.equal(createDeframer(10).push(Buffer.from([0, 0, 0, 0, 11])), 'too-large');
    assert.deepEqual(createDeframer(11).push(Buffer.from([0, 0, 0, 0, 11])), []);
  });

  it('holds a message that comes byte by byte about once', () => {
    const bytes = 300_000;
    const deframer = createDeframer(bytes);
    const whole = frame(Buffer.alloc(bytes, 1));
    const before = process.memoryUsage();
    let mostBytes = 0;
    let messages: readonly Buffer[] = [];
    for (let at = 0; at < whole.length; at++) {
      const pushed = deframer.push(Buffer.from(whole.subarray(at, at + 1)));
      assert.ok(typeof pushed !== 'string');
      messages = pushed;
      if (at % 10_000 === 0) mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers - before.arrayBuffers);
    }
    assert.equal(messages[0]?.length, bytes);
    assert.ok(mostBytes < 20 * bytes, `${mostBytes} bytes are held for ${bytes}`);
  });

  it('does not let the rest of one piece change the messages of another', () => {
    const deframer = createDeframer(10);
    const [first] = deframer.push(Buffer.concat([frame(Buffer.from('one')), frame(Buffer.from('two')).subarray(0, prefixBytes + 1)])) as readonly Buffer[];
    deframer.push(Buffer.from('wo'));
    assert.equal(first!.toString(), 'one');
  });
});
