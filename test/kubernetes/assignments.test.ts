import assert from 'node:assert/strict';
import fc from 'fast-check';
import { familyOf } from '../../src/core/ip-address.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Assignment, Holder } from '../../src/core/snat/assignments.ts';
import { decodeAssignment, encodeAssignment, nameOfAssignment } from '../../src/kubernetes/assignments.ts';
import { snatAssignment } from '../../src/kubernetes/crd/snat-assignment.ts';
import { anyAddress, anyDnsLabel } from '../support/arbitraries.ts';

const place = (address: string, first: number) => nameOfAssignment({ address: address as IpAddress, ports: { first, last: 65_535 } });
const anyHolder = fc.oneof(anyDnsLabel.map((name) => `ns/${name}`), fc.tuple(fc.constantFrom('sa', 'svc'), anyDnsLabel, fc.stringMatching(/^[a-z]{1,80}$/)).map((parts) => parts.join('/')));
const anyAssignment = fc
  .record({ pool: anyDnsLabel, holder: anyHolder, address: anyAddress, first: fc.integer({ min: 1_024, max: 65_535 }), releasedAt: fc.option(fc.integer({ min: 0, max: 4_000_000_000_000 })), fixed: fc.boolean() })
  .map(({ pool, holder, address, first, releasedAt, fixed }): Assignment => ({ pool, holder: holder as Holder, family: familyOf(address), address, ports: { first, last: 65_535 }, releasedAt, ...(fixed ? { fixed } : {}) }));

describe('assignments as objects', () => {
  it('are named by address and first port', () => {
    assert.deepEqual([place('192.0.2.7', 1_024), place('2001:db8::1', 2_048)], ['192.0.2.7.1024', '2001.db8.0.0.0.0.0.1.2048']);
  });

  it('are read as they were written, and are valid', () => {
    fc.assert(
      fc.property(anyAssignment, (assignment) => {
        const object = encodeAssignment(assignment);
        assert.deepEqual(decodeAssignment(snatAssignment.parse(object)), assignment);
        assert.match(object.metadata.labels!['sallyport.dev/holder']!, /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/);
      }),
    );
  });

  it('have one name exactly where address and first port are the same', () => {
    fc.assert(
      fc.property(anyAssignment, anyAssignment, (a, b) => {
        assert.equal(nameOfAssignment(a) === nameOfAssignment(b), a.address === b.address && a.ports.first === b.ports.first);
        assert.equal(nameOfAssignment({ ...b, address: a.address }) === nameOfAssignment(a), a.ports.first === b.ports.first);
      }),
    );
  });
});
