import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createHeadReader, headBytesMax, parseConnectRequest, parseProxyResponse, type HeadRead } from '../../src/core/connect-request.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');
const readWhole = (text: string): HeadRead => createHeadReader()(bytes(text));

function readInPieces(input: Buffer, cuts: readonly number[]): HeadRead {
  const reader = createHeadReader();
  const places = [...new Set(cuts.map((cut) => cut % (input.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...places, input.length]) {
    const read = reader(input.subarray(from, to));
    from = to;
    if (read.kind === 'head') return { ...read, rest: Buffer.concat([read.rest, input.subarray(to)]) };
    if (read.kind === 'fault') return read;
  }
  return { kind: 'incomplete' };
}

describe('the head of a CONNECT', () => {
  it('ends at its empty line, and what follows is kept', () => {
    const read = readWhole('CONNECT a:1 HTTP/1.1\r\n\r\n\x16\x03\x01');
    assert.deepEqual(read, { kind: 'head', head: bytes('CONNECT a:1 HTTP/1.1\r\n\r\n'), rest: bytes('\x16\x03\x01') });
  });

  for (const [what, text] of [
    ['a bare line feed', 'CONNECT a:1 HTTP/1.1\nHost: a\r\n\r\n'],
    ['bare line feeds as its end', 'CONNECT a:1 HTTP/1.1\n\n'],
    ['a bare carriage return', 'CONNECT a:1 HTTP/1.1\rHost: a\r\n\r\n'],
    ['a NUL', 'CONNECT a:1 HTTP/1.1\r\nHost: a\0b\r\n\r\n'],
    ['an escape character', 'CONNECT a:1 HTTP/1.1\r\nX: \x1b[2J\r\n\r\n'],
    ['more than its bound', `CONNECT a:1 HTTP/1.1\r\nX: ${'a'.repeat(headBytesMax)}`],
  ] as const) {
    it(`is refused for ${what}`, () => assert.equal(readWhole(text).kind, 'fault'));
  }

  it('may be as long as its bound and no longer', () => {
    const frame = 'CONNECT a:1 HTTP/1.1\r\nX: \r\n\r\n';
    const filled = (length: number) => frame.replace('X: ', `X: ${'a'.repeat(length - frame.length)}`);
    assert.equal(readWhole(filled(headBytesMax)).kind, 'head');
    assert.equal(readWhole(filled(headBytesMax + 1)).kind, 'fault');
  });

  it('reads the same however its bytes are cut', () => {
    const piece = fc.constantFrom('CONNECT a:1 HTTP/1.1', '\r\n', '\r', '\n', '\r\n\r\n', 'Host: a', '\0', 'é', 'x'.repeat(40));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(500), { maxLength: 10 }), (pieces, cuts) => {
        const input = bytes(pieces.join(''));
        const whole = createHeadReader()(input);
        const pieced = readInPieces(input, cuts);
        assert.deepEqual(pieced, whole);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a CONNECT request', () => {
  const parse = (text: string) => parseConnectRequest(bytes(text));

  for (const [what, text, authority] of [
    ['curl', 'CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nUser-Agent: curl/7.88.1\r\nProxy-Connection: Keep-Alive\r\n\r\n', 'example.com:443'],
    ['HTTP/1.0 without headers', 'CONNECT example.com:443 HTTP/1.0\r\n\r\n', 'example.com:443'],
    ['a host header without port', 'CONNECT example.com:443 HTTP/1.1\r\nhost: Example.com\r\n\r\n', 'example.com:443'],
    ['credentials', 'CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n', '[2001:db8::1]:443'],
  ] as const) {
    it(`is read: ${what}`, () => assert.deepEqual(parse(text), { ok: true, authority }));
  }

  for (const [what, text, status] of [
    ['another method', 'GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n', 403],
    ['a method in lower case', 'connect a:1 HTTP/1.1\r\n\r\n', 403],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\n', 400],
    ['two spaces', 'CONNECT  a:1 HTTP/1.1\r\n\r\n', 400],
    ['a tab between', 'CONNECT\ta:1 HTTP/1.1\r\n\r\n', 400],
    ['no target', 'CONNECT HTTP/1.1\r\n\r\n', 400],
    ['an empty first line', '\r\n', 400],
    ['a folded header', 'CONNECT a:1 HTTP/1.1\r\nX: a\r\n b\r\n\r\n', 400],
    ['a space before the colon', 'CONNECT a:1 HTTP/1.1\r\nHost : a:1\r\n\r\n', 400],
    ['a header without a colon', 'CONNECT a:1 HTTP/1.1\r\nHost\r\n\r\n', 400],
    ['a content length', 'CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\n', 400],
    ['a transfer encoding', 'CONNECT a:1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n', 400],
    ['two hosts', 'CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nHost: a:1\r\n\r\n', 400],
    ['a host header that names another', 'CONNECT a:1 HTTP/1.1\r\nHost: evil.example\r\n\r\n', 400],
    ['the host of another port', 'CONNECT a:1 HTTP/1.1\r\nHost: a:2\r\n\r\n', 400],
  ] as const) {
    it(`is refused with ${status}: ${what}`, () => {
      const parsed = parse(text);
      assert.equal(parsed.ok ? undefined : parsed.status, status);
    });
  }
});

describe("a proxy's answer to CONNECT", () => {
  for (const [text, expected] of [
    ['HTTP/1.1 200 Connection established\r\n\r\n', { kind: 'tunnel' }],
    ['HTTP/1.0 200\r\nContent-Length: 5\r\n\r\n', { kind: 'tunnel' }],
    ['HTTP/1.1 100 Continue\r\n\r\n', { kind: 'interim' }],
    ['HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 12\r\n\r\n', { kind: 'refused', status: 407, bodyBytes: 12 }],
    ['HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n', { kind: 'refused', status: 403, bodyBytes: null }],
    ['HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n', { kind: 'refused', status: 403, bodyBytes: null }],
    ['HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n', { kind: 'refused', status: 403, bodyBytes: null }],
    ['HTTP/1.0 503 Service Unavailable\r\n\r\n', { kind: 'refused', status: 503, bodyBytes: null }],
  ] as const) {
    it(`is read: ${JSON.stringify(text)}`, () => assert.deepEqual(parseProxyResponse(bytes(text)), expected));
  }

  for (const text of ['HTTP/1.1 101 Switching Protocols\r\n\r\n', 'HTTP/2 200\r\n\r\n', '220 ftp\r\n\r\n', 'HTTP/1.1 2000 OK\r\n\r\n', 'HTTP/1.1 200 OK\r\n folded\r\n\r\n']) {
    it(`is not believed: ${JSON.stringify(text)}`, () => assert.equal(parseProxyResponse(bytes(text)).kind, 'fault'));
  }
});
