#!/bin/sh
# tests/func/why.sh - what held a guest back
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
sleeper() {
	"$COSCTL" create --template busybox "$@" -- sleep 1000 && "$COSCTL" start "$1"
}
row() { # GUEST LIMIT: limit, max, times, for, last, now
	"$COSCTL" why -o csv "$1" | grep "^$2,"
}
has_row() {
	row "$1" "$2"
}
is_now() {
	row "$1" "$2" | grep -q ',true$'
}
fails "of nobody" 4 "no guest named nobody" "$COSCTL" why nobody
fails "a name is needed" 2 "one name" "$COSCTL" why
ok "a guest without troubles" sleeper quiet
like "is told to have none" "$("$COSCTL" why quiet)" 'no limit held it back'

ok "a guest that wants more CPU time than it has" sleeper cpu cpu.rate=50m
"$COSCTL" exec cpu -- sh -c 'while :; do :; done' &
spinner=$!
ok "is throttled now" await is_now cpu cpu.rate
like "for so long" "$("$COSCTL" why cpu)" 'cpu.rate  *50m  *[0-9][0-9]*  *[0-9.]*s  *[0-9]*s* .*true'
like "and what helps is told" "$("$COSCTL" why cpu)" '^cpu.rate: .*raise cpu.rate'
"$COSCTL" kill cpu
wait $spinner
ok "one that forks" sleeper pids pids.max=10
"$COSCTL" exec pids -- sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done' 2>/dev/null
ok "was refused that" await has_row pids pids.max
like "so often" "$(row pids pids.max)" 'pids.max,10,[1-9]'
ok "and when it last was is known" await is_now pids pids.max
ok "one that needs memory" sleeper mem memory.max=16M
"$COSCTL" exec mem -- sh -c 'x=a; while :; do x=$x$x$x; done' >/dev/null 2>&1
ok "met its limit" await has_row mem memory.max
ok "one that waits for its bucket" sleeper hold cpu.rate=50m cpu.burst=100ms cpu.hold=100ms
"$COSCTL" exec hold -- sh -c 'while :; do :; done' &
spinner=$!
ok "is held now" await is_now hold cpu.hold
"$COSCTL" kill hold
wait $spinner
like "JSON has it all" "$("$COSCTL" why -o json pids)" '"todo": "raise pids.max"'
"$COSCTL" create --template busybox ended memory.max=16M -- sh -c 'x=a; while :; do x=$x$x$x; done'
"$COSCTL" start ended
has_ended() {
	"$COSCTL" status ended | grep -q '^last_end'
}
ok "one that ended for want of memory" await has_ended
like "and still tells so" "$("$COSCTL" why ended)" '^memory.max  *16'
like "with what helps" "$("$COSCTL" why ended)" '^memory.max: .*raise memory.max'
fails "of its counters none are left" 3 'ended is failed' "$COSCTL" stats ended
fails "nor of nobody's" 4 'no guest named nobody' "$COSCTL" stats nobody
like "those of others are printed" "$("$COSCTL" stats ended quiet 2>/dev/null)" '^quiet  *running'
"$COSCTL" create --template busybox gone -- /nosuch
"$COSCTL" start gone 2>/dev/null
like "one that failed tells why" "$("$COSCTL" why gone)" 'gone is failed: .*nosuch'
plan_done
