import type { Plan, PlannedGateway } from '../../../src/core/plan/plan.ts';
import * as world from '../../core/world.ts';

/** A plan with something of everything that a BIG-IP serves, and of what it refuses. */
export function exampleWorld(): Plan {
  let count = 0;
  const service = (name: string, spec: Parameters<typeof world.externalService>[1]) => world.externalService(name, { agentAddress: `127.0.1.${(count += 1)}`, ...spec });
  const names = ['warehouse', 'hosted', 'files', 'sealed-files', 'proxy', 'a-partner-whose-name-is-as-long-as-names-may-be'];
  return world.planOf(
    world.gateway('edge', {
      class: 'bigip',
      listen: [{ address: '10.4.0.10', port: 15443 }, { address: '2001:db8:4::10', port: 15443 }],
      bigip: { partition: 'Sallyport', acceptRisks: ['UnprovenFtpData'], logTo: [{ address: '10.4.0.53', port: 6514 }] },
      ftp: { passivePorts: { first: 30_000, last: 30_099 } },
    }),
    world.pool('own', ['203.0.113.8', '203.0.113.21', '2001:db8:1::/120']),
    world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 4096 } }),
    world.binding('data/data', { subject: { namespace: 'data' }, addresses: ['203.0.113.8', '2001:db8:1::8'] }),
    world.binding('data/loader', { subject: { namespace: 'data', serviceAccount: 'loader' }, addresses: ['203.0.113.21'] }),
    world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }),
    service('data/warehouse', { addresses: ['198.51.100.7', '198.51.100.8', '2001:db8::7'], ports: [{ name: 'sql', port: 5432, listen: { port: 5432 } }], reverse: [{ name: 'push', port: 9000 }] }),
    service('data/hosted', { hosts: ['a.partner.example', 'b.partner.example'], ports: [{ port: 443, targetPort: 8443 }] }),
    service('data/files', { addresses: ['198.51.100.21'], ports: [{ port: 21, protocol: 'FTP', listen: { port: 21 } }] }),
    service('data/sealed-files', { addresses: ['198.51.100.22'], ports: [{ port: 21, protocol: 'FTPS', listen: { port: 2121 }, tls: { mode: 'PassThrough', dataPorts: { first: 40_000, last: 40_001 } } }] }),
    service('data/proxy', { addresses: ['198.51.100.3'], ports: [{ port: 3128, protocol: 'HTTPConnect' }] }),
    service('data/syslog', { addresses: ['198.51.100.14'], ports: [{ port: 514, protocol: 'UDP' }] }),
    service(`data/${names.at(-1)!}`, { addresses: ['198.51.100.9'], ports: [{ name: 'its-port-too', port: 443 }] }),
    world.policy('data/all', { subjects: [{ namespace: 'data' }, { namespace: 'shop', serviceAccount: 'till' }], to: [...names, 'syslog'].map((name) => ({ service: name })) }),
    world.policy('data/loader', { subjects: [{ namespace: 'data', serviceAccount: 'loader' }], to: [{ service: 'warehouse' }] }),
    world.policy('data/nobody', { subjects: [{ namespace: 'without-address' }], to: [{ service: 'warehouse' }] }),
  );
}

export const bigipOf = (plan: Plan): PlannedGateway => plan.gateways.find((gateway) => gateway.class === 'bigip')!;
