import assert from 'node:assert/strict';
import fc from 'fast-check';
import { workloadPattern } from '../../../src/backends/envoy/grant-matcher.ts';
import { parseSpiffeId, trustDomainOf, workloadOf, type TrustDomain } from '../../../src/core/spiffe-id.ts';

const trustDomain = 'cluster.local' as TrustDomain;

describe('the regular expression of workloads', () => {
  const matches = (text: string) => new RegExp(`^(?:${workloadPattern(trustDomain)})$`).test(text);

  it('takes the SPIFFE IDs of workloads of the trust domain, and nothing else', () => {
    const piece = fc.oneof(fc.constantFrom('book', 'a-b_c.d', '.', '..', '...', ''), fc.string({ unit: fc.constantFrom('a', 'Z', '0', '.', '-', '_', '/', ',', '?', '#', '%', ' ', 'é', '\n'), maxLength: 5 }));
    const domain = fc.constantFrom('cluster.local', 'clusterxlocal', 'cluster.local.example', 'cluster.local:80');
    fc.assert(
      fc.property(domain, piece, piece, (authority, namespace, account) => {
        const id = `spiffe://${authority}/ns/${namespace}/sa/${account}`;
        const parsed = parseSpiffeId(id);
        assert.equal(matches(id), parsed.ok && trustDomainOf(parsed.id) === trustDomain && workloadOf(parsed.id) !== undefined, id);
      }),
      { numRuns: 2_000 },
    );
  });
});
