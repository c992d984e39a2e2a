/**
 * FTP servers behind a pair, reached at one address: a session's control and data connections have to come to the same server. All of its
 * ports have one mark, and what has it is balanced by the client's address alone: by IPVS, or by nftables, which asks no server whether it
 * is there. No grant is asked for them: it is beside the gateway, for clients and servers that are not at its interface towards the services.
 *
 * No helper reads the dialogue, so that encrypted ones work too; servers therefore name the farm's address in their answers to PASV, and
 * keep to its passive ports.
 *
 * Source: ipvsadm(8), "--fwmark-service" and "--persistent"; keepalived.conf(5), "Virtual server(s)"; nft(8), "HASH EXPRESSIONS".
 */
import { familyOf, type IpAddress } from '../../core/ip-address.ts';
import type { PortRange } from '../../core/plan/plan.ts';
import { block, type Block } from './blocks.ts';

export interface FtpFarm {
  /** What clients connect to. */
  readonly address: IpAddress;
  /** At least one, of the family of the address. */
  readonly servers: readonly IpAddress[];
  readonly passivePorts: PortRange;
  /** Whether IPVS balances; the table only marks then. */
  readonly ipvs: boolean;
}

/** Of packets, and by custom that of FTP's control port. */
const farmMark = 21;
const controlPort = 21;
/** Where active servers connect from. */
const dataPort = 20;
/** A client without connections comes to the same server for so long. */
const persistenceSeconds = 300;
/** Any but 0, by which each router would choose servers in its own way. */
const hashSeed = 21;

/** The table that marks, and without IPVS balances: beside that of the gateway, for `nft -f`. */
export function renderFtpFarm({ address, servers, passivePorts: { first, last }, ipvs }: FtpFarm): string {
  const ip = familyOf(address) === 'ipv4' ? 'ip' : 'ip6';
  const choices = servers.map((server, index) => `${index} : ${server}`).join(', ');
  const chain = (name: string, hook: string, rule: string): Block => block(`chain ${name}`, [`type ${hook}; policy accept;`, rule]);
  const table = block('table inet sallyport_ftp_farm', [
    chain('marking', 'filter hook prerouting priority mangle', `${ip} daddr ${address} tcp dport { ${controlPort}, ${first}-${last} } meta mark set ${farmMark}`),
    ...(ipvs ? [] : [chain('balancing', 'nat hook prerouting priority dstnat', `meta mark ${farmMark} dnat ${ip} to jhash ${ip} saddr mod ${servers.length} seed ${hashSeed} map { ${choices} }`)]),
    chain('answering', 'nat hook postrouting priority srcnat', `${ip} saddr { ${servers.join(', ')} } tcp sport ${dataPort} snat ${ip} to ${address}`),
  ]);
  return ['table inet sallyport_ftp_farm', 'delete table inet sallyport_ftp_farm', ...table, ''].join('\n');
}

/** The virtual server of keepalived that balances by IPVS what the table has marked. */
export function virtualServer({ address, servers }: FtpFarm): Block {
  return block(`virtual_server fwmark ${farmMark}`, [
    `ip_family ${familyOf(address) === 'ipv4' ? 'inet' : 'inet6'}`,
    'lb_algo wlc',
    'lb_kind NAT',
    `persistence_timeout ${persistenceSeconds}`,
    'delay_loop 5',
    ...servers.map((server) => block(`real_server ${server}`, [block('TCP_CHECK', [`connect_port ${controlPort}`, 'connect_timeout 3'])])),
  ]);
}
