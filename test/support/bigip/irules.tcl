# An interpreter of iRules: the Tcl that they have, the commands that ours may use, and nothing else. Each command does what F5's
# iRules reference says under the name that stands beside it (clouddocs.f5.com/api/irules/NAME.html); called in an event for which the
# reference does not name it, or in a way that it does not show, it is an error.
#
# Spoken to by lines: a request is a command and its words, the answer "ok" or "error" and words, each word in base64. Requests:
#   load TEXT                            an iRule instead of the one before
#   group NAME (KEY VALUE)...            a data group
#   pool NAME (ADDRESS PORT)...          a pool and its members
#   object NAME                          a SNAT pool or a log publisher
#   drop NAME                            one of these is gone
#   event CONNECTION EVENT (FACT VALUE)...   what has come about, and what is known of the connection since
#   timer CONNECTION ID (FACT VALUE)...  what "after" has put off
#   forget CONNECTION
#   call PROC WORD...                    a proc of the iRule's, which is answered by what it returns
# "event" and "timer" are answered by what the iRule has brought about, in order:
#   pool NAME, snatpool NAME, reject -, send LINE, after "ID MILLISECONDS", cancel ID, error MESSAGE

set facts [dict create]
set certificates [dict create]
set groups [dict create]
set pools [dict create]
set objects [dict create]

# What iRules have of Tcl: 8.4.6 (K-article "iRules: Tcl version"), less "Disabled Tcl commands". "proc" is there while one is loaded.
set kept {
    append array binary break catch concat continue error eval expr for foreach format global if incr info join lappend lindex
    linsert list llength lrange lreplace lsearch lset lsort regexp regsub return scan set split string subst switch unset while
}
set subcommands {
    array {anymore donesearch exists get names nextelement set size startsearch statistics unset}
    binary {format scan}
    info {args body cmdcount commands complete default exists globals hostname level locals procs tclversion vars}
    string {bytelength compare equal first index is last length map match range repeat replace tolower totitle toupper trim trimleft trimright wordend wordstart}
}
set functions {abs acos asin atan atan2 ceil cos cosh double exp floor fmod hypot int log log10 pow rand round sin sinh sqrt srand tan tanh wide}

proc load_rule { text } {
    global kept subcommands functions handlers aliases
    catch { interp delete rule }
    interp create rule
    set handlers [dict create]
    interp eval rule {
        foreach name {harness irule IP TCP SSL X509 HSL} { namespace eval ::$name {} }
        unset name
        proc ::call { name args } { return [::irule::$name {*}$args] }
        rename ::upvar ::harness::upvar
        proc ::incr { name { by 1 } } {
            ::harness::upvar 1 $name variable
            if { ![info exists variable] } { error "can't read \"$name\": no such variable" }
            return [set variable [expr { $variable + $by }]]
        }
    }
    dict for { command names } $subcommands {
        set map [dict filter [interp eval rule [list namespace ensemble configure $command -map]] script { name implementation } { expr { $name in $names } }]
        interp eval rule [list namespace ensemble configure $command -map $map]
    }
    foreach function [interp eval rule { info commands ::tcl::mathfunc::* }] {
        if { [namespace tail $function] ni $functions } { interp eval rule [list rename $function {}] }
    }
    foreach name [interp eval rule { info globals }] { interp eval rule [list unset -nocomplain ::$name] }
    foreach command [interp eval rule { info commands }] {
        if { $command ni $kept && $command ne "call" } { interp hide rule $command }
    }
    foreach command $aliases { interp alias rule $command {} command $command }
    interp alias rule when {} declare_handler
    interp alias rule proc {} declare_proc
    interp eval rule $text
    interp alias rule when {}
    interp alias rule proc {}
}

proc declare_handler { event body } {
    global handlers events
    if { ![dict exists $events $event] } { error "no event $event" }
    dict set handlers $event $body
}

proc declare_proc { name parameters body } {
    interp invokehidden rule proc ::irule::$name $parameters $body
}

# Events, and on which side of the connection each happens.
set events {
    CLIENT_ACCEPTED client
    CLIENTSSL_CLIENTHELLO client
    CLIENTSSL_CLIENTCERT client
    CLIENTSSL_HANDSHAKE client
    LB_FAILED client
    SERVER_CONNECTED server
    SERVER_CLOSED server
    CLIENT_CLOSED client
}

# Runs a script as one of a connection, whose variables all of them share.
proc run { id event side script } {
    global connection current_event current_side effects
    set connection $id
    set current_event $event
    set current_side $side
    set effects {}
    if { [catch { interp invokehidden rule namespace eval ::connection$id $script } message] == 1 } { effect error $message }
    return $effects
}

proc effect { kind value } {
    global effects
    lappend effects $kind $value
}

proc fact { name } {
    global facts connection
    if { ![dict exists $facts $connection $name] } { error "nothing is known of $name" }
    return [dict get $facts $connection $name]
}

proc command { name args } {
    global current_event valid_during
    if { [dict exists $valid_during $name] && $current_event ni [dict get $valid_during $name] } { error "$name is not valid in $current_event" }
    return [irules::[string map {:: __} $name] {*}$args]
}

proc usage { name } { error "wrong use of $name" }

# Where the reference names events; what is not here is valid in any.
set valid_during {
    SSL::extensions {CLIENTSSL_CLIENTHELLO}
    SSL::cert {CLIENTSSL_CLIENTCERT CLIENTSSL_HANDSHAKE}
    SSL::verify_result {CLIENTSSL_CLIENTCERT CLIENTSSL_HANDSHAKE}
    X509::whole {CLIENTSSL_CLIENTCERT CLIENTSSL_HANDSHAKE}
    pool {CLIENT_ACCEPTED CLIENTSSL_CLIENTCERT CLIENTSSL_HANDSHAKE LB_FAILED}
    snatpool {CLIENT_ACCEPTED CLIENTSSL_CLIENTCERT CLIENTSSL_HANDSHAKE LB_FAILED}
}

namespace eval irules {
    # class: "class match [options] [--] item operator class"; with -value the value of the record found, or nothing.
    proc class { verb option separator item operator name } {
        global groups
        if { $verb ne "match" || $option ne "-value" || $separator ne "--" || $operator ne "equals" } { usage class }
        if { ![dict exists $groups $name] } { error "class $name not found" }
        return [expr { [dict exists $groups $name $item] ? [dict get $groups $name $item] : "" }]
    }

    # b64decode: the string that is encoded; of what is no base64 it is not said what comes, here an error.
    proc b64decode { text } { return [binary decode base64 -strict $text] }

    # md5: the 128 bits of the digest, as a binary string. Here of no more use than to tell connections apart.
    proc md5 { text } { return [binary format Iu4 [list [::clock microseconds] [incr ::digests] [zlib crc32 $text] [expr { int(rand() * 0x7fffffff) }]]] }

    # IP__client_addr, IP__local_addr, IP__remote_addr, TCP__client_port, TCP__local_port, TCP__remote_port. "Local" is, on the client's
    # side, the virtual server; on the server's, what the BIG-IP connects from.
    proc IP__client_addr {} { return [fact clientAddress] }
    proc TCP__client_port {} { return [fact clientPort] }
    proc IP__local_addr {} { return [fact [on_side virtualAddress snatAddress]] }
    proc TCP__local_port {} { return [fact [on_side virtualPort snatPort]] }
    proc IP__remote_addr {} { return [fact [on_side clientAddress targetAddress]] }
    proc TCP__remote_port {} { return [fact [on_side clientPort targetPort]] }
    proc on_side { client server } { return [expr { $::current_side eq "client" ? $client : $server }] }

    # clock: as in Tcl 8.4; that of 8.6 is written in Tcl, with what an iRule has not.
    proc clock { subcommand args } {
        if { $subcommand ni {clicks format scan seconds} } { usage clock }
        return [::clock $subcommand {*}$args]
    }

    # serverside: a script, evaluated on the other side.
    proc serverside { script } {
        set side $::current_side
        set ::current_side server
        set code [catch { interp invokehidden rule namespace eval ::connection$::connection $script } result]
        set ::current_side $side
        return -code $code $result
    }

    # IP__stats: bytes that were received, or sent, on this side.
    proc IP__stats { what direction } {
        if { $what ne "bytes" || $direction ni {in out} || $::current_side ne "server" } { usage IP::stats }
        return [fact [expr { $direction eq "in" ? "bytesIn" : "bytesOut" }]]
    }

    # SSL__extensions: whether there is one of a type, and it with its type and length before it.
    proc SSL__extensions { args } {
        switch -exact -- $args {
            "exists -type 0" { return [expr { [fact serverNameExtension] ne "" }] }
            "-type 0" { return [fact serverNameExtension] }
        }
        usage SSL::extensions
    }

    # SSL__cert: the count of certificates that the client has shown, or one of them, in a form of its own.
    proc SSL__cert { what } {
        set certificate [fact certificate]
        if { $what eq "count" } { return [expr { $certificate ne "" }] }
        if { $what ne "0" || $certificate eq "" } { usage SSL::cert }
        return "X509 of $::connection"
    }

    # SSL__verify_result: OpenSSL's X509_V_ERR_ code.
    proc SSL__verify_result {} { return [fact verifyResult] }

    # X509__whole: a certificate as PEM.
    proc X509__whole { certificate } {
        if { $certificate ne "X509 of $::connection" } { usage X509::whole }
        return [fact certificate]
    }

    # pool, snatpool: what the connection goes to, and what it leaves from. Where there is no such thing: an error.
    proc pool { name } {
        if { ![dict exists $::pools $name] } { error "no pool $name" }
        effect pool $name
    }
    proc snatpool { name } {
        if { ![dict exists $::objects $name] } { error "no snatpool $name" }
        effect snatpool $name
    }

    # members: all members of a pool, a list of addresses and ports.
    proc members { option name } {
        if { $option ne "-list" } { usage members }
        if { ![dict exists $::pools $name] } { error "no pool $name" }
        return [dict get $::pools $name]
    }

    # reject: the connection is reset, once the event is over.
    proc reject {} { effect reject - }

    # HSL__open, HSL__send.
    proc HSL__open { option name } {
        if { $option ne "-publisher" } { usage HSL::open }
        if { ![dict exists $::objects $name] } { error "no publisher $name" }
        return "HSL to $name"
    }
    proc HSL__send { handle line } {
        if { ![string match "HSL to *" $handle] } { usage HSL::send }
        effect send $line
    }

    # after: a script every so many milliseconds, evaluated in the context in which it was put off; its end.
    proc after { first args } {
        global timers connection current_side
        if { $first eq "cancel" } {
            set id [lindex $args 0]
            dict unset timers $connection $id
            effect cancel $id
            return
        }
        foreach { option script } $args break
        if { [llength $args] != 2 || $option ne "-periodic" || ![string is integer -strict $first] } { usage after }
        set id after#[incr ::timer_count]
        dict set timers $connection $id [list $current_side $script]
        effect after "$id $first"
        return $id
    }
}
set timers [dict create]
set timer_count 0
set digests 0
set aliases {
    class clock b64decode md5 IP::client_addr TCP::client_port IP::local_addr TCP::local_port IP::remote_addr TCP::remote_port serverside IP::stats
    SSL::extensions SSL::cert SSL::verify_result X509::whole pool snatpool members reject HSL::open HSL::send after
}

proc learn { connection known } {
    global facts
    dict for { name value } $known { dict set facts $connection $name $value }
}

proc answer { request } {
    global facts groups pools objects timers handlers events
    set words [lassign $request verb first]
    switch -exact -- $verb {
        load { load_rule $first }
        group { dict set groups $first [dict create {*}$words] }
        pool {
            set members {}
            foreach { address port } $words { lappend members [list $address $port] }
            dict set pools $first $members
        }
        object { dict set objects $first 1 }
        drop {
            foreach each {groups pools objects} { dict unset $each $first }
        }
        event {
            set words [lassign $words event]
            learn $first $words
            if { ![dict exists $handlers $event] } { return }
            return [run $first $event [dict get $events $event] [dict get $handlers $event]]
        }
        call { return [list [interp eval rule [list call $first {*}$words]]] }
        timer {
            set words [lassign $words id]
            learn $first $words
            if { ![dict exists $timers $first $id] } { return }
            foreach { side script } [dict get $timers $first $id] break
            return [run $first "after" $side $script]
        }
        forget {
            dict unset facts $first
            dict unset timers $first
            catch { interp invokehidden rule namespace delete ::connection$first }
        }
        default { error "no request $verb" }
    }
    return
}

fconfigure stdin -translation lf
fconfigure stdout -translation lf
while { [gets stdin line] >= 0 } {
    set request {}
    foreach word [split $line " "] { lappend request [binary decode base64 $word] }
    if { [catch { answer $request } result] } {
        set status error
        set result [list $result]
    } else {
        set status ok
    }
    foreach word $result { append status " =[binary encode base64 $word]" }
    puts $status
    flush stdout
}
