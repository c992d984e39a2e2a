/** X509-SVIDs in the iRule's Tcl, over irule-der.ts: who shows a certificate, as src/core/x509 reads it here. */

export const certificateProcs = String.raw`
# The SPIFFE ID of an X509-SVID and its serial number in hexadecimal, from its DER; an error where it is none.
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
    foreach { serial at } [call der_unsigned $der $to $tbs_end] break
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
    return [list [call svid_of_extensions $der $at $end] $serial]
}

# The SPIFFE ID in the content of an Extensions sequence; the ids of these are those of RFC 5280 4.2.1.
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
    if { [call der_sees $der $at $end 0x02] } { set at [lindex [call der_unsigned $der $at $end] 1] }
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
