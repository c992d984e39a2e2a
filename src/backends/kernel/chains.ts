/**
 * The chains of the table: the same for every plan, since whom and what they ask is in its sets.
 *
 *     workload ─▶ leaving: who has this address, may it go there ─▶ mark of the grant ─▶ postrouting: SNAT by the mark ─▶ service
 *     service ─▶ prerouting: reverse, DNAT by service, SNAT address and port ─▶ arriving: what belongs to a grant in force ─▶ workload
 *
 * - What is forwarded through the gateway's interface, either way, passes only by a grant in force; nothing else of this host is looked at
 *   but what is opened from there to its SNAT addresses.
 * - A connection is decided at its first packet, and has its grant's mark from then on, its data connections of FTP too. Each packet is held
 *   against what is in force, workload, mark and service (`live`), so that a transaction that takes one of these away has cut the connection.
 * - An identity's mark is in a connection's only while the rules decide: it is how one look-up is the key of the next.
 *
 * Source: docs/decisions/0830; nft(8), "CONNTRACK EXPRESSIONS", "NAT STATEMENTS", "STATEFUL OBJECTS";
 * https://wiki.nftables.org/wiki-nftables/index.php/Conntrack_helpers
 */
import type { ConnectionReason } from '../../core/ledger-record.ts';
import type { DenyReason, Revision } from '../../core/plan/plan.ts';
import { denialChains, denialSets, isNoted, noteVerdict } from './denial-sets.ts';

/** What differs between gateways. */
export interface ChainSettings {
  /** Towards the services. */
  readonly interface: string;
  readonly connectionsPerIdentity: number;
  readonly udpFlowsPerIdentity: number;
  readonly idleTimeoutSeconds: number;
  readonly udpIdleTimeoutSeconds: number;
}

/** Whom `nflog` tells: each line's prefix is `sallyport REVISION WHAT: `, with the revision's first characters, and a reason or `connection-opened`. */
export const logGroup = 2121;
export const revisionCharacters = 12;

const refusals = {
  'not-a-workload': 'refuse_unknown',
  'no-such-service': 'refuse_no_service',
  'no-policy': 'refuse_no_policy',
  'no-snat-binding': 'refuse_no_binding',
  'snat-family-mismatch': 'refuse_family',
  'limit-exceeded': 'refuse_limit',
  'policy-revoked': 'refuse_ended',
  'reverse-source-refused': 'refuse_inbound',
} as const satisfies Partial<Record<DenyReason | ConnectionReason, string>>;
export type RefusalReason = keyof typeof refusals;

/** The verdict that refuses, logged with its reason, and noted for the ledger. */
export const refusalVerdict = (reason: RefusalReason): string => `goto ${refusals[reason]}`;

/** What nobody of this table has elements for: limits count by identity. The size is that of the set's index, not memory taken. */
const identitiesMax = 1_000_000;
/** Of a packet in the log: its headers. */
const loggedBytes = 128;

/** What the rules refer to beside sets of elements. */
export function stateObjects({ idleTimeoutSeconds, udpIdleTimeoutSeconds }: ChainSettings): string {
  return `  ct helper ftp {
    type "ftp" protocol tcp
  }
  ct timeout tcp_idle {
    protocol tcp
    policy = { established : ${idleTimeoutSeconds} }
  }
  ct timeout udp_idle {
    protocol udp
    policy = { unreplied : ${udpIdleTimeoutSeconds}, replied : ${udpIdleTimeoutSeconds} }
  }
  set connections {
    type mark
    size ${identitiesMax}
    flags dynamic
  }
  set flows {
    type mark
    size ${identitiesMax}
    flags dynamic
  }
${denialSets}`;
}

export function chains(settings: ChainSettings): string {
  const outside = `"${settings.interface}"`;
  return `  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname ${outside} ct mark set ip saddr . ip daddr . tcp dport map @reverse_grants4
    iifname ${outside} ct mark set ip6 saddr . ip6 daddr . tcp dport map @reverse_grants6
    iifname ${outside} dnat ip to ip saddr . ip daddr . tcp dport map @reverse4
    iifname ${outside} dnat ip6 to ip6 saddr . ip6 daddr . tcp dport map @reverse6
  }
  chain input {
    type filter hook input priority filter; policy accept;
    iifname ${outside} ct state established,related accept
    iifname ${outside} meta l4proto { tcp, udp } ip daddr @addresses4 ${refusalVerdict('reverse-source-refused')}
    iifname ${outside} meta l4proto { tcp, udp } ip6 daddr @addresses6 ${refusalVerdict('reverse-source-refused')}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname ${outside} goto arriving
    oifname ${outside} goto leaving
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname ${outside} meta l4proto { tcp, udp } snat ip to ct mark map @sources4
    oifname ${outside} meta l4proto { tcp, udp } snat ip6 to ct mark map @sources6
  }
  chain opened {
    type filter hook postrouting priority srcnat + 10; policy accept;
    ct status confirmed accept
    ct mark @sources4 goto log_opened
    ct mark @sources6 goto log_opened
  }
  chain arriving {
    jump carry
    ct state invalid drop
    ct status confirmed ${refusalVerdict('policy-revoked')}
    ${refusalVerdict('reverse-source-refused')}
  }
  chain leaving {
    jump carry
    ct state invalid drop
    ct status confirmed ${refusalVerdict('policy-revoked')}
    meta l4proto tcp tcp flags & (fin | syn | rst | ack) != syn ${refusalVerdict('policy-revoked')}
    ct mark set 0
    ct mark set ip saddr map @identities4
    ct mark set ip6 saddr map @identities6
    ct mark 0 ${refusalVerdict('not-a-workload')}
    ct mark . ip daddr . meta l4proto . th dport @access4 goto admit
    ct mark . ip6 daddr . meta l4proto . th dport @access6 goto admit
    ct mark . ip daddr . meta l4proto . th dport vmap @refusals4
    ct mark . ip6 daddr . meta l4proto . th dport vmap @refusals6
    ip daddr . meta l4proto . th dport @services4 ${refusalVerdict('no-policy')}
    ip6 daddr . meta l4proto . th dport @services6 ${refusalVerdict('no-policy')}
    ${refusalVerdict('no-such-service')}
  }
  chain carry {
    ct original ip saddr . ct mark . ct original ip daddr @live4 ct mark @grants accept
    ct original ip6 saddr . ct mark . ct original ip6 daddr @live6 ct mark @grants accept
    ct reply ip saddr . ct mark . ct original ip saddr @live4 ct mark @grants accept
    ct reply ip6 saddr . ct mark . ct original ip6 saddr @live6 ct mark @grants accept
  }
  chain admit {
    meta l4proto tcp add @connections { ct mark ct count over ${settings.connectionsPerIdentity} } ${refusalVerdict('limit-exceeded')}
    meta l4proto udp add @flows { ct mark ct count over ${settings.udpFlowsPerIdentity} } ${refusalVerdict('limit-exceeded')}
    ct mark set ct mark . ip daddr . meta l4proto . th dport map @access4
    ct mark set ct mark . ip6 daddr . meta l4proto . th dport map @access6
    ct mark @ftp ct helper set "ftp"
    meta l4proto tcp ct mark != @ftp ct timeout set "tcp_idle"
    meta l4proto udp ct timeout set "udp_idle"
    ct mark @grants accept
    ${refusalVerdict('policy-revoked')}
  }
  chain turn_away {
    meta l4proto tcp reject with tcp reset
    reject with icmpx admin-prohibited
  }
${denialChains}`;
}

/** Those with the revision in them. */
export function revisionedChains(revision: Revision): Readonly<Record<string, readonly string[]>> {
  const log = (what: string): string => `log prefix "sallyport ${revision.slice(0, revisionCharacters)} ${what}: " group ${logGroup} snaplen ${loggedBytes}`;
  return {
    log_opened: [log('connection-opened')],
    ...Object.fromEntries(Object.entries(refusals).map(([reason, name]) => [name, [log(reason), isNoted(reason) ? noteVerdict(reason) : 'goto turn_away']])),
  };
}
