import assert from 'node:assert/strict';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Assignment, Holder } from '../../src/core/snat/assignments.ts';
import { createAssignmentBook, type AssignmentBook, type AssignmentObject, type AssignmentWrite } from '../../src/kubernetes/assignment-book.ts';
import { assignmentFinalizer, encodeAssignment, nameOfAssignment } from '../../src/kubernetes/assignments.ts';

const record = (holder: string, last: number, releasedAt: number | null = null): Assignment => ({ pool: 'p', holder: `ns/${holder}` as Holder, family: 'ipv4', address: `192.0.2.${last}` as IpAddress, ports: { first: 1_024, last: 65_535 }, releasedAt });
const object = (of: Assignment, version: number, { isGoing = false, finalizers = [assignmentFinalizer] } = {}): AssignmentObject => {
  const { metadata, ...rest } = encodeAssignment(of);
  return { ...rest, metadata: { name: metadata.name, uid: 'u', resourceVersion: String(version), finalizers, ...(isGoing ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}) } };
};
const said = (book: AssignmentBook, after: AssignmentObject) => book.take([{ name: after.metadata.name, before: null, after }]);
const vanished = (book: AssignmentBook, before: AssignmentObject) => book.take([{ name: before.metadata.name, before, after: null }]);
const holders = ({ assignments }: AssignmentBook) => assignments.map(({ holder, releasedAt }) => `${holder}${releasedAt === null ? '' : ' released'}`);
const inShort = (writes: readonly AssignmentWrite[]) => writes.map((write) => `${write.type} ${write.type === 'delete' ? write.object.metadata.name : nameOfAssignment(write.record)}`);

describe('the book of assignments', () => {
  let book: AssignmentBook;
  beforeEach(() => {
    book = createAssignmentBook();
  });

  it('creates what is not there, replaces what is otherwise, and writes nothing where all is there', () => {
    said(book, object(record('a', 1), 5));
    assert.deepEqual(inShort(book.writesFor([record('a', 1)], 0)), []);
    assert.deepEqual(inShort(book.writesFor([record('a', 1, 7), record('b', 2)], 0)), ['replace 192.0.2.1.1024', 'create 192.0.2.2.1024']);
  });

  it('knows what of its writes is given or taken back by them, and what is only put back', () => {
    const newsIn = (writes: readonly AssignmentWrite[]) => writes.map((write) => write.type !== 'delete' && write.isNews);
    said(book, object(record('a', 1), 5));
    assert.deepEqual(newsIn(book.writesFor([record('a', 1, 7), record('b', 2)], 0)), [true, true]);
    assert.deepEqual(newsIn(book.writesFor([], 9)), [true]);
    said(book, object(record('a', 1), 6, { finalizers: [] }));
    assert.deepEqual(newsIn(book.writesFor([record('a', 1)], 0)), [false]);
    vanished(book, object(record('a', 1), 7));
    assert.deepEqual(newsIn(book.writesFor([record('a', 1)], 0)), [false]);
    assert.deepEqual(newsIn(book.writesFor([record('other', 1)], 0)), [true]);
  });

  it('releases what nobody wants before it deletes it', () => {
    said(book, object(record('a', 1), 5));
    const [release] = book.writesFor([], 70_000);
    assert.equal(release!.type, 'replace');
    book.wrote(release!, object(record('a', 1, 70_000), 6));
    assert.deepEqual(holders(book), ['ns/a released']);
    const [removal] = book.writesFor([], 80_000);
    assert.deepEqual(inShort([removal!]), ['delete 192.0.2.1.1024']);
    book.wrote(removal!, null);
    assert.deepEqual(holders(book), []);
  });

  it('is not misled by events from before its own writes', () => {
    const write = book.writesFor([record('a', 1)], 0)[0]!;
    book.wrote(write, object(record('a', 1), 9));
    said(book, object(record('other', 1), 8));
    assert.deepEqual(holders(book), ['ns/a']);
    vanished(book, object(record('other', 1), 8));
    assert.deepEqual(inShort(book.writesFor([record('a', 1)], 0)), []);
    said(book, object(record('b', 1), 10));
    assert.deepEqual(holders(book), ['ns/b']);
  });

  it('does not bring back by an old event what it has deleted', () => {
    const released = object(record('a', 1, 5), 5);
    said(book, released);
    const [removal] = book.writesFor([], 80_000);
    book.wrote(removal!, null);
    said(book, released);
    assert.deepEqual(holders(book), []);
    said(book, object(record('b', 1), 11));
    assert.deepEqual(holders(book), ['ns/b']);
  });

  it('keeps a promise that somebody has taken away, and writes it again; one that was released may go', () => {
    said(book, object(record('a', 1), 5));
    said(book, object(record('b', 2, 1), 5));
    assert.equal(vanished(book, object(record('a', 1), 6)).isLacking, true);
    assert.equal(vanished(book, object(record('b', 2, 1), 6)).isLacking, false);
    assert.deepEqual(holders(book), ['ns/a']);
    assert.deepEqual(inShort(book.writesFor(book.assignments, 0)), ['create 192.0.2.1.1024']);
  });

  it('puts a finalizer back that somebody has taken off, but not on what is being deleted, which it keeps', () => {
    assert.equal(said(book, object(record('a', 1), 5, { finalizers: [] })).isLacking, true);
    assert.deepEqual(inShort(book.writesFor([record('a', 1)], 0)), ['replace 192.0.2.1.1024']);
    said(book, object(record('a', 1), 6, { isGoing: true }));
    assert.deepEqual(inShort(book.writesFor([record('a', 1)], 0)), []);
    assert.deepEqual(holders(book), ['ns/a']);
  });

  it('keeps its array, and takes over the objects of another that says the same', () => {
    said(book, object(record('a', 1), 5));
    const before = book.assignments;
    said(book, object(record('a', 1), 6));
    assert.equal(book.assignments, before);
    const same = [record('a', 1)];
    book.adopt(same);
    assert.equal(book.assignments, same);
    book.adopt([record('b', 1)]);
    assert.equal(book.assignments, same);
  });

  it('says what it cannot read', () => {
    const odd = { ...object(record('a', 1), 5), spec: { pool: 'p' } };
    const [fault] = said(book, odd).unreadable;
    assert.equal(fault!.name, '192.0.2.1.1024');
    assert.match(fault!.why, /spec\.holder/);
    assert.deepEqual(holders(book), []);
  });
});
