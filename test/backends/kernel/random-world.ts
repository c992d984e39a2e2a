/** Random desired states around a gateway of class `kernel`. */
import type fc from 'fast-check';
import { numberToAddress } from '../../../src/core/ip-address.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import type { AddressOwners } from '../../../src/backends/kernel/index.ts';
import { everyone, someObjects } from '../../core/plan/random-world.ts';
import * as world from '../../core/world.ts';
import { router, servicesAtRouter } from './example-world.ts';

/** Each has an address of either family. */
export const everyonesAddresses: AddressOwners = new Map(
  everyone.flatMap((who, index) => [[numberToAddress('ipv4', 0x0a_01_00_00n + BigInt(index + 1)), who] as const, [numberToAddress('ipv6', (0x2001_0db8n << 96n) + (2n << 64n) + BigInt(index + 1)), who] as const]),
);

const transports = { alpha: ['TCP', 'UDP', 'FTP', 'HTTPConnect', 'TCP', 'UDP'], beta: 'HTTPConnect' } as const;
const names = ['a/s1', 'a/s2', 'a/s3', 'b/s1', 'b/s2', 'b/s3'];

/** `ADDRESS . TRANSPORT . PORT` of each service port, as sets of the table have it. */
const services = names.flatMap((name, index) =>
  [{ port: 'alpha', number: 8080, transport: transports.alpha[index] === 'UDP' ? 'udp' : 'tcp' }, { port: 'beta', number: 9090, transport: 'tcp' }].map(({ port, number, transport }) => ({
    id: `${name}:${port}`,
    destinations: [`198.51.100.${index + 1} . ${transport} . ${number}`, `2001:db8:3::${index + 1} . ${transport} . ${number}`],
  })),
);

const service = servicesAtRouter();
const ground = [
  router,
  world.pool('eu', ['10.0.0.0/24', '2001:db8::/64']),
  ...names.map((name, index) => service(name, { addresses: [`198.51.100.${index + 1}`, `2001:db8:3::${index + 1}`], ports: [{ name: 'alpha', port: 8080, protocol: transports.alpha[index]! }, { name: 'beta', port: 9090, protocol: transports.beta }] })),
];

export interface KernelWorld {
  readonly plan: Plan;
  readonly services: readonly { readonly id: string; readonly destinations: readonly string[] }[];
}

/** Those that can be in force: two bindings that are equally specific cannot. */
export const someKernelWorld: fc.Arbitrary<KernelWorld> = someObjects
  .map((objects) => world.build(world.state(...ground, ...objects.filter(({ kind }) => kind !== 'ExternalService'))).compiled)
  .filter((compiled) => compiled.ok)
  .map(({ plan }) => ({ plan, services }));
