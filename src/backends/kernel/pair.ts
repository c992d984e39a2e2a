/**
 * Two routers that are one gateway: keepalived gives one of them the addresses, conntrackd tells the other about its connections, and the
 * table is in force before the network is up. Both enforce the same table (connections have the same marks), so that a connection goes on
 * at the other.
 *
 * - One VRRP instance for addresses of both families and both sides: they are never at different routers. It advertises the next hop of
 *   workloads only, since a router refuses advertisements with other addresses than its own, and SNAT addresses come and go with bindings.
 * - Advertisements and states go over a link between the routers that is nobody else's: whoever could send there could be the router in
 *   charge, or have connections let through that no grant allows.
 * - States are put into the other's kernel as they come, so that nothing has to be run when it takes over. What comes with no event is told
 *   every few seconds by the router in charge (`renderRetelling`): that a connection still lives, and by how much a rewritten PORT has shifted it.
 *
 * Source: docs/decisions/0832; keepalived.conf(5), "VRRP instance(s)"; RFC 9568 section 5.2.9; conntrackd.conf(5), "Mode FTFW"; conntrackd(8), "-R"
 * and "-B"; systemd.special(7), network-pre.target.
 */
import { familyOf, type IpAddress } from '../../core/ip-address.ts';
import { block, type Block } from './blocks.ts';
import { virtualServer, type FtpFarm } from './ftp-farm.ts';

/** From one router of a pair to the other, and nobody else. */
export interface PairLink {
  readonly interface: string;
  readonly own: IpAddress;
  /** Of the same family. */
  readonly peer: IpAddress;
}

/** A router of a pair: what the plan does not say. */
export interface PairMember {
  /** Takes over first where both begin at the same time; from then on whoever has the addresses keeps them. */
  readonly role: 'first' | 'second';
  readonly link: PairLink;
  /** The interface towards the workloads. */
  readonly inside: string;
  /** Where workloads send to; at least one, and the first of the family of the link's addresses. */
  readonly nextHops: readonly InterfaceAddress[];
  /** From 1 to 255, and of this pair alone on its link. */
  readonly virtualRouterId: number;
}

export interface InterfaceAddress {
  readonly address: IpAddress;
  readonly prefixLength: number;
}

const priorities = { first: 150, second: 100 } as const;
/** A router that is silent for three of them has gone. */
const advertisementSeconds = 0.2;
const conntrackdPort = 3780;
/** Less than any idle timeout that is of use: in the other's kernel a connection lives only so long without being told of. */
const retellingSeconds = 10;

/**
 * keepalived.conf of a router.
 * @param outside the interface towards the services, and the SNAT addresses that it is to have
 */
export function renderKeepalived(outside: { readonly interface: string; readonly addresses: readonly IpAddress[] }, { role, link, inside, nextHops, virtualRouterId }: PairMember, farm?: FtpFarm): string {
  const [advertised, ...others] = nextHops.map(({ address, prefixLength }) => `${address}/${prefixLength} dev ${inside}`);
  const snat = outside.addresses.map((address) => `${address}/${familyOf(address) === 'ipv4' ? 32 : 128} dev ${outside.interface}`);
  return text(
    block('global_defs', ['vrrp_version 3']),
    block('vrrp_instance sallyport', [
      'state BACKUP', // nopreempt asks for it, of both
      'nopreempt',
      `priority ${priorities[role]}`,
      `interface ${link.interface}`,
      `virtual_router_id ${virtualRouterId}`,
      `advert_int ${advertisementSeconds}`,
      `unicast_src_ip ${link.own}`,
      block('unicast_peer', [link.peer]),
      'check_unicast_src',
      'dont_track_primary', // a direct cable has no carrier once the other router is without power
      block('track_interface', [inside, outside.interface]),
      block('virtual_ipaddress', [advertised!]),
      block('virtual_ipaddress_excluded', [...others, ...snat]),
    ]),
    ...(farm === undefined ? [] : [virtualServer(farm)]),
  );
}

/** conntrackd.conf of a router. */
export function renderConntrackd({ interface: name, own, peer }: PairLink): string {
  const version = familyOf(own) === 'ipv4' ? 'IPv4' : 'IPv6';
  return text(
    block('Sync', [
      block('Mode FTFW', ['DisableExternalCache yes', 'StartupResync yes']),
      block('UDP', [`${version}_address ${own}`, `${version}_Destination_Address ${peer}`, `Port ${conntrackdPort}`, `Interface ${name}`, 'Checksum on']),
      block('Options', [block('ExpectationSync', ['ftp'])]),
    ]),
    block('General', [
      'HashSize 32768',
      'HashLimit 1048576',
      'Syslog yes',
      'LockFile /run/lock/conntrackd.lock',
      block('UNIX', ['Path /run/conntrackd.ctl']),
      'NetlinkBufferSize 2097152',
      'NetlinkBufferSizeMaxGrowth 8388608',
      block('Filter From Userspace', [
        block('Protocol Accept', ['TCP', 'UDP']),
        block('Address Ignore', ['IPv4_address 127.0.0.1', 'IPv6_address ::1', `${version}_address ${own}`, `${version}_address ${peer}`]), // of what it says itself it would say again
      ]),
    ]),
  );
}

/** A unit of systemd that loads the table of a gateway from a file at each start of the router. */
export function renderUnit(gateway: string): string {
  const load = `/usr/sbin/nft --file ${rulesetFile(gateway)}`;
  return `[Unit]
Description=Sallyport's table of gateway ${gateway}
Documentation=man:nft(8)
DefaultDependencies=no
RequiresMountsFor=/etc/sallyport
# nftables.service begins by removing every table.
After=systemd-modules-load.service nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

# Stopping it leaves the table: without it the router forwards whatever comes.
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=${load}
ExecReload=${load}

[Install]
WantedBy=sysinit.target
`;
}

/** A unit of systemd that has whichever router is in charge, which has the next hop, tell the other of all connections anew. */
export function renderRetelling(nextHop: IpAddress): string {
  return `[Unit]
Description=All connections of Sallyport's pair are told to the other router
After=conntrackd.service

# Never by the other router: what it knows is older, and would be put in the place of what is.
[Service]
ExecStart=/bin/sh -c 'while sleep ${retellingSeconds}; do ip -oneline address show to ${nextHop} | grep -q . && conntrackd -R && conntrackd -B; done'

[Install]
WantedBy=multi-user.target
`;
}

/** Where the unit finds the rendered table. */
export const rulesetFile = (gateway: string): string => `/etc/sallyport/${gateway}.nft`;

const text = (...blocks: readonly Block[]): string => blocks.map((each) => `${each.join('\n')}\n`).join('\n');
