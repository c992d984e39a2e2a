import assert from 'node:assert/strict';
import { encodeGatewaySettings, encodeServicePort, encodeWorkloadAddress } from '../../src/api/table-codec.ts';
import { typeUrls } from '../../src/api/type-urls.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { PlannedGateway } from '../../src/core/plan/plan.ts';
import { emptyTable, type HeldTable } from '../../src/gateway/index.ts';
import { holdKernelUpdate, readKernelTable } from '../../src/kernel/kernel-table.ts';
import type { DeltaUpdate } from '../../src/xds/index.ts';
import { externalService, gateway, planOf, trustDomain } from '../core/world.ts';

const planned = planOf(gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'eth1' } }), gateway('gw'), externalService('shop/bank', { gateway: 'router' }));
const gatewayNamed = (name: string): PlannedGateway => planned.gateways.find((each) => each.name === name)!;

const update = (typeUrl: string, changed: Readonly<Record<string, Uint8Array>>, removed: readonly string[] = []): DeltaUpdate => ({ typeUrl, systemVersion: 'r1', changed: Object.entries(changed).map(([name, value]) => ({ name, version: '1', value })), removed });
const settings = update(typeUrls.gatewaySettings, { router: encodeGatewaySettings(gatewayNamed('router'), trustDomain) });
const servicePorts = update(typeUrls.servicePort, Object.fromEntries(planned.servicePorts.map((servicePort) => [servicePort.id, encodeServicePort(servicePort)])));
const addresses = update(typeUrls.workloadAddress, { '10.0.0.1': encodeWorkloadAddress('10.0.0.1' as IpAddress, { namespace: 'shop', serviceAccount: 'till' }) });
const held = (...updates: readonly DeltaUpdate[]): HeldTable => updates.reduce(holdKernelUpdate, emptyTable);

describe('the table of a kernel gateway', () => {
  it('is there once the control plane has answered for each of its parts', () => {
    for (const some of [[], [settings], [settings, servicePorts], [servicePorts, addresses], [settings, addresses]]) assert.equal(readKernelTable(held(...some)), undefined);
    const table = readKernelTable(held(settings, servicePorts, addresses))!;
    assert.deepEqual([table.revision, table.settings.kernel, table.servicePorts, [...table.addresses]], ['r1', { interface: 'eth1', drift: 'Repair' }, planned.servicePorts, [['10.0.0.1', { namespace: 'shop', serviceAccount: 'till' }]]]);
  });

  it('has what is left of what was removed, and the settings, without which nothing could be refused', () => {
    const table = readKernelTable(held(settings, servicePorts, addresses, update(typeUrls.gatewaySettings, {}, ['router']), update(typeUrls.servicePort, {}, planned.servicePorts.map(({ id }) => id)), update(typeUrls.workloadAddress, {}, ['10.0.0.1'])))!;
    assert.deepEqual([table.settings.name, table.servicePorts, [...table.addresses]], ['router', [], []]);
  });

  it('is refused where it is for a gateway of another class', () => {
    const other = update(typeUrls.gatewaySettings, { gw: encodeGatewaySettings(gatewayNamed('gw'), trustDomain) });
    assert.throws(() => readKernelTable(held(other, servicePorts, addresses)), /EgressGateway gw is not of class kernel/);
  });

  it('is refused where an address cannot be read', () => {
    assert.throws(() => readKernelTable(held(settings, servicePorts, update(typeUrls.workloadAddress, { x: Uint8Array.of(0xff) }))), /WorkloadAddress/);
  });
});
