import assert from 'node:assert/strict';
import { Metadata, status } from '@grpc/grpc-js';
import { parseTimeoutMs, statusHeaders, statusOfError } from '../../src/grpc/status.ts';

describe('gRPC status', () => {
  it('is written as trailers, its text percent-encoded', () => {
    const metadata = new Metadata();
    metadata.set('hint-bin', Buffer.from([1, 2]));
    assert.deepEqual(statusHeaders({ code: status.NOT_FOUND, details: 'no "ü" at 100 %\n', metadata }), { 'hint-bin': 'AQI=', 'grpc-status': '5', 'grpc-message': 'no "%C3%BC" at 100 %25%0A' });
    assert.deepEqual(statusHeaders({ code: status.OK, details: '' }), { 'grpc-status': '0' });
  });

  it('is that of an error which names one, as grpc-js reads it', () => {
    assert.deepEqual({ ...statusOfError({ code: status.ABORTED, details: 'again' }), metadata: null }, { code: status.ABORTED, details: 'again', metadata: null });
    assert.equal(statusOfError(Object.assign(new Error('gone'), { code: status.NOT_FOUND })).details, 'gone');
  });

  it('tells nothing of any other error', () => {
    for (const error of [new Error('the password is hunter2'), Object.assign(new Error('no such file /etc/key'), { code: 'ENOENT' }), { code: status.OK }, { code: 17 }, null, 'text']) {
      assert.deepEqual({ ...statusOfError(error), metadata: null }, { code: status.UNKNOWN, details: 'the handler of this call failed', metadata: null });
    }
  });

  for (const [text, milliseconds] of [['1H', 3_600_000], ['2M', 120_000], ['3S', 3_000], ['40m', 40], ['1500u', 2], ['1n', 1], ['99999999H', 99_999_999 * 3_600_000], ['100000000S', undefined], ['-1S', undefined], ['1', undefined], ['S', undefined], ['', undefined]] as const) {
    it(`reads the time limit ${JSON.stringify(text)} as ${milliseconds} ms`, () => assert.equal(parseTimeoutMs(text), milliseconds));
  }
});
