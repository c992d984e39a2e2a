/** What the host has to have, looked at before anything is changed. */
import { SallyportError } from '../core/errors.ts';
import type { RunProgram } from './run-program.ts';

const debianPackages = { nft: 'nftables', ip: 'iproute2', conntrack: 'conntrack', setpriv: 'util-linux', sysctl: 'procps' } as const;

interface Feature {
  /** As the end of a sentence. */
  readonly what: string;
  readonly needs: string;
  /** What the kernel and nft take where they have it: it is checked, and not put in force. */
  readonly probe: string;
}

const features: readonly Feature[] = [
  { what: 'NAT in tables of family inet', needs: 'Linux 5.2 with nft_nat', probe: 'chain probe { type nat hook postrouting priority srcnat; meta l4proto tcp snat ip to 192.0.2.1:1024-65535; }' },
  { what: 'source NAT by a map to addresses with ranges of ports', needs: 'nftables 1.0.0 and Linux 5.12', probe: 'map probe { type mark : interval ipv4_addr . inet_service; }\nchain to { type nat hook postrouting priority srcnat; meta l4proto tcp snat ip to ct mark map @probe; }' },
  { what: 'the source of a connection in a set together with its mark', needs: 'nftables 0.9.4 and Linux 4.17', probe: 'set probe { type ipv4_addr . mark; }\nchain in { ct original ip saddr . ct mark @probe; }' },
  { what: 'the helper for FTP', needs: 'the modules nf_conntrack_ftp and nf_nat_ftp', probe: 'ct helper probe { type "ftp" protocol tcp; }' },
  { what: 'timeouts of connections', needs: 'Linux 4.19 with nf_conntrack_timeout', probe: 'ct timeout probe { protocol tcp; policy = { established : 60 }; }' },
  { what: 'limits of connections', needs: 'Linux 4.18 with nft_connlimit', probe: 'set probe { type mark; size 16; flags dynamic; }\nchain count { add @probe { ct mark ct count over 1 } drop; }' },
  { what: 'sets that packets fill', needs: 'nftables 0.9.4 and Linux 5.6', probe: 'set noted { type mark . ipv4_addr . inet_service . ipv4_addr . inet_service; size 16; flags dynamic,timeout; timeout 1s; }\nset counted { type mark; size 16; flags dynamic; }\nchain note { meta l4proto tcp add @noted { ct mark . ip saddr . th sport . ip daddr . th dport } drop; add @counted { ct mark counter }; }' },
  { what: 'logging to a group', needs: 'nft_log and nfnetlink_log', probe: 'chain tell { log group 1 snaplen 128; }' },
  { what: 'refusing by reset', needs: 'nft_reject_inet', probe: 'chain refuse { meta l4proto tcp reject with tcp reset; }' },
];

/** Throws `kernel-unable`, naming everything that is missing. */
export async function checkRequirements(run: RunProgram): Promise<void> {
  const programs = await missing(Object.keys(debianPackages) as readonly (keyof typeof debianPackages)[], async (program) => (await run(program, ['-V']).catch(() => undefined)) !== undefined);
  if (programs.length > 0) throw new SallyportError('kernel-unable', `this host has no ${programs.join(', ')}`, { hint: `apt-get install ${programs.map((program) => debianPackages[program]).join(' ')}` });
  const lacking = await missing(features, async ({ probe }) => (await run('nft', ['--check', '--file', '-'], `table inet sallyport_probe {\n${probe}\n}\n`)).status === 0);
  if (lacking.length === 0) return;
  const { stdout: version } = await run('nft', ['--version']);
  throw new SallyportError('kernel-unable', `this host, with ${version.trim()}, lacks ${lacking.map(({ what, needs }) => `${what} (needs ${needs})`).join(', ')}`, { hint: 'run it as root with Debian 12 or later, and load the modules' });
}

async function missing<Thing>(things: readonly Thing[], isThere: (thing: Thing) => Promise<boolean>): Promise<readonly Thing[]> {
  const there = await Promise.all(things.map(isThere));
  return things.filter((_, index) => !there[index]!);
}
