import type { Plan } from '../../../src/core/plan/plan.ts';
import * as world from '../../core/world.ts';

/** Each with an address of its own at agents. */
function servicesOfOneWorld() {
  let count = 0;
  return (name: string, spec: Parameters<typeof world.externalService>[1] = {}) => world.externalService(name, { agentAddress: `127.0.1.${(count += 1)}`, ...spec });
}

export const service = servicesOfOneWorld();

/** A plan with a line of every kind: both families, names, FTP either way, the way back, datagrams and shared addresses. */
export function exampleWorld(): Plan {
  const service = servicesOfOneWorld();
  return world.planOf(
    world.gateway('egress-1'),
    world.pool('own', ['203.0.113.8', '2001:db8:1::8']),
    world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 4096 } }),
    world.binding('data/data', { subject: { namespace: 'data' }, addresses: ['203.0.113.8', '2001:db8:1::8'] }),
    world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }),
    service('data/warehouse', { addresses: ['198.51.100.7', '2001:db8::7'], ports: [{ name: 'sql', port: 5432 }], reverse: [{ name: 'push', port: 9000 }] }),
    service('data/hosted', { hosts: ['partner.example', `${'a-very-long-label'.repeat(3)}.${'another'.repeat(7)}.example`], ports: [{ port: 443 }] }),
    service('data/files', { addresses: ['198.51.100.21'], ports: [{ port: 21, protocol: 'FTP' }] }),
    service('data/push-files', { addresses: ['198.51.100.22'], ports: [{ port: 21, protocol: 'FTP', ftp: { dataMode: 'Active' } }] }),
    service('data/syslog', { addresses: ['198.51.100.14'], ports: [{ port: 514, protocol: 'UDP' }] }),
    world.policy('data/all', { subjects: [{ namespace: 'data' }, { namespace: 'shop', serviceAccount: 'till' }], to: ['warehouse', 'hosted', 'files', 'push-files', 'syslog'].map((service) => ({ service })) }),
    world.policy('data/nobody', { subjects: [{ namespace: 'without-address' }], to: [{ service: 'warehouse' }] }),
  );
}
