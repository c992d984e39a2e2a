import assert from 'node:assert/strict';
import fc from 'fast-check';
import { errorOfProblem, problemOf } from '../../src/api/problem.ts';
import { errorCodes, SallyportError, type ErrorCode, type Fault } from '../../src/core/errors.ts';

const codes = Object.keys(errorCodes) as readonly ErrorCode[];
const fault: Fault = { code: 'value-invalid', message: 'no', hint: 'yes', object: { kind: 'SnatPool', namespace: '', name: 'a' }, path: ['spec', 0], position: { file: 'f', line: 1, column: 2 } };
const plain = { noNullPrototype: true } as const;

describe('problems', () => {
  it('carry an error over HTTP with everything that a caller is told', () => {
    const details = fc.record({ place: fc.string(), value: fc.string(), hint: fc.string(), faults: fc.constant([fault]) }, { requiredKeys: [], ...plain });
    fc.assert(
      fc.property(fc.constantFrom(...codes), fc.string(), details, (code, message, given) => {
        const problem = problemOf(new SallyportError(code, message, given));
        const back = errorOfProblem(problem.status, JSON.parse(JSON.stringify(problem)));
        assert.deepEqual([back.code, back.message, back.place, back.value, back.hint, back.faults], [code, message, given.place, given.value, given.hint, given.faults ?? []]);
      }),
      { numRuns: 200 },
    );
  });

  it('have the members of RFC 9457, and the status of the error table', () => {
    for (const code of codes) {
      const { type, title, status } = problemOf(new SallyportError(code, 'no such thing'));
      assert.deepEqual([type, title, status], [`https://sallyport.dev/errors/${code}`, 'no such thing', errorCodes[code].http]);
    }
  });

  it('say nothing of a cause, nor of an error that is not ours', () => {
    const secret = 'hunter2';
    assert.doesNotMatch(JSON.stringify(problemOf(new SallyportError('store-failed', 'no', { cause: new Error(secret) }))), /hunter2/);
    const { code, status, title } = problemOf(new TypeError(secret));
    assert.deepEqual([code, status, title], ['internal', 500, 'internal error']);
  });

  for (const [what, body] of [
    ['nothing', undefined],
    ['text', 'Bad Gateway'],
    ['another problem', { type: 'about:blank', title: 'Not Found', status: 404 }],
    ['a code that there is not', { code: 'teapot' }],
    ['a code that every object has', { code: 'constructor' }],
  ] as const) {
    it(`are "unavailable" where a proxy in between answers with ${what}`, () => {
      const error = errorOfProblem(502, body);
      assert.equal(error.code, 'unavailable');
      assert.match(error.message, /status 502/);
    });
  }
});
