import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { formatProxyHeader, parseProxyHeader, proxyHeaderBytesMax } from '../../src/core/proxy-header.ts';
import { anyIpv4, anyIpv6 } from '../support/arbitraries.ts';

const port = fc.integer({ min: 1, max: 65_535 });

describe('a header of the PROXY protocol', () => {
  it('is what the protocol says', () => {
    const header = { source: { address: '203.0.113.7' as IpAddress, port: 40_001 }, destination: { address: '10.0.0.1' as IpAddress, port: 8_443 } };
    assert.equal(formatProxyHeader(header), 'PROXY TCP4 203.0.113.7 10.0.0.1 40001 8443\r\n');
  });

  it('says the same when it is read, and is never longer than its limit', () => {
    for (const address of [anyIpv4, anyIpv6]) {
      fc.assert(
        fc.property(address, address, port, port, (from, to, fromPort, toPort) => {
          const header = { source: { address: from, port: fromPort }, destination: { address: to, port: toPort } };
          const text = formatProxyHeader(header);
          assert.ok(text.length <= proxyHeaderBytesMax);
          assert.deepEqual(parseProxyHeader(text.slice(0, -2)), header);
        }),
      );
    }
  });

  for (const line of ['', 'PROXY UNKNOWN', 'PROXY TCP4 1.2.3.4 5.6.7.8 1', 'PROXY TCP4 1.2.3.4 5.6.7.8 0 2', 'PROXY TCP4 1.2.3.4 5.6.7.8 1 65536', 'PROXY TCP6 1.2.3.4 5.6.7.8 1 2', 'PROXY TCP4 ::1 ::2 1 2', 'PROXY TCP4 1.2.3.4 ::2 1 2', 'PROXY TCP4 host 5.6.7.8 1 2', ' PROXY TCP4 1.2.3.4 5.6.7.8 1 2']) {
    it(`is not ${JSON.stringify(line)}`, () => assert.equal(parseProxyHeader(line), undefined));
  }
});
