#!/bin/sh
# tests/func/wire.sh - clients that break the rules of the sockets, and what a stranger may do
. "$(dirname "$0")/lib.sh"
WIRE=$TOP_BUILDDIR/tests/func/wire-abuse
cos_setup
S=$T/run/cosd.sock
U=$T/run/user.sock
WORKER=$(cat "$T/run/cosd.pid")

ok "what is no request is refused, one by one, on one connection" "$WIRE" malformed "$S"
ok "deep nesting is refused" "$WIRE" deep "$S"
ok "a message of nearly 1 MiB is taken" "$WIRE" long "$S"
ok "a longer one is refused with an answer" "$WIRE" too-long "$S"
ok "half requests hold nobody up" "$WIRE" half "$S"
ok "10,000 requests in one write are answered in order, others meanwhile" "$WIRE" burst "$S" 10000
ok "60,000 requests, more bytes than one message may have" "$WIRE" burst "$S" 60000
ok "10,000 requests and then a half-closed socket" "$WIRE" burst "$S" 10000 half
ok "a reply comes after a half close" "$WIRE" half-close "$S"
ok "clients that never read cost little memory" "$WIRE" mute "$S" "$WORKER"
ok "descriptors that nobody asked for are closed" "$WIRE" fds "$S" "$WORKER"
ok "a oneway call has no answer" "$WIRE" oneway "$S"
ok "the service describes itself" "$WIRE" describe "$S"
ok "the same through user.sock" "$WIRE" describe "$U"
ok "what is no request is refused there too" "$WIRE" burst "$U" 10000

# A stranger, and the owner of one guest.
chmod 711 "$T"
cos_template
"$COSCTL" create --template busybox other -- sleep 1000 >/dev/null
"$COSCTL" create --template busybox mine owner=65534 -- sleep 1000 >/dev/null
"$COSCTL" start other >/dev/null
call() { # METHOD [PARAMETERS]
	echo "{\"method\":\"io.cos.$1\",\"parameters\":${2:-{\}}}"
}
denied() { # METHOD PARAMETERS
	ok "a stranger may not $1" "$WIRE" user "$U" "$(call "$1" "$2")" io.cos.PermissionDenied
}
may() { # DESCRIPTION METHOD PARAMETERS
	ok "$1" "$WIRE" user "$U" "$(call "$2" "$3")" ""
}
ok "a stranger may not use the root's socket" "$WIRE" not-mine "$S"
ok "a stranger sees the names of others' guests" "$WIRE" user-list "$U"
denied Guest.Create '{"spec":{"name":"x","template":"busybox"}}'
denied Guest.Run '{"spec":{"name":"x","template":"busybox"}}'
denied Guest.Delete '{"name":"other"}'
denied Guest.Delete '{"name":"mine"}'
denied Guest.Set '{"name":"mine","spec":{"owner":0}}'
denied Guest.Set '{"name":"other","spec":{"owner":65534}}'
for m in Start Stop Restart Freeze Thaw Kill Show Console Logs; do
	denied "Guest.$m" '{"name":"other"}'
done
denied Guest.Resize '{"name":"other","rows":1,"cols":1}'
denied Guest.Exec '{"name":"other","command":["id"]}'
denied Template.Build '{"kind":"busybox","name":"x"}'
denied Template.Import '{"name":"x"}'
denied Template.Delete '{"name":"busybox"}'
may "the owner starts his guest" Guest.Start '{"name":"mine"}'
may "and runs commands in it" Guest.Exec '{"name":"mine","command":["true"]}'
may "and freezes it" Guest.Freeze '{"name":"mine"}'
may "and thaws it" Guest.Thaw '{"name":"mine"}'
may "and is shown it" Guest.Show '{"name":"mine"}'
may "and stops it" Guest.Stop '{"name":"mine","timeout":1}'
is "nothing else changed" "$("$COSCTL" list --no-headers | awk '{print $1, $2}' | sort)" "mine defined
other running"

printf '{"connections.per_user": 3, "connections.max": 32}\n' >"$T/cosd.json"
"$COSCTL" delete --all --force >/dev/null
cos_restart_daemon() {
	kill -TERM "$(cat "$T/run/keep.pid")"
	await test ! -e "$T/run/keep.pid"
	cos_start_daemon
}
COSD_ARGS="--config $T/cosd.json"
cos_restart_daemon
ok "connections of one user are bounded" "$WIRE" limit "$U" 3
ok "those of root are not" "$WIRE" crowd "$S" 32 "$COSCTL" version
worker=$(cat "$T/run/cosd.pid")
cpu_ticks() {
	awk '{ print $14 + $15 }' "/proc/$worker/stat"
}
limit=$(prlimit --pid "$worker" --nofile --noheadings --output SOFT)
full=0
while [ -e "/proc/$worker/fd/$full" ]; do full=$((full + 1)); done
prlimit --pid "$worker" --nofile="$full:"
ticks=$(cpu_ticks)
fails "a client for whom there is no descriptor is refused" 6 'as many connections' timeout 5 "$COSCTL" version
sleep 1
ok "which costs the daemon nothing" test $(($(cpu_ticks) - ticks)) -lt 20
prlimit --pid "$worker" --nofile=200:
like "doctor tells for how many guests they are enough" "$("$COSCTL" doctor)" 'descriptors: 200, enough for about 0 running'
prlimit --pid "$worker" --nofile="$limit:"
ok "and ends when there is one" "$COSCTL" version
plan_done
