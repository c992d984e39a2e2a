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

# "SNAT-POOL POLICIES", or nothing: that of the service account, else its namespace's.
proc grant_of { service namespace account } {
    set grant [class match -value -- "$service $namespace/$account" equals ${path(fixedNames.grants)}]
    if { $grant ne "" } { return $grant }
    return [class match -value -- "$service $namespace" equals ${path(fixedNames.grants)}]
}

# Why a connection that was let out is so no longer; nothing where it still is. The target is an address and a port, or nothing.
proc withdrawal { place service pool namespace account snatpool target } {
    if { [call service_at $place] ne "$service $pool" } { return policy-revoked }
    if { [lindex [split [call grant_of $service $namespace $account] " "] 0] ne $snatpool } { return policy-revoked }
    if { $target ne "" && [lsearch -exact [members -list $pool] $target] == -1 } { return target-removed }
    return ""
}
`;

const derProcs = String.raw`
# DER (X.690). Each refuses by an error what is not exactly so; "at" is where to read, "limit" where what holds it ends.

# Tag of the element, where its content begins, and where it ends.
proc der_any { der at limit } {
    if { $limit - $at < 2 } { error "element is cut short" }
    binary scan $der "@$at cc" tag length
    set tag [expr { $tag & 0xff }]
    set length [expr { $length & 0xff }]
    if { ($tag & 0x1f) == 0x1f } { error "tag number above 30" }
    incr at 2
    if { $length >= 0x80 } {
        set octets [expr { $length - 0x80 }]
        if { $octets < 1 || $octets > 4 } { error "length is indefinite or too large" }
        if { $limit - $at < $octets } { error "element is cut short" }
        binary scan $der "@$at H[expr { $octets * 2 }]" hex
        scan $hex %x length
        if { $length < 0x80 || [string match 00* $hex] } { error "length is padded" }
        incr at $octets
    }
    if { $length > $limit - $at } { error "element is longer than what holds it" }
    return [list $tag $at [expr { $at + $length }]]
}

# Where the content of the element begins and ends, which must have this tag.
proc der_enter { der at limit tag } {
    foreach { found from to } [call der_any $der $at $limit] break
    if { $found != $tag } { error "another element than was expected" }
    return [list $from $to]
}

proc der_sees { der at limit tag } {
    if { $at >= $limit } { return 0 }
    binary scan $der "@$at c" found
    return [expr { ($found & 0xff) == $tag }]
}

# Bytes as they are, and as hexadecimal.
proc der_text { der from to } {
    binary scan $der "@$from a[expr { $to - $from }]" text
    return $text
}
proc der_hex { der from to } {
    binary scan $der "@$from H[expr { ($to - $from) * 2 }]" hex
    return $hex
}

# An object identifier in hexadecimal, which is unique as long as no arc is padded; of arcs of up to 49 bits.
proc der_oid { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x06] break
    set hex [call der_hex $der $from $to]
    if { $to - $from > 64 || ![regexp {^(?:(?!80)(?:[89a-f][0-9a-f]){0,6}[0-7][0-9a-f])+$} $hex] } { error "object identifier is malformed" }
    return [list $hex $to]
}

# Whether a boolean is true, and where it ends.
proc der_boolean { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x01] break
    switch -- [call der_hex $der $from $to] {
        ff { return [list 1 $to] }
        00 { return [list 0 $to] }
    }
    error "boolean is neither 00 nor FF"
}

# Where an integer that is not negative ends.
proc der_unsigned { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x02] break
    if { ![regexp {^(?:00|(?!00)[0-7].|00[89a-f].)} [call der_hex $der $from $to]] } { error "integer is negative or empty" }
    if { [regexp {^00[0-7].} [call der_hex $der $from $to]] } { error "integer is padded" }
    return $to
}

# The bytes of a bit string in hexadecimal, and where it ends.
proc der_bits { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x03] break
    if { $from == $to } { error "bit string is malformed" }
    binary scan $der "@$from c" unused
    binary scan $der "@[expr { $to - 1 }] c" last
    if { $unused < 0 || $unused > 7 || ($unused > 0 && $to - $from == 1) } { error "bit string is malformed" }
    if { $unused > 0 && ($last & ((1 << $unused) - 1)) != 0 } { error "bit string has unused bits set" }
    return [list [call der_hex $der [expr { $from + 1 }] $to] $to]
}

# Where a bit string of whole bytes ends.
proc der_whole_bytes { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x03] break
    binary scan $der "@$from c" unused
    if { $from == $to || $unused != 0 } { error "bit string does not hold whole bytes" }
    return $to
}

# Where a time ends, which must be in one of the two forms of RFC 5280 4.1.2.5, and exist.
proc der_time { der at limit } {
    foreach { tag from to } [call der_any $der $at $limit] break
    set text [call der_text $der $from $to]
    if { $tag == 0x17 && [regexp {^[0-9]{12}Z$} $text] } {
        scan $text %2d%2d%2d%2d%2d%2d year month day hour minute second
        incr year [expr { $year < 50 ? 2000 : 1900 }]
    } elseif { $tag == 0x18 && [regexp {^[0-9]{14}Z$} $text] } {
        scan $text %4d%2d%2d%2d%2d%2d year month day hour minute second
    } else {
        error "time is in no known form"
    }
    if { $month < 1 || $month > 12 || $hour > 23 || $minute > 59 || $second > 59 } { error "time does not exist" }
    set days [lindex { 31 28 31 30 31 30 31 31 30 31 30 31 } [expr { $month - 1 }]]
    if { $month == 2 && $year % 4 == 0 && ($year % 100 != 0 || $year % 400 == 0) } { set days 29 }
    if { $day < 1 || $day > $days } { error "time does not exist" }
    return $to
}
`;

const certificateProcs = String.raw`
# The SPIFFE ID of an X509-SVID, from its DER; an error where it is none.
proc svid { der } {
    set length [string length $der]
    if { $length > 65536 } { error "certificate is too large" }
    foreach { tbs end } [call der_enter $der 0 $length 0x30] break
    if { $end != $length } { error "bytes left over" }
    foreach { at tbs_end } [call der_enter $der $tbs $end 0x30] break
    foreach { from to } [call der_enter $der $tbs_end $end 0x30] break
    set algorithm [call der_hex $der $tbs_end $to]
    if { [call der_whole_bytes $der $to $end] != $end } { error "bytes left over" }

    # Version 3: no other has extensions.
    foreach { from to } [call der_enter $der $at $tbs_end 0xa0] break
    if { [call der_hex $der $from $to] ne "020102" } { error "version is not 3" }
    set at [call der_unsigned $der $to $tbs_end]
    foreach { from to } [call der_enter $der $at $tbs_end 0x30] break
    if { [call der_hex $der $at $to] ne $algorithm } { error "signature algorithms inside and outside differ" }
    set issuer $to
    foreach { from to } [call der_enter $der $issuer $tbs_end 0x30] break
    foreach { from to } [call der_enter $der $to $tbs_end 0x30] break
    if { [call der_time $der [call der_time $der $from $to] $to] != $to } { error "bytes left over" }
    set subject $to
    foreach { from to } [call der_enter $der $subject $tbs_end 0x30] break
    foreach { from to } [call der_enter $der $to $tbs_end 0x30] break
    foreach unique_id { 0x81 0x82 } {
        if { [call der_sees $der $to $tbs_end $unique_id] } { foreach { from to } [call der_enter $der $to $tbs_end $unique_id] break }
    }
    foreach { from to } [call der_enter $der $to $tbs_end 0xa3] break
    if { $to != $tbs_end } { error "bytes left over" }
    foreach { at end } [call der_enter $der $from $to 0x30] break
    if { $end != $to } { error "bytes left over" }
    return [call svid_of_extensions $der $at $end]
}

# The content of an Extensions sequence; the ids are those of RFC 5280 4.2.1.
proc svid_of_extensions { der at end } {
    set has_key_usage 0
    set uri ""
    while { $at < $end } {
        foreach { from extension_end } [call der_enter $der $at $end 0x30] break
        foreach { id from } [call der_oid $der $from $extension_end] break
        if { [info exists seen($id)] } { error "an extension is there twice" }
        set seen($id) 1
        if { [call der_sees $der $from $extension_end 0x01] } { set from [lindex [call der_boolean $der $from $extension_end] 1] }
        foreach { from to } [call der_enter $der $from $extension_end 0x04] break
        if { $to != $extension_end } { error "bytes left over" }
        switch -- $id {
            551d0e {
                foreach { from last } [call der_enter $der $from $to 0x04] break
                if { $last != $to } { error "bytes left over" }
            }
            551d0f {
                call check_key_usage $der $from $to
                set has_key_usage 1
            }
            551d11 { set uri [call uri_of_names $der $from $to] }
            551d13 { call check_basic_constraints $der $from $to }
            551d1e { error "name constraints, which are for the certificates of CAs" }
            551d25 { call check_extended_key_usage $der $from $to }
        }
        set at $to
    }
    if { !$has_key_usage } { error "no key usage" }
    return [call spiffe_id $uri]
}

# digitalSignature, and neither keyCertSign nor cRLSign: X509-SVID 4.3.
proc check_key_usage { der from to } {
    foreach { hex last } [call der_bits $der $from $to] break
    if { $last != $to || $hex eq "" } { error "key usage is malformed" }
    scan [string range $hex 0 1] %x usage
    if { ($usage & 0x80) == 0 } { error "the key may not be used for digital signatures" }
    if { ($usage & 0x06) != 0 } { error "the key may sign certificates or revocation lists" }
}

# No CA: X509-SVID 4.1.
proc check_basic_constraints { der from to } {
    foreach { at end } [call der_enter $der $from $to 0x30] break
    if { $end != $to } { error "bytes left over" }
    if { [call der_sees $der $at $end 0x01] } {
        foreach { is_ca at } [call der_boolean $der $at $end] break
        if { $is_ca } { error "a CA certificate names no workload" }
    }
    if { [call der_sees $der $at $end 0x02] } { set at [call der_unsigned $der $at $end] }
    if { $at != $end } { error "bytes left over" }
}

# Where there is one, clientAuth and serverAuth: X509-SVID 4.4.
proc check_extended_key_usage { der from to } {
    foreach { at end } [call der_enter $der $from $to 0x30] break
    if { $end != $to } { error "bytes left over" }
    set purposes {}
    while { $at < $end } {
        foreach { id at } [call der_oid $der $at $end] break
        lappend purposes $id
    }
    foreach id { 2b06010505070301 2b06010505070302 } {
        if { [lsearch -exact $purposes $id] == -1 } { error "the extended key usage has not both clientAuth and serverAuth" }
    }
}

# The one URI of a GeneralNames: X509-SVID 2. What stands in other names is no identity, and a SPIFFE ID in a DNS name a mistake.
proc uri_of_names { der from to } {
    foreach { at end } [call der_enter $der $from $to 0x30] break
    if { $end != $to } { error "bytes left over" }
    set uris {}
    while { $at < $end } {
        foreach { tag from at } [call der_any $der $at $end] break
        set name [call der_text $der $from $at]
        if { $tag == 0x86 } { lappend uris $name }
        if { $tag == 0x82 && [string match -nocase spiffe:* $name] } { error "a SPIFFE ID stands in a DNS name" }
    }
    if { [llength $uris] != 1 } { error "there is not one URI" }
    return [lindex $uris 0]
}

# A SPIFFE ID in its one spelling, and not that of a trust domain: SPIFFE-ID 2.
proc spiffe_id { uri } {
    if { [string length $uri] > 2048 || ![regexp {^spiffe://([a-z0-9._-]{1,255})(?:/[A-Za-z0-9._-]+)+$} $uri] } { error "no SPIFFE ID" }
    if { [regexp {/[.][.]?(?:/|$)} [string range $uri 9 end]] } { error "a relative path segment" }
    return $uri
}

# The same of the certificate that a client has shown, as PEM.
proc svid_of_pem { pem } {
    regsub -all -- {-----(?:BEGIN|END) CERTIFICATE-----|\s} $pem "" base64
    return [call svid [b64decode $base64]]
}

# Why a chain is refused, by its X509_V_ERR_ code; nothing where it is not.
proc chain_fault { code } {
    switch -- $code {
        0 { return "" }
        9 { return certificate-not-yet-valid }
        10 { return certificate-expired }
        23 { return certificate-revoked }
        2 - 7 - 18 - 19 - 20 - 21 - 27 { return certificate-untrusted }
    }
    return certificate-invalid
}

# The host name of a server_name extension (RFC 6066 3), as SSL::extensions gives it: type, length, content. Nothing where it is not one.
proc host_name { extension } {
    if { [binary scan $extension SSScSa* type length list_length name_type name_length name] != 6 } { return "" }
    if { $name_type != 0 || ($name_length & 0xffff) != [string length $name] } { return "" }
    return [string tolower $name]
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
        if { [catch { call svid_of_pem [X509::whole [SSL::cert 0]] } claimed] } { set claimed "" }
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
    foreach { identity snatpool policies reason } [list "" "" "" ""] break
    if { [SSL::cert count] == 0 } {
        set reason certificate-missing
    } elseif { [catch { call svid_of_pem [X509::whole [SSL::cert 0]] } identity] } {
        set identity ""
        set reason certificate-invalid
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
            foreach { snatpool policies } [split [call grant_of $service $namespace $account] " "] break
            if { $snatpool eq "" } {
                set reason no-policy
            } elseif { $snatpool eq "-" } {
                set reason no-snat-binding
            } elseif { [catch { snatpool $snatpool; pool $pool }] } {
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
        if { [call setting revision] ne $checked } {
            set checked [call setting revision]
            set reason [call withdrawal $place $service $pool $namespace $account $snatpool $target]
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
