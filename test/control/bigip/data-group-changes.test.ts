import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isRefusal, type DataGroupRecord } from '../../../src/backends/bigip/index.ts';
import { restricted, sameRecords, transition, type Records } from '../../../src/control/bigip/data-group-changes.ts';
import { applyRecordOptions } from '../../support/bigip/record-options.ts';

const path = '/partner/shared/grants';
const service = 'partners/ftp:control';

/** As a box would have it after them. */
function after(from: Records, changes: ReturnType<typeof transition>): Records {
  let records = from.map(({ key, value }) => ({ name: key, data: value }));
  for (const { option, records: all } of changes) {
    if (option === null) {
      records = all.map(({ key, value }) => ({ name: key, data: value }));
      continue;
    }
    const changed = applyRecordOptions(records, option);
    assert.ok(changed.ok, JSON.stringify(changed));
    records = [...changed.records];
  }
  return records.map(({ name, data }) => ({ key: name, value: data }));
}

/** As the iRule decides: by the account, else by its namespace. */
function allows(records: Records, account: string, namespace: string): boolean {
  const value = [account, namespace].map((subject) => records.find(({ key }) => key === `${service} ${subject}`)?.value).find((found) => found !== undefined);
  return value !== undefined && !isRefusal(value);
}

const subjects = ['a', 'a/one', 'a/two', 'b', 'b/one'];
const values = ['- team/policy', '/partner/shared/snat-1 team/policy', '/partner/shared/snat-2 team/policy,team/other'];
const someRecords = fc.uniqueArray(fc.record({ subject: fc.constantFrom(...subjects), value: fc.constantFrom(...values) }), { selector: ({ subject }) => subject }).map((drawn): Records => drawn.map(({ subject, value }): DataGroupRecord => ({ key: `${service} ${subject}`, value })));

describe('changes of a data group', () => {
  it('lead from any records to any others, and to a box of tmsh every step is one that it takes', () => {
    fc.assert(
      fc.property(someRecords, someRecords, (from, to) => {
        assert.ok(sameRecords(after(from, transition(path, from, to)), to));
      }),
    );
  });

  it('let nobody through on the way who may neither before nor after', () => {
    fc.assert(
      fc.property(someRecords, someRecords, (from, to) => {
        const between = restricted(from, to, isRefusal);
        const steps = [...transition(path, from, between), ...transition(path, between, to)];
        for (let taken = 0; taken <= steps.length; taken++) {
          const now = after(from, steps.slice(0, taken));
          for (const account of ['a/one', 'a/two', 'b/one', 'b/two']) {
            const namespace = account.slice(0, 1);
            if (allows(now, account, namespace)) assert.ok(allows(from, account, namespace) || allows(to, account, namespace), `${account} after ${taken} of ${JSON.stringify(steps)}`);
          }
        }
      }),
    );
  });

  it('have taken away, before anything is given, whatever is to be taken away', () => {
    fc.assert(
      fc.property(someRecords, someRecords, (from, to) => {
        const between = restricted(from, to, isRefusal);
        for (const account of ['a/one', 'a/two', 'b/one', 'b/two']) {
          if (allows(from, account, account.slice(0, 1)) && !allows(to, account, account.slice(0, 1))) assert.ok(!allows(between, account, account.slice(0, 1)), account);
        }
      }),
    );
  });

  it('of one grant are one request with that record', () => {
    const from = Array.from({ length: 1_000 }, (_, index): DataGroupRecord => ({ key: `${service} team-${index}`, value: values[1]! }));
    const changes = transition(path, from, [...from, { key: `${service} team-x/robot`, value: values[1]! }]);
    assert.deepEqual(changes.map(({ option }) => option), ['records add { "partners/ftp:control team-x/robot" { data "/partner/shared/snat-1 team/policy" } }']);
  });

  it('replace the records where there are many, or where tmsh would read something else', () => {
    const many = Array.from({ length: 500 }, (_, index): DataGroupRecord => ({ key: `${service} team-${index}`, value: values[1]! }));
    assert.deepEqual(transition(path, [], many).map(({ option }) => option), [null]);
    for (const value of ['a "quoted" one', 'a } brace', 'a $variable', 'a [command]', 'a \\ backslash', 'two\nlines']) assert.deepEqual(transition(path, [], [{ key: 'x', value }]).map(({ option }) => option), [null], value);
  });

  it('are none where only the order differs', () => {
    const records = [{ key: 'a', value: '1' }, { key: 'b', value: '2' }];
    assert.deepEqual(transition(path, records, records.toReversed()), []);
  });
});
