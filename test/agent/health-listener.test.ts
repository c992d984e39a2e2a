import assert from 'node:assert/strict';
import { answerProbe } from '../../src/agent/health-listener.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';

const status = { ready: false, upstreams: [{ id: 'payments/partner-ftp:control' }] };

describe('probes of an agent', () => {
  it('tell the whole status to the host that they are served on', () => {
    for (const address of ['127.0.0.1', '::1'] as IpAddress[]) assert.deepEqual(answerProbe('/readyz', status, address), { code: 503, body: status });
  });

  it('tell nobody else more than whether', () => {
    for (const address of ['::', '0.0.0.0', '192.0.2.7'] as IpAddress[]) {
      assert.deepEqual(answerProbe('/readyz', status, address), { code: 503, body: { ready: false } });
      assert.deepEqual(answerProbe('/readyz', { ...status, ready: true }, address), { code: 200, body: { ready: true } });
      assert.deepEqual(answerProbe('/livez', status, address), { code: 200, body: { alive: true } });
    }
  });
});
