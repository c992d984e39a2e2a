import assert from 'node:assert/strict';
import { createClientContexts } from '../../../src/core/udp/client-contexts.ts';

const client = (port: number) => ({ address: '127.0.0.1', port });

describe('contexts of clients', () => {
  it('are even, one for each address and port, and lead back to them', () => {
    const contexts = createClientContexts({ clientsMax: 10, idleTimeoutMs: 1_000 });
    assert.deepEqual([5000, 5001, 5000, 5002].map((port) => contexts.contextOf(client(port), 0)), [0, 2, 0, 4]);
    assert.equal(contexts.contextOf({ address: '127.0.0.2', port: 5000 }, 0), 6);
    assert.deepEqual(contexts.clientOf(2, 0), client(5001));
    assert.equal(contexts.clientOf(8, 0), undefined);
    assert.equal(contexts.clientOf(1, 0), undefined);
  });

  it('are forgotten when there are too many, the one used longest ago first, and a late reply reaches nobody', () => {
    const contexts = createClientContexts({ clientsMax: 2, idleTimeoutMs: 1_000 });
    contexts.contextOf(client(1), 0);
    contexts.contextOf(client(2), 1);
    contexts.clientOf(0, 2);
    assert.equal(contexts.contextOf(client(3), 3), 4);
    assert.equal(contexts.clientOf(2, 3), undefined);
    assert.deepEqual(contexts.clientOf(0, 3), client(1));
    assert.equal(contexts.contextOf(client(2), 4), 6, 'a number is never used again');
    assert.equal(contexts.size, 2);
  });

  it('are forgotten when they have been quiet for long', () => {
    const contexts = createClientContexts({ clientsMax: 100, idleTimeoutMs: 1_000 });
    for (let port = 1; port <= 50; port += 1) contexts.contextOf(client(port), port);
    contexts.contextOf(client(99), 1_025);
    assert.equal(contexts.size, 26);
  });
});
