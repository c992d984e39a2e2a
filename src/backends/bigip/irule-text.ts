/**
 * The one iRule of a partition: who comes, by a walk through the certificate's DER; whether it may, by the data groups; from where, by a
 * SNAT pool; and a line of it all for the ledger. It is the same whatever the plan says (docs/decisions/0801).
 *
 * - Nothing goes upstream before the decision: the virtual servers have no pool, and `pool` is said in CLIENTSSL_HANDSHAKE only, before
 *   which a client-SSL profile passes nothing on. So whoever speaks first upstream is heard by nobody who is refused.
 * - Whatever goes wrong in the reading of a certificate is a refusal, and a Tcl error anywhere else resets the connection ("Tcl error
 *   handling" of the iRules reference).
 * - iRules are Tcl 8.4.6 less what F5 has taken away ("Disabled Tcl commands"): no `dict`, `lassign`, `{*}`, `in`; procs are called by `call`.
 *
 * Source, beside RFC 5280 and the SPIFFE standards as in src/core/x509: the iRules reference (clouddocs.f5.com/api/irules), by the name of
 * each event and command; RFC 5424 and RFC 6587 3.4.1 for the lines.
 */
import { certificateProcs } from './irule-certificate.ts';
import { derProcs } from './irule-der.ts';
import { fixedNames, pathOf } from './names.ts';

/** How often a connection that lives looks whether the plan is still the same: revoked ones end within a second. */
const watchEveryMs = 500;

export interface IruleOptions {
  readonly partition: string;
  /** Whether there is a log publisher. It must pass on what it is given as it stands, over TCP: the lines are framed already. */
  readonly logs: boolean;
}

/** The iRule, as text. */
export function iruleText({ partition, logs }: IruleOptions): string {
  const path = (name: string): string => pathOf(partition, name);
  return [lookUpProcs(path), derProcs, certificateProcs, logProcs(logs ? path(fixedNames.logPublisher) : null), events].map((part) => part.trim()).join('\n\n') + '\n';
}

const lookUpProcs = (path: (name: string) => string): string => String.raw`
# Sallyport. Written by "sallyport render bigip"; what it decides by are the data groups beside it.

proc setting { name } {
    return [class match -value -- $name equals ${path(fixedNames.settings)}]
}

# "SERVICE POOL", or nothing.
proc service_at { place } {
    return [class match -value -- $place equals ${path(fixedNames.services)}]
}

# "SNAT-POOL POLICIES", or "- POLICIES REASON", or nothing: that of the service account, else its namespace's.
proc grant_of { service namespace account } {
    set grant [class match -value -- "$service $namespace/$account" equals ${path(fixedNames.grants)}]
    if { $grant ne "" } { return $grant }
    return [class match -value -- "$service $namespace" equals ${path(fixedNames.grants)}]
}

proc is_revoked { serial } {
    return [expr { [class match -value -- $serial equals ${path(fixedNames.revoked)}] ne "" }]
}

# Why a connection that was let out is so no longer; nothing where it still is. The target is an address and a port, or nothing.
proc withdrawal { serial place service pool namespace account snatpool target } {
    if { [call is_revoked $serial] } { return certificate-revoked }
    if { [call service_at $place] ne "$service $pool" } { return policy-revoked }
    if { [lindex [split [call grant_of $service $namespace $account] " "] 0] ne $snatpool } { return policy-revoked }
    if { $target ne "" && [lsearch -exact [members -list $pool] $target] == -1 } { return target-removed }
    return ""
}
`;

const logProcs = (publisher: string | null): string => String.raw`
# Text of a peer as JSON: printable ASCII, whatever it says.
proc json { text } {
    set quoted ""
    foreach character [split $text ""] {
        scan $character %c code
        if { $code < 0x20 || $code > 0x7e || $code == 0x22 || $code == 0x5c } {
            append quoted [format {\u%04x} $code]
        } else {
            append quoted $character
        }
    }
    return "\"$quoted\""
}
proc json_or_null { text } {
    if { $text eq "" } { return null }
    return [call json $text]
}

# Without a route domain.
proc bare { address } {
    return [lindex [split $address %] 0]
}
proc endpoint { address port } {
    set address [call bare $address]
    if { [string first : $address] >= 0 } { return "\[$address\]:$port" }
    return "$address:$port"
}

# One line, its length before it.
proc tell { type fields } {
${publisher === null ? '' : String.raw`    set now [clock clicks -milliseconds]
    set time "[clock format [expr { $now / 1000 }] -format %Y-%m-%dT%H:%M:%S -gmt 1].[format %03d [expr { $now % 1000 }]]Z"
    set line "<134>1 $time [info hostname] sallyport - $type - {$fields}"
    HSL::send [HSL::open -publisher ${publisher}] "[string length $line] $line"
`}}

# What all lines of a connection have in common. Policies are joined by commas.
proc common_fields { id revision client identity service policies } {
    set quoted {}
    foreach policy [split $policies ,] { lappend quoted [call json $policy] }
    return "\"connectionId\":[call json $id],\"revision\":[call json_or_null $revision],\"client\":[call json $client],\"spiffeId\":[call json_or_null $identity],\"service\":[call json_or_null $service],\"policies\":\[[join $quoted ,]\]"
}
`;

const events = String.raw`
# Of a connection: "handshake", then "allowed" and "open", or "over" once its last line is written.
when CLIENT_ACCEPTED {
    set phase handshake
    set client [call endpoint [IP::client_addr] [TCP::client_port]]
    set place "listener:[call bare [IP::local_addr]]:[TCP::local_port]"
    binary scan [md5 "$client $place [clock clicks] [expr { rand() }]"] H32 id
    set server_name ""
    set chain_code ""
    set target ""
}

when CLIENTSSL_CLIENTHELLO {
    if { $phase eq "handshake" && [SSL::extensions exists -type 0] } { set server_name [call host_name [SSL::extensions -type 0]] }
}

# The verdict upon the chain, for the record: with it the profile refuses by itself, and CLIENTSSL_HANDSHAKE does not come.
when CLIENTSSL_CLIENTCERT {
    if { $phase ne "handshake" } { return }
    set chain_code missing
    if { [SSL::cert count] > 0 } {
        set chain_code [SSL::verify_result]
        if { [catch { lindex [call svid_of_pem [X509::whole [SSL::cert 0]]] 0 } claimed] } { set claimed "" }
    }
}

# Also where a session is resumed, which the profile does not offer: who shows no certificate is refused.
when CLIENTSSL_HANDSHAKE {
    if { $phase ne "handshake" } {
        reject
        return
    }
    set revision [call setting revision]
    set found [call service_at $place]
    if { $found eq "" && $server_name ne "" } {
        set place $server_name
        set found [call service_at $place]
    }
    foreach { service pool } [list "" ""] break
    foreach { service pool } [split $found " "] break
    foreach { identity serial snatpool policies reason } [list "" "" "" "" ""] break
    if { [SSL::cert count] == 0 } {
        set reason certificate-missing
    } elseif { [catch { call svid_of_pem [X509::whole [SSL::cert 0]] } shown] } {
        set reason certificate-invalid
    } else {
        foreach { identity serial } $shown break
        if { [call is_revoked $serial] } { set reason certificate-revoked }
    }
    if { $reason ne "certificate-missing" && [SSL::verify_result] != 0 } { set reason [call chain_fault [SSL::verify_result]] }
    if { $reason eq "" } {
        if { [lindex [split $identity /] 2] ne [call setting trust-domain] } {
            set reason trust-domain-mismatch
        } elseif { ![regexp {^spiffe://[^/]+/ns/([^/]+)/sa/([^/]+)$} $identity whole namespace account] } {
            set reason not-a-workload
        } elseif { $service eq "" } {
            set reason no-such-service
        } elseif { $pool eq "-" } {
            set reason no-gateway
        } else {
            foreach { snatpool policies reason } [split [call grant_of $service $namespace $account] " "] break
            if { $snatpool eq "" } {
                set reason no-policy
            } elseif { $snatpool ne "-" && [catch { snatpool $snatpool; pool $pool }] } {
                # The data groups are ahead of the objects that they name.
                set reason no-gateway
            }
        }
    }
    set common [call common_fields $id $revision $client $identity $service $policies]
    if { $reason ne "" } {
        set phase over
        call tell connection-denied "$common,\"reason\":[call json $reason],\"target\":[call json $server_name]"
        reject
        return
    }
    set phase allowed
    set checked $revision
    set watch [after ${watchEveryMs} -periodic {
        if { [call setting revision] ne $checked || [call is_revoked $serial] } {
            set checked [call setting revision]
            set reason [call withdrawal $serial $place $service $pool $namespace $account $snatpool $target]
            if { $reason ne "" } {
                if { $phase eq "open" } {
                    call tell connection-closed "$common,$ends,\"reason\":[call json $reason],\"bytesSent\":[serverside { IP::stats bytes out }],\"bytesReceived\":[serverside { IP::stats bytes in }],\"durationMs\":[expr { [clock clicks -milliseconds] - $opened }]"
                } else {
                    call tell connection-denied "$common,\"reason\":[call json $reason]"
                }
                set phase over
                reject
            }
        }
    }]
}

# "local" is here what the server sees, "remote" the server.
when SERVER_CONNECTED {
    if { $phase ne "allowed" } {
        reject
        return
    }
    set phase open
    set opened [clock clicks -milliseconds]
    set target [list [IP::remote_addr] [TCP::remote_port]]
    set ends "\"snatAddress\":[call json [call bare [IP::local_addr]]],\"snatPort\":[TCP::local_port],\"target\":[call json [call endpoint [IP::remote_addr] [TCP::remote_port]]]"
    call tell connection-opened "$common,$ends"
}

when LB_FAILED {
    if { $phase eq "allowed" } {
        set phase over
        call tell connection-denied "$common,\"reason\":\"connect-failed\""
        reject
    }
}

when SERVER_CLOSED {
    if { $phase eq "open" } {
        set phase over
        call tell connection-closed "$common,$ends,\"reason\":\"finished\",\"bytesSent\":[IP::stats bytes out],\"bytesReceived\":[IP::stats bytes in],\"durationMs\":[expr { [clock clicks -milliseconds] - $opened }]"
    }
}

when CLIENT_CLOSED {
    if { [info exists watch] } { after cancel $watch }
    if { $phase eq "allowed" } {
        call tell connection-denied "$common,\"reason\":\"client-closed\""
    } elseif { $phase eq "handshake" } {
        foreach { identity reason } [list "" handshake-failed] break
        if { $chain_code eq "missing" } {
            set reason certificate-missing
        } elseif { $chain_code ne "" } {
            set identity $claimed
            if { [call chain_fault $chain_code] ne "" } { set reason [call chain_fault $chain_code] }
        }
        set service ""
        foreach { service pool } [split [call service_at $place] " "] break
        if { $service eq "" && $server_name ne "" } { foreach { service pool } [split [call service_at $server_name] " "] break }
        call tell connection-denied "[call common_fields $id [call setting revision] $client $identity $service ""],\"reason\":[call json $reason],\"target\":[call json $server_name]"
    }
    set phase over
}
`;
