import assert from 'node:assert/strict';
import { keepOfPod } from '../../../src/kubernetes/desired/accounts-behind.ts';
import { addressedPods, changesAddresses, type PodObject } from '../../../src/kubernetes/desired/addressed-pods.ts';

interface PodSays {
  readonly deletionTimestamp?: string;
  readonly account?: string;
  readonly hostNetwork?: boolean;
  readonly phase?: string;
  readonly ips?: readonly string[];
}

/** As it is kept. */
function pod({ deletionTimestamp, account, hostNetwork, phase = 'Running', ips = ['10.1.0.7'] }: PodSays): PodObject {
  return keepOfPod({
    metadata: { name: 'p', namespace: 'shop', uid: 'u', resourceVersion: '1', ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    spec: { ...(account === undefined ? {} : { serviceAccountName: account }), ...(hostNetwork === undefined ? {} : { hostNetwork }) },
    status: { phase, podIPs: ips.map((ip) => ({ ip })) },
  });
}

const told = (says: PodSays): readonly string[] => [...addressedPods([pod(says)])].flatMap(({ namespace, serviceAccount, addresses }) => addresses.map((address) => `${address} ${namespace}/${serviceAccount}`));

describe('the addresses of pods', () => {
  const cases: readonly [what: string, says: PodSays, told: readonly string[]][] = [
    ['of one that runs', { account: 'till' }, ['10.1.0.7 shop/till']],
    ['of both families, in their canonical form', { account: 'till', ips: ['10.1.0.7', 'FD00:0::7'] }, ['10.1.0.7 shop/till', 'fd00::7 shop/till']],
    ['of one that names no account', {}, ['10.1.0.7 shop/default']],
    ['of one whose init containers run', { phase: 'Pending' }, ['10.1.0.7 shop/default']],
    ['of one that has none yet', { phase: 'Pending', ips: [] }, []],
    ["of one on its host's network", { hostNetwork: true }, []],
    ['of one that is being deleted', { deletionTimestamp: '2026-01-01T00:00:00Z' }, []],
    ['of one that has succeeded', { phase: 'Succeeded' }, []],
    ['of one that has failed', { phase: 'Failed' }, []],
    ['of one of which nobody knows what it does', { phase: 'Unknown' }, []],
    ['of one whose address is none', { ips: ['unknown'] }, []],
  ];
  for (const [what, says, expected] of cases) it(`${expected.length === 0 ? 'are not those' : 'are those'} ${what}`, () => assert.deepEqual(told(says), expected));

  it('have changed where somebody has another, or it is another account', () => {
    const changes = (before: PodSays | null, after: PodSays | null) => changesAddresses([{ name: 'shop/p', before: before && pod(before), after: after && pod(after) }]);
    assert.deepEqual([changes(null, {}), changes({}, null), changes({}, { ips: ['10.1.0.8'] }), changes({}, { phase: 'Failed' }), changes({}, { account: 'till' })], Array(5).fill(true));
    assert.deepEqual([changes({}, {}), changes(null, { hostNetwork: true }), changes({ phase: 'Pending' }, {}), changes({ phase: 'Failed' }, null)], Array(4).fill(false));
  });
});
