import assert from 'node:assert/strict';
import fc from 'fast-check';
import { podOfSubject, podSubject } from '../../../src/core/x509/pod-subject.ts';
import { encode, objectIdentifier, sequence, setOf, tags, utf8String } from '../../../src/core/x509/der.ts';

const name = fc.stringMatching(/^[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?$/);
const subjectOf = (type: string, value: Buffer): Buffer => sequence(setOf(sequence(objectIdentifier(type), value)));
const printable = (text: string): Buffer => encode(tags.printableString, Buffer.from(text));
const uid = '0a6e4d27-98b4-4e3b-8b6e-5f4dbd4d1a11';

describe('the pod in a subject', () => {
  it('is read as it was written, also with names as long as they may be', () => {
    fc.assert(fc.property(fc.record({ name, uid: fc.uuid(), node: fc.option(name) }, { noNullPrototype: true }), (pod) => assert.deepEqual(podOfSubject(podSubject(pod)), pod)));
    const long = { name: 'a'.repeat(253), uid, node: 'b'.repeat(253) };
    assert.deepEqual(podOfSubject(podSubject(long)), long);
  });

  it('is not there for a name that Kubernetes does not give', () => {
    for (const strange of ['', 'a b', 'a/b', 'é']) assert.throws(() => podSubject({ name: strange, uid, node: null }), /invariant/);
  });

  for (const [what, subject] of [
    ['an empty subject', sequence()],
    ['a common name', subjectOf('2.5.4.3', utf8String(`pod a ${uid}`))],
    ['a common name in the same letters', subjectOf('2.5.4.3', printable(`pod a ${uid}`))],
    ['something else as dnQualifier', subjectOf('2.5.4.46', printable('a'))],
    ['a dnQualifier of another form', subjectOf('2.5.4.46', utf8String(`pod a ${uid}`))],
    ['bytes that are no name', Buffer.from('30053103', 'hex')],
  ] as const) {
    it(`is none in ${what}`, () => assert.equal(podOfSubject(subject), undefined));
  }
});
