import { parseAddress } from '../../../src/core/ip-address.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Plan, PlannedGateway } from '../../../src/core/plan/plan.ts';
import type { AddressOwners } from '../../../src/backends/kernel/index.ts';
import * as world from '../../core/world.ts';

export const router = world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'partner' }, limits: { connectionsPerIdentity: 100 } });

/** `ADDRESS`: `NAMESPACE/SERVICEACCOUNT`. */
export function addressesOf(names: Readonly<Record<string, string>>): AddressOwners {
  return new Map(
    Object.entries(names).map(([address, name]) => {
      const [namespace, serviceAccount] = name.split('/') as [string, string];
      return [parseAddress(address)!, { namespace, serviceAccount }] as const;
    }),
  );
}

export const gatewayOf = ({ gateways }: Plan, name = 'router'): PlannedGateway => gateways.find((gateway) => gateway.name === name)!;

/** Services of one world at the router, each with an address of its own at agents. */
export function servicesAtRouter(): (name: string, spec?: Parameters<typeof world.externalService>[1]) => DesiredObject {
  let count = 0;
  return (name, spec) => world.externalService(name, { gateway: 'router', agentAddress: `127.0.2.${(count += 1)}`, ...spec });
}

/** Someone for every kind of service and of refusal. */
export function exampleWorld(): { readonly plan: Plan; readonly workloads: AddressOwners } {
  const service = servicesAtRouter();
  const plan = world.planOf(
    router,
    world.pool('own', ['203.0.113.8', '2001:db8:1::8', '203.0.113.9', '203.0.113.12']),
    world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 4096 } }),
    world.binding('data/data', { subject: { namespace: 'data' }, addresses: ['203.0.113.8', '2001:db8:1::8'] }),
    world.binding('data/push', { subject: { namespace: 'data' }, addresses: ['203.0.113.12'], targets: [{ service: 'datagrams' }] }),
    world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }),
    service('data/warehouse', { addresses: ['198.51.100.7', '2001:db8::7'], ports: [{ name: 'sql', port: 5432 }], reverse: [{ name: 'push', port: 9000, workloadPort: 8080 }] }),
    service('data/files', { addresses: ['198.51.100.21'], ports: [{ port: 21, targetPort: 2121, protocol: 'FTP' }] }),
    service('data/datagrams', { addresses: ['198.51.100.14'], ports: [{ port: 514, protocol: 'UDP' }] }),
    service('data/old', { addresses: ['198.51.100.30'], ports: [{ port: 443 }] }),
    service('data/old-by-another-name', { addresses: ['198.51.100.30'], ports: [{ port: 443 }] }),
    world.policy('data/all', { subjects: [{ namespace: 'data' }, { namespace: 'shop', serviceAccount: 'till' }, { namespace: 'unbound' }], to: ['warehouse', 'files', 'datagrams', 'old', 'old-by-another-name'].map((name) => ({ service: name })) }),
  );
  return { plan, workloads: addressesOf({ '10.1.0.3': 'data/reader', '10.1.0.2': 'data/reader', '2001:db8:2::2': 'data/reader', '10.1.0.4': 'data/writer', '10.1.0.5': 'shop/till', '10.1.0.6': 'shop/window', '10.1.0.7': 'unbound/any', '2001:db8:2::5': 'shop/till' }) };
}
