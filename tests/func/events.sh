#!/bin/sh
# tests/func/events.sh - a long event log: all of it is told, to clients that read slowly too
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
LINES=60000

stop_daemon() {
	kill -TERM "$(cat "$T/run/keep.pid")"
	ended() {
		[ ! -e "$T/run/keep.pid" ]
	}
	await ended
}
last_of() { # FILE
	tail -n 1 "$1" | sed 's/^{"seq":\([0-9]*\),.*/\1/'
}

"$COSCTL" create --template busybox e1
ok "the daemon ends" stop_daemon
# as a daemon with events.log_bytes of 16M has it after a while
awk -v n="$LINES" 'BEGIN {
	for (i = 1; i <= n; i++)
		printf "{\"seq\":%d,\"time_usec\":1700000000000000,\"event\":\"limit-hit\",\"guest\":\"g%d\",\"limit\":\"pids.max\",\"hits\":%d}\n", i, i % 100, i
}' >"$T/state/events.log"
printf '{"events.log_bytes": 16777216}\n' >"$T/cosd.json"
COSD_ARGS="--config $T/cosd.json"
cos_start_daemon
"$COSCTL" events -o json >"$T/all" 2>"$T/errors"
is "a log of $(wc -c <"$T/state/events.log") bytes is told" "$?" 0
is "without a word" "$(cat "$T/errors")" ""
awk -F '[:,]' '$2 != NR { exit 1 } END { exit NR < '"$LINES"' }' "$T/all"
is "whole and in order" "$?" 0
is "to the last" "$(last_of "$T/all")" "$(last_of "$T/state/events.log")"
is "or from a number on" "$("$COSCTL" events -o json --since 59990 | head -n 1 | cut -d , -f 1)" '{"seq":59990'

"$COSCTL" events -o json --follow >"$T/followed" 2>&1 &
follower=$!
has() { # EVENT
	grep -q "\"event\": *\"$1\".*e1\|e1.*\"event\": *\"$1\"" "$T/followed"
}
old_ones() {
	[ "$(wc -l <"$T/followed")" -ge "$LINES" ]
}
ok "who follows gets the old ones" await old_ones
"$COSCTL" delete e1
ok "and what comes" await has delete
kill "$follower"
wait "$follower" 2>/dev/null
is "none is missing or told twice" "$(awk -F '[:,]' '$2 != NR { print $2; exit }' "$T/followed")" ""
plan_done
