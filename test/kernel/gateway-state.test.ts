import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Fault } from '../../src/core/errors.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import type { EnforcementStatus } from '../../src/kernel/enforcement.ts';
import { stateOf } from '../../src/kernel/gateway-state.ts';

const caveat: Fault = { code: 'identity-by-address', message: 'an address proves little', hint: 'mind the network' };
const state = (more: Partial<EnforcementStatus>) => stateOf('edge~left', 'left', { revision: 'r1' as Revision, fault: null, drift: [], conditions: [caveat], workloadAddresses: 0, ...more });
const codes = (more: Partial<EnforcementStatus>) => state(more).conditions.map(({ code }) => code);

describe('what a kernel gateway says of itself', () => {
  it('is that all is in force, and what there is to know beside', () => {
    assert.deepEqual(state({}), { node: 'edge~left', inForce: true, conditions: [caveat] });
  });

  it('is first what is not in force, and why, with the host that it is so on', () => {
    const { inForce, conditions } = state({ fault: 'nft: no such device', drift: ['set grants lacks 1', 'a', 'b', 'c'] });
    assert.equal(inForce, false);
    assert.deepEqual(conditions.map(({ code, message }) => [code, message]), [
      ['ruleset-refused', 'at left, what it was told last is not in force: nft: no such device'],
      ['ruleset-changed', 'at left, somebody else has changed what is in force: set grants lacks 1, a, b and 1 more'],
      [caveat.code, caveat.message],
    ]);
  });

  it('is that nothing is in force while that is so', () => assert.equal(state({ revision: null }).inForce, false));

  it('is bounded, and says how much more there is', () => {
    const conditions = Array.from({ length: 25 }, (_, index): Fault => ({ code: 'port-of-service', message: `service ${index}` }));
    assert.deepEqual([codes({ conditions }).length, state({ conditions }).conditions.at(-1)?.message], [21, 'and 5 more like these']);
    assert.equal(codes({ conditions: conditions.slice(5) }).length, 20);
  });

  it('is explained in the reference, each of its codes', () => {
    const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
    const union = /export type CaveatCode =([^;]*);/.exec(read('src/backends/kernel/caveats.ts'))![1]!;
    const codesSaid = [union.matchAll(/'([a-z-]+)'/g), read('src/kernel/gateway-state.ts').matchAll(/code: '([a-z-]+)'/g)].flatMap((found) => Array.from(found, ([, code]) => code!));
    assert.ok(codesSaid.length > 6);
    const section = read('docs/reference/faults.md').split('\n## Gateways of class `kernel`\n')[1]!.split('\n## ')[0]!;
    const explained = Array.from(section.matchAll(/^\| `([a-z-]+)` \|/gm), ([, code]) => code!);
    assert.deepEqual(codesSaid.filter((code) => !explained.includes(code)), []);
  });
});
