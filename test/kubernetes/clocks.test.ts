import assert from 'node:assert/strict';
import { createApiClient } from '../../src/kubernetes/client.ts';
import { clockCondition, timeSpan } from '../../src/kubernetes/clocks.ts';
import { answer, startFakeApiServer } from '../support/fake-api-server.ts';

describe('our clock and the API server’s', () => {
  const at = (server: number | undefined) => ({ serverTime: () => server });

  it('say together when it is no earlier, and no later', () => {
    assert.deepEqual(timeSpan(at(1_000), 5_000), { now: 1_000, latest: 5_000 });
    assert.deepEqual(timeSpan(at(9_000), 5_000), { now: 5_000, latest: 9_000 });
    assert.deepEqual(timeSpan(at(undefined), 5_000), { now: 5_000, latest: 5_000 });
  });

  it('are told of where they disagree by more than seconds', () => {
    assert.deepEqual([clockCondition(at(50_000), 60_000), clockCondition(at(60_000), 50_000), clockCondition(at(undefined), 0)], [undefined, undefined, undefined]);
    assert.match(clockCondition(at(0), 3_600_000)!, /^the clock of this replica is 3600 s ahead of the API server's/);
    assert.match(clockCondition(at(40_000), 9_000)!, /^the clock of this replica is 31 s behind the API server's/);
  });

  it('are compared by the dates of its answers', async () => {
    const server = await startFakeApiServer((response) => answer({})(response.setHeader('date', 'Sat, 21 Nov 2026 12:00:00 GMT')));
    try {
      const client = createApiClient(server.access);
      assert.equal(client.serverTime(), undefined);
      await client.request({ method: 'GET', path: '/' });
      const sinceMs = client.serverTime()! - Date.parse('2026-11-21T12:00:00Z');
      assert.ok(sinceMs >= 0 && sinceMs < 5_000, `${sinceMs} ms`);
    } finally {
      server.close();
    }
  });
});
