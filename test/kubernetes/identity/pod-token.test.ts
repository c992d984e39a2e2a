import assert from 'node:assert/strict';
import { judgePod, judgeReview, type PodClaims, type PodFacts, type ReviewStatus } from '../../../src/kubernetes/identity/pod-token.ts';

const extra = { 'authentication.kubernetes.io/pod-name': ['productpage-1'], 'authentication.kubernetes.io/pod-uid': ['u1'], 'authentication.kubernetes.io/node-name': ['node-a'] };
const good: ReviewStatus = { authenticated: true, audiences: ['sallyport'], user: { username: 'system:serviceaccount:bookinfo:productpage', extra } };
const claims: PodClaims = { workload: { namespace: 'bookinfo', serviceAccount: 'productpage' }, pod: { name: 'productpage-1', uid: 'u1' }, node: 'node-a' };
const pod: PodFacts = { metadata: { uid: 'u1' }, spec: { serviceAccountName: 'productpage', nodeName: 'node-a' }, status: { phase: 'Running' } };

describe('the review of a token', () => {
  it('says who and which pod', () => assert.deepEqual(judgeReview(good, 'sallyport'), { ok: true, value: claims }));
  it('is believed of a server that names no node', () => {
    const { 'authentication.kubernetes.io/node-name': _, ...rest } = extra;
    assert.deepEqual(judgeReview({ ...good, user: { ...good.user, extra: rest } }, 'sallyport'), { ok: true, value: { ...claims, node: null } });
  });
  const refused: readonly [what: string, review: ReviewStatus, detail: RegExp][] = [
    ['what the server does not know', { authenticated: false, error: 'token has expired' }, /does not know the token: token has expired/],
    ['an answer of nothing', {}, /does not know the token$/],
    ['another audience', { ...good, audiences: ['vault'] }, /not for the audience sallyport/],
    ['a server that does not know audiences', { ...good, audiences: [] }, /not for the audience/],
    ['a user', { ...good, user: { username: 'alice', extra } }, /alice is no service account/],
    ['a name that only looks like one', { ...good, user: { username: 'system:serviceaccount:bookinfo:productpage:x', extra } }, /is no service account/],
    ['nobody', { authenticated: true, audiences: ['sallyport'] }, /nobody is no service account/],
    ['a token of no pod', { ...good, user: { ...good.user, extra: {} } }, /bound to no pod/],
  ];
  for (const [what, review, detail] of refused) {
    it(`does not take ${what}`, () => {
      const verdict = judgeReview(review, 'sallyport');
      assert.match(verdict.ok ? 'taken' : verdict.detail, detail);
    });
  }
});

describe('the pod of a token', () => {
  it('is there', () => assert.deepEqual(judgePod(claims, pod), { ok: true, value: null }));
  it('may be anywhere for a token that names no node', () => assert.equal(judgePod({ ...claims, node: null }, { ...pod, spec: { ...pod.spec, nodeName: 'node-b' } }).ok, true));
  const refused: readonly [what: string, found: PodFacts | undefined, detail: RegExp][] = [
    ['is gone', undefined, /^pod bookinfo\/productpage-1 is not there any more/],
    ['is another of its name', { ...pod, metadata: { uid: 'u2' } }, /another one/],
    ['is being deleted', { ...pod, metadata: { uid: 'u1', deletionTimestamp: new Date(0) } }, /being deleted/],
    ['runs as somebody else', { ...pod, spec: { ...pod.spec, serviceAccountName: 'default' } }, /runs as default, not as productpage/],
    ['is elsewhere', { ...pod, spec: { ...pod.spec, nodeName: 'node-b' } }, /on node node-b, and its token on node-a/],
    ['has ended', { ...pod, status: { phase: 'Succeeded' } }, /has ended/],
    ['has failed', { ...pod, status: { phase: 'Failed' } }, /has ended/],
  ];
  for (const [what, found, detail] of refused) {
    it(`is not good where it ${what}`, () => {
      const verdict = judgePod(claims, found);
      assert.match(verdict.ok ? 'taken' : verdict.detail, detail);
    });
  }
});
