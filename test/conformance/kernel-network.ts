/**
 * Where class `kernel` is played: workloads, a router and the external services are network namespaces in a row, since a kernel is a gateway
 * for what it forwards. On loopback nothing is: the table's addresses have others there.
 */
import { waitFor } from '../../src/demo/processes.ts';
import { makeNetwork, type Network } from '../support/network-namespaces.ts';
import { socketsOn, type Sockets } from '../support/sockets.ts';
import type { AddressNames } from './witness.ts';
import { deadAddress, witnessAddresses } from './world.ts';

export interface KernelNetwork {
  readonly router: Network<'workloads' | 'router' | 'services'>['hosts']['router'];
  /** Of workloads: any address of `workloadAddresses` may be theirs. */
  readonly inside: Sockets;
  /** Of the services. */
  readonly outside: Sockets;
  close(): Promise<void>;
}

/** The router's, towards the services. */
export const outwardInterface = 'services';

/** IPv6 has one loopback address, which is a service's and a SNAT address in the table. */
const loopback6 = '::1';
const service6 = '2001:db8:c::1';
const snat6 = '2001:db8:b::1';

export const addressNames: AddressNames = {
  inTable: (text) => text.replaceAll(service6, loopback6).replaceAll(snat6, loopback6).replaceAll(/\b10(?=\.[0-9]+\.[0-9]+\.[0-9]+)/g, '127'),
  inNetwork: (address) => (address === loopback6 ? service6 : address.replace(/^127\./, '10.')),
};

/** Manifests of the table as they are in the network. */
export const manifestsInNetwork = (manifests: string): string =>
  manifests
    .split(/^---$/m)
    .map((document) => document.replaceAll('"::1"', /^kind: ExternalService$/m.test(document) ? `"${service6}"` : `"${snat6}"`).replaceAll(/\b127(?=\.[0-9]+\.[0-9]+\.[0-9]+)/g, '10'))
    .join('---');

/** One of each family, for the `index`th workload. */
export const workloadAddresses = (index: number): { readonly ipv4: string; readonly ipv6: string } => ({ ipv4: `10.77.${index >> 8}.${index & 0xff}`, ipv6: `2001:db8:77::${index.toString(16)}` });

export async function startKernelNetwork(): Promise<KernelNetwork> {
  const services = witnessAddresses.map(addressNames.inNetwork).map((address) => `${address}/${address.includes(':') ? '128' : '32'}`);
  const network = makeNetwork({
    hosts: ['workloads', 'router', 'services'],
    links: [
      [{ host: 'workloads', addresses: ['10.255.1.2/24', '2001:db8:1::2/64'] }, { host: 'router', addresses: ['10.255.1.1/24', '2001:db8:1::1/64'] }],
      [{ host: 'router', addresses: ['10.255.2.1/24', '2001:db8:2::1/64'] }, { host: 'services', addresses: ['10.255.2.2/24', '2001:db8:2::2/64', ...services] }],
    ],
    routes: {
      workloads: ['local 10.77.0.0/16 dev lo', 'local 2001:db8:77::/64 dev lo', 'default via 10.255.1.1', 'default via 2001:db8:1::1'],
      router: ['10.77.0.0/16 via 10.255.1.2', '2001:db8:77::/64 via 2001:db8:1::2', 'default via 10.255.2.2', 'default via 2001:db8:2::2'],
      // Where nobody is somebody says so, as on loopback.
      services: [`local ${addressNames.inNetwork(deadAddress)} dev lo`, 'local 10.0.9.98 dev lo', 'default via 10.255.2.1', 'default via 2001:db8:2::1'],
    },
    routers: ['router'],
  });
  for (const host of Object.values(network.hosts)) await waitFor('addresses that nobody else has', 5_000, async () => ((await host.run('ip', ['-6', 'address', 'show', 'tentative'])).stdout === '' ? true : undefined));
  const [inside, outside] = [socketsOn(network.hosts.workloads), socketsOn(network.hosts.services)];
  for (const [host, setting] of [['router', 'net.ipv6.conf.all.forwarding=1'], ['workloads', 'net.ipv6.ip_nonlocal_bind=1']] as const) await network.hosts[host].run('sysctl', ['-qw', setting]);
  return {
    router: network.hosts.router,
    inside,
    outside,
    async close() {
      await Promise.all([inside.close(), outside.close()]);
      network.close();
    },
  };
}
