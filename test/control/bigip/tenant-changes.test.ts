import assert from 'node:assert/strict';
import { describeTenantChanges } from '../../../src/control/bigip/tenant-changes.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { runThrough } from '../../../src/core/steps.ts';
import { binding, externalService, gateway, planOf, policy, pool } from '../../core/world.ts';

const box = (partition?: string) => gateway('f5', { class: 'bigip', listen: [{ address: '10.0.0.9', port: 15443 }], ...(partition === undefined ? {} : { bigip: { partition } }) });
const bankAt = (address: string, at?: string) => externalService('shop/bank', { addresses: [address], ports: [{ name: 'api', port: 443, protocol: 'TCP' }], ...(at === undefined ? {} : { gateway: at }) });
const f5 = box();
const eu = pool('eu', ['10.4.0.0/28']);
const bank = bankAt('198.51.100.7');
const opens = (...namespaces: string[]) => policy('shop/p', { subjects: namespaces.map((namespace) => ({ namespace })), to: [{ service: 'bank' }] });
const bound = (namespace: string) => binding(`${namespace}/b`, { subject: { namespace }, pool: 'eu' });
const base: readonly DesiredObject[] = [f5, eu, bank, opens('shop'), bound('shop')];
const others = base.filter((object) => object !== bank);

const changes = (before: readonly DesiredObject[], after: readonly DesiredObject[]) => runThrough(describeTenantChanges(planOf(...before), planOf(...after)));
const place = 'BIG-IP f5, partition sallyport_f5';

describe('what a change changes at a BIG-IP', () => {
  const cases: { name: string; after: readonly DesiredObject[]; before?: readonly DesiredObject[]; told: readonly string[] }[] = [
    { name: 'nothing where nothing changes', after: base, told: [] },
    { name: 'nothing but the revision where another gateway is concerned', before: [...others, bankAt('198.51.100.7', 'f5')], after: [...others, bankAt('198.51.100.7', 'f5'), gateway('other', { listen: [{ address: '10.0.0.8', port: 15443 }] })], told: [] },
    { name: 'records of data groups where a grant is refused that there was not', after: [...base.filter(({ kind }) => kind !== 'EgressPolicy'), opens('shop', 'desk')], told: [`~ ${place}, by data groups alone: grants 1 added`] },
    { name: 'objects too where nobody leaves from an address any more', after: [...base.filter(({ kind }) => kind !== 'EgressPolicy'), opens('desk')], told: [`~ ${place}, by AS3: -/sallyport_f5/shared/address_10.4.0.0, -/sallyport_f5/shared/snat_10.4.0.0; grants 1 added, 1 removed`] },
    { name: 'a record where the policy that lets somebody out is another', after: [...base.filter(({ kind }) => kind !== 'EgressPolicy'), policy('shop/q', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] })], told: [`~ ${place}, by data groups alone: grants 1 changed`] },
    { name: 'objects where there is a service', before: others.filter(({ kind }) => kind !== 'EgressPolicy'), after: base, told: [`~ ${place}, by AS3: +/sallyport_f5/shared/address_10.4.0.0, +/sallyport_f5/shared/pool_shop_bank_api, +/sallyport_f5/shared/snat_10.4.0.0; services 6 added; grants 1 added`] },
    { name: 'an object that is otherwise', after: [...others, bankAt('198.51.100.8')], told: [`~ ${place}, by AS3: ~/sallyport_f5/shared/pool_shop_bank_api`] },
    { name: 'all of a BIG-IP that comes', before: base.filter((object) => object !== f5), after: base, told: [`+ ${place}, by AS3`] },
    { name: 'all of a BIG-IP that goes', after: base.filter((object) => object !== f5), told: [`- ${place}, by AS3`] },
    { name: 'one partition less and one more where it is another', after: [box('mesh'), ...base.slice(1)], told: ['+ BIG-IP f5, partition mesh, by AS3', `- ${place}, by AS3`] },
  ];
  for (const { name, before = base, after, told } of cases) {
    it(`is ${name}`, () => assert.deepEqual(changes(before, after), told));
  }
});
