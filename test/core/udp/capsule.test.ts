import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createCapsuleDecoder, encodeDatagram, payloadBytesMax, type Datagram } from '../../../src/core/udp/capsule.ts';
import { readVarint, varintBytes, writeVarint } from '../../../src/core/udp/varint.ts';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** Everything that a stream says, read in pieces that end at `cuts`. */
function decode(stream: Buffer, cuts: readonly number[] = []): { readonly datagrams: readonly Datagram[]; readonly fault: string | undefined } {
  const decoder = createCapsuleDecoder();
  const datagrams: Datagram[] = [];
  let fault: string | undefined;
  const ends = [...cuts, stream.length];
  for (const [index, end] of ends.entries()) {
    const decoded = decoder.take(stream.subarray(ends[index - 1] ?? 0, end));
    datagrams.push(...decoded.datagrams);
    fault ??= decoded.fault;
  }
  return { datagrams, fault };
}

const byEveryByte = (stream: Buffer) => decode(stream, Array.from({ length: Math.max(0, stream.length - 1) }, (_, index) => index + 1));

const plain = { noNullPrototype: true };

describe('variable-length integers', () => {
  // RFC 9000 appendix A.1
  const samples: readonly (readonly [string, number])[] = [
    ['c2 19 7c 5e ff 14 e8 8c', 151_288_809_941_952_652],
    ['9d 7f 3e 7d', 494_878_333],
    ['7b bd', 15_293],
    ['40 25', 37],
    ['25', 37],
  ];
  for (const [encoded, value] of samples) {
    it(`of the RFC: ${encoded} is ${value}`, () => {
      const bytes = hex(encoded);
      assert.deepEqual(readVarint(bytes, 0, bytes.length), { value, bytes: bytes.length });
      for (let end = 0; end < bytes.length; end += 1) assert.equal(readVarint(bytes, 0, end), undefined, `${end} bytes of it`);
    });
  }

  it('take the fewest bytes, and come back as they went', () => {
    const edges = [0, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, 2 ** 32, Number.MAX_SAFE_INTEGER];
    assert.deepEqual(edges.map(varintBytes), [1, 1, 2, 2, 4, 4, 8, 8, 8]);
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...edges), fc.maxSafeNat()), (value) => {
        const buffer = Buffer.alloc(8);
        const bytes = writeVarint(buffer, value, 0);
        assert.deepEqual(readVarint(buffer, 0, 8), { value, bytes });
        assert.equal(bytes, varintBytes(value));
      }),
    );
  });
});

describe('datagram capsules', () => {
  it('have the bytes that RFC 9297 and RFC 9298 draw', () => {
    assert.equal(encodeDatagram({ contextId: 2, payload: Buffer.from('hi') }).toString('hex'), '00' + '03' + '02' + '6869');
    assert.equal(encodeDatagram({ contextId: 64, payload: Buffer.alloc(62, 1) }).subarray(0, 5).toString('hex'), '00' + '4040' + '4040');
  });

  const capsules = fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.record({ contextId: fc.oneof(fc.nat(300), fc.maxSafeNat()), payload: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) }, plain) },
      { weight: 1, arbitrary: fc.record({ type: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.maxSafeNat().filter((type) => type > 0)), value: fc.uint8Array({ maxLength: 100 }) }, plain) },
    ),
    { maxLength: 12 },
  );

  function write(list: readonly (Datagram | { readonly type: number; readonly value: Uint8Array })[]): Buffer {
    return Buffer.concat(
      list.map((capsule) => {
        if ('payload' in capsule) return encodeDatagram(capsule);
        const head = Buffer.alloc(16);
        return Buffer.concat([head.subarray(0, writeVarint(head, capsule.value.length, writeVarint(head, capsule.type, 0))), capsule.value]);
      }),
    );
  }

  it('come out as they went in, in whatever pieces they arrive and whatever else is between them', () => {
    fc.assert(
      fc.property(capsules, fc.array(fc.nat(4_000), { maxLength: 40 }), (list, cuts) => {
        const stream = write(list);
        const expected = { datagrams: list.filter((capsule) => 'payload' in capsule), fault: undefined };
        assert.deepEqual(decode(stream), expected);
        assert.deepEqual(decode(stream, cuts.map((cut) => Math.min(cut, stream.length)).sort((a, b) => a - b)), expected);
        assert.deepEqual(byEveryByte(stream), expected);
      }),
    );
  });

  it('may be as large as UDP allows, and empty', () => {
    for (const length of [0, payloadBytesMax]) {
      const sent = { contextId: Number.MAX_SAFE_INTEGER, payload: Buffer.alloc(length, 7) };
      assert.deepEqual(decode(encodeDatagram(sent), [1, 9]), { datagrams: [sent], fault: undefined });
    }
  });

  it('may be announced with longer integers than they need', () => {
    assert.deepEqual(decode(hex('4000 8000 0003 c000 0000 0000 0002 ff')).fault, 'a datagram is too short for its Context ID', 'three bytes are less than eight');
    assert.deepEqual(decode(hex('4000 8000 0003 4002 ff')).datagrams, [{ contextId: 2, payload: hex('ff') }]);
  });

  it('pass over what another capsule holds, were it a datagram, without holding it', () => {
    const inner = encodeDatagram({ contextId: 0, payload: Buffer.from('inner') });
    assert.deepEqual(decode(Buffer.concat([Buffer.from([0x29, inner.length]), inner])).datagrams, []);
    const decoder = createCapsuleDecoder();
    decoder.take(hex('29 ffffffffffffffff')); // 4 EiB of it are to come
    const chunk = Buffer.alloc(65_536);
    const before = process.memoryUsage().arrayBuffers;
    for (let round = 0; round < 1_000; round += 1) assert.deepEqual(decoder.take(chunk), { datagrams: [] });
    assert.ok(process.memoryUsage().arrayBuffers - before < 1 << 20);
  });

  const faults: readonly (readonly [what: string, stream: string, fault: RegExp])[] = [
    ['larger than UDP allows', '00 80 01 00 00', /65536 bytes.*65527/],
    ['announced as larger than a context and a payload', '00 ff ff ff ff ff ff ff ff', /65527 is the most/],
    ['empty, without a Context ID', '00 00', /too short/],
    ['too short for its Context ID', '00 01 40', /too short/],
    ['of a Context ID that cannot be told from others', '00 08 ff ff ff ff ff ff ff ff', /2\^53/],
  ];
  for (const [what, stream, fault] of faults) {
    it(`are refused when ${what}, and the stream with them`, () => {
      const good = encodeDatagram({ contextId: 4, payload: Buffer.from('before') });
      const bytes = Buffer.concat([good, hex(stream), what.startsWith('larger') ? Buffer.alloc(65_536) : Buffer.alloc(0), encodeDatagram({ contextId: 4, payload: Buffer.from('after') })]);
      for (const read of [decode(bytes), byEveryByte(bytes)]) {
        assert.match(read.fault ?? '', fault);
        assert.deepEqual(read.datagrams.map(({ payload }) => payload.toString()), ['before']);
      }
    });
  }

  it('never throw and never hold more than one, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 30 }), (chunks) => {
        const decoder = createCapsuleDecoder();
        let taken = 0;
        let given = 0;
        for (const chunk of chunks) {
          taken += chunk.length;
          for (const { payload } of decoder.take(Buffer.from(chunk)).datagrams) given += payload.length;
        }
        assert.ok(given <= taken);
      }),
    );
  });
});
