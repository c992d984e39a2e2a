import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import type { Fault } from '../../../src/core/errors.ts';
import { statusOf, type Condition, type ObjectStatus, type Verdict } from '../../../src/kubernetes/desired/status.ts';

const well: Verdict = { generation: 2, faults: [], warnings: [], fellBack: false, awaitsAddress: false, enforcement: { revision: 'r7', gateways: [{ name: 'a', revision: 'r7' }, { name: 'b', revision: 'r8' }] }, own: {} };
const fault = (code: string): Fault => ({ code, message: `there is ${code}`, hint: 'mend it', path: ['spec', 'pool'] });
const [monday, tuesday] = ['2026-11-16T00:00:00Z', '2026-11-17T00:00:00Z'] as const;

const said = ({ conditions }: ObjectStatus) => Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`]));
const conditionOf = (status: ObjectStatus, type: Condition['type']) => status.conditions.find((condition) => condition.type === type)!;

describe('the status of a custom resource', () => {
  const table: readonly [what: string, verdict: Verdict, conditions: Readonly<Record<string, string>>][] = [
    ['what is in force everywhere', well, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'True Programmed' }],
    ['what one gateway has not taken yet', { ...well, enforcement: { revision: 'r7', gateways: [{ name: 'a', revision: 'r7' }, { name: 'b', revision: null }] } }, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'False Pending' }],
    ['what no gateway serves', { ...well, enforcement: { revision: 'r7', gateways: [] } }, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'False NoGateway' }],
    ['what has no address yet', { ...well, awaitsAddress: true, enforcement: { revision: null, gateways: [] } }, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'False Pending' }],
    ['a kind that no gateway hears of', { ...well, enforcement: null }, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings' }],
    ['a name that leads nowhere', { ...well, faults: [fault('pool-unknown')] }, { Accepted: 'False PoolUnknown', ResolvedRefs: 'False PoolUnknown', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'False NotAccepted' }],
    ['a subject that means nobody, which is no fault', { ...well, warnings: [fault('subject-selector-empty')] }, { Accepted: 'True Accepted', ResolvedRefs: 'False SubjectSelectorEmpty', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'True Programmed' }],
    ['what may surprise', { ...well, warnings: [fault('subject-account-shared')] }, { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'True SubjectAccountShared', Programmed: 'True Programmed' }],
    ['what another has already', { ...well, faults: [fault('server-name-conflict')] }, { Accepted: 'False ServerNameConflict', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'True ServerNameConflict', Warned: 'False NoWarnings', Programmed: 'False NotAccepted' }],
    ['what was changed for the worse', { ...well, faults: [fault('value-invalid')], fellBack: true }, { Accepted: 'False ValueInvalid', ResolvedRefs: 'True ResolvedRefs', Conflicted: 'False NoConflicts', Warned: 'False NoWarnings', Programmed: 'True Programmed' }],
  ];
  for (const [what, verdict, conditions] of table) {
    it(`says of ${what} so`, () => {
      assert.deepEqual(said(statusOf(verdict, undefined, monday)), conditions);
    });
  }

  it('has the place, the fault and the next step in its message, and what stays in force', () => {
    const { message } = conditionOf(statusOf({ ...well, faults: [fault('pool-unknown'), fault('pool-unknown'), fault('value-invalid')], fellBack: true }, undefined, monday), 'Accepted');
    assert.equal(message, 'spec.pool: there is pool-unknown (mend it); spec.pool: there is value-invalid (mend it); what it said before stays in force');
  });

  it('names the gateways that are late, and counts the others', () => {
    const status = statusOf({ ...well, enforcement: { revision: 'r7', gateways: [{ name: 'a', revision: 'r7' }, { name: 'b', revision: null }] } }, undefined, monday);
    assert.equal(conditionOf(status, 'Programmed').message, '1/2 gateways enforce it; not yet b');
    assert.deepEqual([status.revision, status.enforcedBy, status.gateways], ['r7', '1/2', [{ name: 'a', revision: 'r7' }, { name: 'b' }]]);
  });

  it('keeps the time of a condition that is as it was, and gives a new one to what has changed', () => {
    const first = statusOf(well, undefined, monday);
    const second = statusOf({ ...well, generation: 3, faults: [fault('pool-unknown')] }, first, tuesday);
    assert.deepEqual(second.conditions.map(({ type, lastTransitionTime, observedGeneration }) => [type, lastTransitionTime, observedGeneration]), [['Accepted', tuesday, 3], ['ResolvedRefs', tuesday, 3], ['Conflicted', monday, 3], ['Warned', monday, 3], ['Programmed', tuesday, 3]]);
  });

  it('is the very one that was there where it says the same, so that nothing is written', () => {
    const first = statusOf(well, undefined, monday);
    assert.equal(statusOf(well, first, tuesday), first);
    assert.equal(statusOf(well, JSON.parse(JSON.stringify(first)) as ObjectStatus, tuesday).conditions[0]!.lastTransitionTime, monday);
    assert.notEqual(statusOf({ ...well, generation: 3 }, first, tuesday), first);
  });

  it('is one that Kubernetes takes, whatever the faults', () => {
    const someFault = fc.record({ code: fc.stringMatching(/^[a-z]{1,8}(-[a-z]{1,8}){0,3}$/), message: fc.string({ maxLength: 20_000 }) });
    fc.assert(
      fc.property(fc.array(someFault, { maxLength: 20 }), (faults) => {
        for (const { reason, message } of statusOf({ ...well, faults }, undefined, monday).conditions) {
          assert.match(reason, /^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/); // metav1.Condition
          assert.ok(message.length <= 32_768);
        }
      }),
    );
  });

  it('knows of each code that the reference explains where it belongs', () => {
    const source = readFileSync(new URL('../../../src/kubernetes/desired/status.ts', import.meta.url), 'utf8');
    const known = [...source.matchAll(/'([a-z]+(?:-[a-z]+)+)'/g)].map(([, code]) => code!);
    const explained = new Set([...readFileSync(new URL('../../../docs/reference/faults.md', import.meta.url), 'utf8').matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code!));
    assert.deepEqual(known.filter((code) => !explained.has(code)), []);
    for (const code of explained) if (/-conflict$|-(unknown|missing|not-allowed|not-granted)$/.test(code) && !/^(field|kind|value|api)-/.test(code)) assert.ok(known.includes(code), code);
  });
});
