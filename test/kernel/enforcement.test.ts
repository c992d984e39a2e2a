import assert from 'node:assert/strict';
import type { KernelRendering } from '../../src/backends/kernel/index.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { DriftPolicy } from '../../src/core/objects/index.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { createEnforcement } from '../../src/kernel/enforcement.ts';
import type { KernelTable } from '../../src/kernel/kernel-table.ts';
import { settings } from '../support/gateway.ts';

const tableOf = (revision: string, { drift = 'Repair', addresses = [] }: { drift?: DriftPolicy; addresses?: readonly string[] } = {}): KernelTable => ({
  revision: revision as Revision,
  settings: { ...settings, listen: [], kernel: { interface: 'eth1', drift } },
  servicePorts: [],
  addresses: new Map(addresses.map((address) => [address as IpAddress, { namespace: 'shop', serviceAccount: 'till' }])),
});

/** A driver that notes what it is told, and holds up each call until it is let go on. */
function driver() {
  const calls: string[] = [];
  let found: readonly string[] = [];
  let refusal: string | undefined;
  const underWay: PromiseWithResolvers<undefined>[] = [];
  let held = false;
  async function call(what: string): Promise<void> {
    calls.push(what);
    if (!held) return;
    const gate = Promise.withResolvers<undefined>();
    underWay.push(gate);
    await gate.promise;
  }
  return {
    calls,
    find: (drift: readonly string[]) => void (found = drift),
    refuse: (message?: string) => void (refusal = message),
    hold: () => void (held = true),
    letGo() {
      underWay.shift()!.resolve(undefined);
    },
    async apply({ table }: KernelRendering) {
      await call(`apply ${table.revision}`);
      if (refusal !== undefined) throw new SallyportError('ruleset-refused', refusal);
    },
    async drift() {
      await call('drift');
      return found;
    },
    repair: () => call('repair'),
    counters: () => Promise.resolve([]),
  };
}

describe('what a kernel gateway enforces', () => {
  it('is what was put in force last, with what is to be known of it', async () => {
    const enforcement = createEnforcement(driver(), () => Promise.resolve());
    assert.deepEqual(enforcement.status(), { revision: null, fault: null, drift: [], conditions: [], workloadAddresses: 0 });
    await enforcement.enforce(tableOf('r1', { addresses: ['10.0.0.1', '10.0.0.2'] }));
    const { revision, fault, conditions, workloadAddresses } = enforcement.status();
    assert.deepEqual([revision, fault, workloadAddresses], ['r1', null, 2]);
    assert.deepEqual(conditions.map(({ code }) => code), ['identity-by-address']);
  });

  it('stays where a change is refused, with the reason, until one is taken', async () => {
    const kernel = driver();
    const enforcement = createEnforcement(kernel, () => Promise.resolve());
    await enforcement.enforce(tableOf('r1'));
    kernel.refuse('nft: no room');
    await assert.rejects(enforcement.enforce(tableOf('r2')), /nft: no room/);
    assert.deepEqual([enforcement.status().revision, enforcement.status().fault], ['r1', 'nft: no room']);
    kernel.refuse();
    await enforcement.enforce(tableOf('r3'));
    assert.deepEqual([enforcement.status().revision, enforcement.status().fault], ['r3', null]);
  });

  it('changes one at a time, in the order in which changes came', async () => {
    const kernel = driver();
    kernel.hold();
    const enforcement = createEnforcement(kernel, () => Promise.resolve());
    const done = [enforcement.enforce(tableOf('r1')), enforcement.checkDrift(), enforcement.enforce(tableOf('r2'))];
    for (const calls of [['apply r1'], ['apply r1', 'drift'], ['apply r1', 'drift', 'apply r2']]) {
      await new Promise(setImmediate);
      assert.deepEqual(kernel.calls, calls);
      kernel.letGo();
    }
    await Promise.all(done);
    assert.equal(enforcement.status().revision, 'r2');
  });

  it('is put back where somebody has changed it, or told, as its settings say', async () => {
    for (const [drift, calls, left] of [['Repair', ['apply r1', 'drift', 'repair'], []], ['Report', ['apply r1', 'drift'], ['a rule was added']]] as const) {
      const kernel = driver();
      const enforcement = createEnforcement(kernel, () => Promise.resolve());
      await enforcement.enforce(tableOf('r1', { drift }));
      kernel.find(['a rule was added']);
      assert.deepEqual(await enforcement.checkDrift(), ['a rule was added']);
      assert.deepEqual([kernel.calls, enforcement.status().drift], [calls, left]);
    }
  });
});
