/** Analyses of the addresses that connections leave from. */
import { keyOf, refOf } from '../desired-state.ts';
import { accountsBehind } from '../plan/subjects.ts';
import { addressSpaceOf, capacityOf, familiesOf, snatPorts, type AddressSpace } from '../snat/address-space.ts';
import { ownerOf } from '../snat/holder.ts';
import type { Analysis, Found, World } from './analysis.ts';

/** Where a Service has no accounts the build warns already. */
function unusedBindings({ desired, plan }: World): readonly Found[] {
  const used = new Set(plan.servicePorts.flatMap(({ grants }) => grants.flatMap(({ binding }) => binding ?? [])));
  return [...desired.SnatBinding].flatMap(([key, binding]) => {
    const [object, owner, path] = [refOf(binding), ownerOf(binding), ['spec', 'subject']];
    if (used.has(key) || (owner.kind === 'service' && accountsBehind(keyOf(owner), desired.Service, { object, path }).accounts.length === 0)) return [];
    return [{ object, path, message: 'nobody leaves by it: no EgressPolicy lets its subject use what it speaks of, or more specific bindings decide', hint: 'apply an EgressPolicy for its subject, or remove it, which gives its address back' }];
  });
}

/** Fewer sources than this are all given out on purpose. */
const sourcesMin = 10n;

function nearlyExhaustedPools({ desired, assignments }: World): readonly Found[] {
  return [...desired.SnatPool.values()].flatMap((pool) => {
    const space = addressSpaceOf(pool);
    return familiesOf(space).flatMap((family): Found[] => {
      const all = capacityOf(space, family) * BigInt(sourcesOfAddress(space));
      const given = assignments.filter((assignment) => assignment.pool === pool.metadata.name && assignment.family === family);
      const free = all - BigInt(given.length);
      if (all < sourcesMin || free * 10n >= all) return [];
      const resting = given.filter(({ releasedAt }) => releasedAt !== null).length;
      return [
        {
          object: refOf(pool),
          path: ['spec', 'addresses'],
          message: `of its ${all} ${space.sharing.mode === 'Exclusive' ? 'addresses' : 'blocks of ports'} of ${family === 'ipv4' ? 'IPv4' : 'IPv6'}, ${free} are free${resting === 0 ? '' : `; ${resting} wait for their quarantine to end`}`,
          hint: 'add addresses, share them by port blocks, or remove bindings that are no longer needed',
        },
      ];
    });
  });
}

/** How many may hold one address. */
function sourcesOfAddress({ sharing }: AddressSpace): number {
  return sharing.mode === 'Exclusive' ? 1 : Math.floor((snatPorts.last - snatPorts.first + 1) / sharing.blockSize);
}

function unusedPools({ desired, assignments }: World): readonly Found[] {
  const used = new Set(assignments.map(({ pool }) => pool));
  return [...desired.SnatPool.values()].filter(({ metadata }) => !used.has(metadata.name)).map((pool) => ({ object: refOf(pool), path: ['spec'], message: 'nobody holds an address of it', hint: 'name it in a SnatBinding, or remove it' }));
}

export const addressAnalyses: readonly Analysis[] = [
  { code: 'binding-unused', level: 'info', says: 'a SnatBinding holds an address, and nobody leaves by it: no policy lets its subject out, or more specific bindings decide', remedy: 'apply a policy, or remove it', find: unusedBindings },
  { code: 'pool-nearly-exhausted', level: 'warning', says: 'less than a tenth of a SnatPool of ten sources or more is free; the next bindings will get no address (`pool-exhausted`)', remedy: 'add addresses, share them by port blocks, or remove bindings', find: nearlyExhaustedPools },
  { code: 'pool-unused', level: 'info', says: 'nobody holds an address of a SnatPool', remedy: 'name it in a SnatBinding, or remove it', find: unusedPools },
];
