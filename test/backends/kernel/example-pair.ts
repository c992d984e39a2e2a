import type { FtpFarm, PairMember } from '../../../src/backends/kernel/index.ts';
import { parseAddress, type IpAddress } from '../../../src/core/ip-address.ts';

const address = (text: string): IpAddress => parseAddress(text)!;

/** A router of a pair whose interfaces are named after what they lead to. */
export const exampleMember: PairMember = {
  role: 'first',
  link: { interface: 'other', own: address('10.9.0.2'), peer: address('10.9.0.3') },
  inside: 'pods',
  nextHops: [{ address: address('10.1.0.1'), prefixLength: 24 }, { address: address('2001:db8:2::1'), prefixLength: 64 }],
  virtualRouterId: 51,
};

/** As `exampleMember`, over IPv6 alone. */
export const exampleMember6: PairMember = {
  ...exampleMember,
  role: 'second',
  link: { interface: 'other', own: address('fd00::3'), peer: address('fd00::2') },
  nextHops: [{ address: address('2001:db8:2::1'), prefixLength: 64 }],
};

export const exampleOutside = { interface: 'partner', addresses: [address('203.0.113.8'), address('2001:db8:1::8')] };

export const exampleFarm: FtpFarm = { address: address('10.1.0.21'), servers: [address('10.2.0.2'), address('10.2.0.3')], passivePorts: { first: 10_000, last: 20_000 }, ipvs: false };
export const exampleFarm6: FtpFarm = { ...exampleFarm, address: address('2001:db8:2::21'), servers: [address('2001:db8:3::2'), address('2001:db8:3::3')] };
