import assert from 'node:assert/strict';
import { judgeDeclaration, statusIn, wordsOf } from '../../../src/control/bigip/answer.ts';

const judged = (status: number, body: unknown) => judgeDeclaration({ status, body }, 'partner');
const result = (fields: object) => ({ results: [{ host: 'localhost', tenant: 'partner', runTime: 3, ...fields }], declaration: {} });

describe('what an answer of AS3 means', () => {
  it('is done where its result says so, whether or not something was to be changed', () => {
    assert.deepEqual(judged(200, result({ code: 200, message: 'success' })), { kind: 'done', isSame: false });
    assert.deepEqual(judged(200, result({ code: 200, message: 'no change' })), { kind: 'done', isSame: true });
  });

  it('is under way where it is a task without a result, whatever the status', () => {
    const task = { id: 'f1f1c942', results: [{ message: 'in progress', tenant: '', host: '', runTime: 0, code: 0 }], declaration: {} };
    for (const status of [200, 202]) assert.deepEqual(judged(status, task), { kind: 'under-way', task: 'f1f1c942' });
  });

  it('is a refusal with its words where the declaration is invalid, or could not be carried out', () => {
    assert.deepEqual(judged(422, { code: 422, errors: ["/partner/shared/vs: should have required property 'virtualAddresses'"], message: 'declaration is invalid' }), {
      kind: 'refused',
      message: "answer 422: declaration is invalid; /partner/shared/vs: should have required property 'virtualAddresses'",
    });
    assert.deepEqual(judged(200, { id: 'x', results: [{ code: 422, message: 'declaration is invalid', errors: ['/x: is wrong'] }], declaration: {} }), { kind: 'refused', message: 'answer 422: declaration is invalid; /x: is wrong' });
    assert.deepEqual(judged(422, result({ code: 422, message: 'declaration failed', response: '01020066:3: it already exists' })), { kind: 'refused', message: 'answer 422: declaration failed; 01020066:3: it already exists' });
  });

  it('is that of the tenant that was declared, not of another one', () => {
    const both = { results: [{ tenant: 'other', code: 200, message: 'success' }, { tenant: 'partner', code: 422, message: 'declaration failed' }] };
    assert.equal(judged(207, both).kind, 'refused');
    assert.equal(judged(200, { results: [{ tenant: 'other', code: 200, message: 'success' }, { tenant: 'more', code: 200, message: 'success' }] }).kind, 'unclear');
  });

  it('is busy where something else is under way', () => {
    assert.equal(judged(503, { code: 503, message: 'Error: Configuration operation in progress on device localhost, please try again in 2 minutes' }).kind, 'busy');
    assert.equal(judged(200, result({ code: 503, message: 'busy' })).kind, 'busy');
  });

  it('is no yes where nobody knows what it is', () => {
    for (const [status, body] of [[200, undefined], [200, {}], [200, { results: [] }], [200, { results: 'success' }], [200, result({ code: 200, message: 'well' })], [200, result({ message: 'success' })], [500, { code: 500, message: 'broken' }], [404, { message: 'No record found with ID of x' }]] as const) assert.equal(judged(status, body).kind, 'unclear', JSON.stringify(body));
  });
});

describe("a BIG-IP's own words", () => {
  it('are one line of a bounded length without what is secret', () => {
    const words = wordsOf(422, { message: `line\nline ${'x'.repeat(1_000)}`, originalRequestBody: '{"password":"horse"}' });
    assert.ok(words.length < 600 && !words.includes('\n') && !words.includes('horse'), words);
    assert.equal(wordsOf(422, { message: 'wrong: -----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY----- there' }), 'answer 422: wrong: (PEM) there');
    assert.equal(wordsOf(422, { message: 'wrong: -----BEGIN PRIVATE KEY-----\nMIG' }), 'answer 422: wrong: (PEM)');
  });

  it('of a status are found where they stand, and nowhere else', () => {
    assert.equal(statusIn({ status: 200, body: { entries: { 'https://localhost/mgmt/tm/cm/sync-status/0': { nestedStats: { entries: { status: { description: 'In Sync' } } } } } } }), 'In Sync');
    for (const body of [undefined, 'In Sync', {}, { entries: {} }, { entries: { x: { nestedStats: { entries: { status: 'In Sync' } } } } }]) assert.equal(statusIn({ status: 200, body }), undefined);
  });
});
