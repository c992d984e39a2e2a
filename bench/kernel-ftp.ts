/**
 * The kernel's own way beside Sallyport's: a client, a router and an FTP server are hosts of their own (network namespaces joined by
 * veth; needs root), and the same client goes there in turns
 *
 *   routed     by a router that passes packets on;
 *   nat        by one with a firewall that drops what is new, SNAT, and nf_conntrack_ftp with nf_nat_ftp to let data connections through;
 *   sallyport  by an agent beside the client and a gateway on the router.
 *
 *   node bench/kernel-ftp.ts [--rounds 5] [--vsftpd PATH] [--nft PATH]
 *
 * The kernel decides by addresses, encrypts nothing and records nothing: it is there for scale.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { gateway, serviceManifests, snatAddressesIn, startTestDeployment, type TestDeployment } from '../test/support/deployment.ts';
import { makeNetwork, type Network } from '../test/support/network-namespaces.ts';
import { nftablesOf } from '../test/support/nftables.ts';
import { startVsftpd } from '../test/support/vsftpd.ts';
import { measureBulk, measureFiles, writeFiles, type Place } from './ftp/operations.ts';
import { inTurns, print, type Figures } from './ftp/turns.ts';

const { values: options } = parseArgs({ options: { as: { type: 'string' }, rounds: { type: 'string', default: '5' }, vsftpd: { type: 'string', default: '/usr/sbin/vsftpd' }, nft: { type: 'string', default: '/usr/sbin/nft' } } });
const rounds = Number(options.rounds);

const ways = ['routed', 'nat', 'sallyport'] as const;
type Way = (typeof ways)[number];
type Host = 'client' | 'router' | 'server';

const clientAddress = '192.0.2.2';
const routerAddress = '192.0.2.1';
const snatNetwork = '198.51.100';
const natAddress = `${snatNetwork}.1`;
/** One server, at an address for each way by the router, which thus knows which it is to be. */
const serverAddresses = { routed: '198.51.100.100', nat: '198.51.100.101' } as const;

const rules = `
table ip nat {
  counter control { }
  counter data { }
  ct helper ftp { type "ftp" protocol tcp; }
  chain arriving {
    type filter hook prerouting priority filter; policy accept;
    ip daddr ${serverAddresses.nat} tcp dport 21 ct helper set "ftp"
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ip daddr ${serverAddresses.routed} accept
    ip saddr ${serverAddresses.routed} accept
    ct state established accept
    ct state related counter name data accept
    ip saddr ${clientAddress} ip daddr ${serverAddresses.nat} tcp dport 21 ct state new accept
  }
  chain leaving {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr ${clientAddress} ip daddr ${serverAddresses.nat} counter name control snat to ${natAddress}
  }
  chain untracked {
    type filter hook prerouting priority raw; policy accept;
    ip daddr ${serverAddresses.routed} notrack
    ip saddr ${serverAddresses.routed} notrack
  }
}`;

function startNetwork(): Network<Host> {
  return makeNetwork<Host>({
    hosts: ['client', 'router', 'server'],
    links: [
      [{ host: 'client', addresses: [`${clientAddress}/24`] }, { host: 'router', addresses: [`${routerAddress}/24`] }],
      [{ host: 'router', addresses: [`${natAddress}/24`, ...Object.values(snatAddressesIn(snatNetwork)).map((address) => `${address}/32`)] }, { host: 'server', addresses: Object.values(serverAddresses).map((address) => `${address}/24`) }],
    ],
    routes: { client: [`${snatNetwork}.0/24 via ${routerAddress}`], server: [`192.0.2.0/24 via ${natAddress}`] },
    routers: ['router'],
  });
}

function startSallyport({ hosts }: Network<Host>): Promise<TestDeployment> {
  const hostOf = (name: string) => hosts[name === 'productpage' ? 'client' : 'router'];
  return startTestDeployment({
    agents: ['productpage'],
    meshAddress: routerAddress,
    snatNetwork,
    hosts: { enter: (name) => hostOf(name).enter, fetch: (name, url, timeoutMs) => hostOf(name).fetch(url, timeoutMs) },
    manifests: serviceManifests({ name: 'partner', protocol: 'FTP', addresses: [serverAddresses.routed], port: 21, targetPort: 21, allowed: ['productpage'] }),
  });
}

/** A process on the client's host does what is measured, and prints it. */
async function measureFrom({ enter: [program, ...args] }: Network<Host>['hosts']['client'], places: Readonly<Record<Way, Place>>): Promise<void> {
  const client = fork(import.meta.filename, ['--as', 'client', '--rounds', options.rounds], { execPath: program, execArgv: [...args, process.execPath] });
  client.send(places);
  const [status] = (await once(client, 'exit')) as [number | null];
  if (status !== 0) throw new Error(`the client has ended with ${status}`);
}

async function runClient(): Promise<void> {
  const [places] = (await once(process, 'message')) as [Readonly<Record<Way, Place>>];
  const figures: Figures<Way> = new Map();
  for (const measure of [measureBulk, measureFiles]) await inTurns(figures, { rounds, places, measure });
  print(figures, ways, rounds);
  process.disconnect();
}

async function run(): Promise<void> {
  const closing: (() => unknown)[] = [];
  try {
    const network = startNetwork();
    closing.push(network.close);
    const router = nftablesOf(options.nft, network.hosts.router);
    await router.load(rules);
    const vsftpd = await startVsftpd(options.vsftpd, { max_clients: '0', max_per_ip: '0', log_ftp_protocol: 'NO', xferlog_enable: 'NO', one_process_model: 'YES', no_anon_password: 'NO' }, { address: '0.0.0.0', port: 21, enter: network.hosts.server.enter });
    closing.push(vsftpd.stop);
    await writeFiles(vsftpd.directory);
    const sallyport = await startSallyport(network);
    closing.push(sallyport.close);
    await measureFrom(network.hosts.client, {
      routed: { host: serverAddresses.routed, port: 21, pids: [] },
      nat: { host: serverAddresses.nat, port: 21, pids: [] },
      sallyport: { host: sallyport.agentAddress('productpage'), port: 21, pids: ['productpage', gateway].map(sallyport.pid) },
    });
    const { counters } = await router.counts();
    if (Object.values(counters).includes(0)) throw new Error(`what was measured was not NAT: ${JSON.stringify(counters)}`);
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

if (options.as === 'client') await runClient();
else await run();
