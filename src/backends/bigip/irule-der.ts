/** DER in the iRule's Tcl: what src/core/x509/der.ts is here. */

export const derProcs = String.raw`
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

# An integer that is not negative in hexadecimal, without a byte of zero before it, and where it ends.
proc der_unsigned { der at limit } {
    foreach { from to } [call der_enter $der $at $limit 0x02] break
    set hex [call der_hex $der $from $to]
    if { ![regexp {^(?:00|(?!00)[0-7].|00[89a-f].)} $hex] } { error "integer is negative or empty" }
    if { [regexp {^00[0-7].} $hex] } { error "integer is padded" }
    regsub {^00(?=.)} $hex "" hex
    return [list $hex $to]
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
