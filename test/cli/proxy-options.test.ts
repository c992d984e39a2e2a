import assert from 'node:assert/strict';
import { withPodFiles } from '../../src/cli/proxy-options.ts';
import { SallyportError } from '../../src/core/errors.ts';

const mounted = { token: '/var/run/secrets/sallyport/token', trustBundle: '/var/run/secrets/sallyport/trust/trust-bundle.pem' };
const inPod = (path: string): boolean => Object.values(mounted).includes(path);
const elsewhere = (): boolean => false;

describe('gateway and agent', () => {
  it('take from where a pod has it by convention what was not said', () => {
    assert.deepEqual(withPodFiles({}, inPod), { trustBundle: mounted.trustBundle, podTokenFile: mounted.token });
  });

  it('take what was said', () => {
    assert.deepEqual(withPodFiles({ trustBundle: 'a', podTokenFile: 'b' }, inPod), { trustBundle: 'a', podTokenFile: 'b' });
    assert.deepEqual(withPodFiles({ trustBundle: 'a', joinTokenFile: 'b' }, inPod), { trustBundle: 'a', joinTokenFile: 'b' });
  });

  it('need no token elsewhere, for there may be an identity on disk, but anchors', () => {
    assert.deepEqual(withPodFiles({ trustBundle: 'a' }, elsewhere), { trustBundle: 'a' });
    assert.throws(() => withPodFiles({}, elsewhere), (error: unknown) => error instanceof SallyportError && error.code === 'usage' && error.place === '--trust-bundle');
  });
});
