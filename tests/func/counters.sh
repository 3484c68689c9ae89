#!/bin/sh
# tests/func/counters.sh - how guests stand to their limits: counters, events, pressure; CPUs of a guest's own
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template

field() { # GUEST LIMIT FIELD
	"$COSCTL" stats --limits -o json "$1" | tr -d '\n ' | tr '{' '\n' | grep "\"limit\":\"$2\"" |
		sed -n "s/.*\"$3\":\"\\{0,1\\}\\([^\",}]*\\).*/\\1/p"
}
hit() { # GUEST LIMIT: it is an event
	"$COSCTL" events | grep limit-hit | grep " $1 " | grep -q "limit=\"$2\""
}
cpus_of() {
	"$COSCTL" exec "$1" -- sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status
}

# --- counters and events ---
# shellcheck disable=SC2016 # the guest's shell
"$COSCTL" create --template busybox g cpu.rate=100m cpu.burst=0 memory.max=32M pids.max=20 -- sleep 1000
"$COSCTL" create --template busybox quiet memory.max=100M pids.max=max -- sleep 1000
"$COSCTL" start g quiet
is "nothing was met yet" "$(field g pids.max failcnt) $(field g pids.max max)" "0 20"
is "what is held is what the kernel counts" "$(field g pids.max held)" 2
"$COSCTL" exec g -- sh -c 'i=0; while [ $i -lt 30 ]; do sleep 1000 & i=$((i+1)); done' >"$T/out" 2>&1
ok "forks were refused" test "$(field g pids.max failcnt)" -ge 1
ok "which is an event" await hit g pids.max
"$COSCTL" restart --timeout 0 g
is "a new start counts anew" "$(field g pids.max failcnt)" 0
"$COSCTL" exec g -- sh -c 'x=a; while :; do x=$x$x$x; done' >"$T/out" 2>&1
ok "memory was refused" test "$(field g memory.max failcnt)" -ge 1
ok "the most held is near the limit" test "$(field g memory.max maxheld)" -ge 16777216
ok "an end for want of memory is an event" await hit g memory.max
"$COSCTL" exec g -- sh -c 'until [ -e /enough ]; do :; done' &
busy=$!
throttled() {
	[ "$(field g cpu.rate failcnt)" -ge 1 ]
}
ok "the guest was throttled" await throttled
ok "which is an event" await hit g cpu.rate
"$COSCTL" exec g -- touch /enough
wait $busy
is "a table has a row for each limit" "$("$COSCTL" stats --limits --no-headers g | awk '{print $2}' | grep -c '^cpu.rate$\|^memory.max$\|^pids.max$')" 3
is "one that never met a limit has no event" "$("$COSCTL" events | grep limit-hit | grep -c ' quiet ')" 0
is "a limit that is none is shown as such" "$(field quiet pids.max max)" max
events=$("$COSCTL" events | grep -c limit-hit)
kill -KILL "$(cat "$T/run/cosd.pid")"
await "$COSCTL" version >/dev/null
ok "counters outlive the worker" test "$(field g memory.max failcnt)" -ge 1
"$COSCTL" stop --timeout 0 quiet
is "and what was counted before is no new event" "$("$COSCTL" events | grep -c limit-hit)" "$events"
"$COSCTL" run --rm --template busybox hog memory.max=16M -- sh -c 'x=a; while :; do x=$x$x$x; done' >"$T/out" 2>&1
ok "what ends a guest is an event before its end" hit hog memory.max
fails "stats of one that does not run" 4 'no guest' "$COSCTL" stats --limits nosuch
fails "two tables at once" 2 'two tables' "$COSCTL" stats --limits --pressure g
fails "a delay without watching" 2 'need --watch' "$COSCTL" stats --delay 1 g
is "watching prints as often as asked" "$("$COSCTL" stats --watch -n 3 -d 0.1 --no-headers g | grep -c '^g ')" 3
is "top too" "$("$COSCTL" top -n 2 -d 0.1 | grep -c '^g ')" 2

# --- pressure ---
if [ -n "$("$COSCTL" stats --pressure --no-headers g)" ]; then
	like "a throttled guest waited for CPU" "$("$COSCTL" stats --pressure -o csv g)" '^g,cpu,[0-9.]+,[0-9.]+,[1-9]'
else
	skip "a throttled guest waited for CPU" "pressure stall information of cgroup v2"
fi

# --- memory.high: slowed down, not ended ---
grows='x=a; while :; do x=$x$x$x; done'
if "$COSCTL" run --rm --template busybox soft memory.high=32M -- true 2>"$T/err"; then
	"$COSCTL" create --template busybox soft memory.high=32M memory.max=512M -- sleep 1000
	"$COSCTL" start soft
	"$COSCTL" exec soft -- sh -c "$grows" >"$T/out" 2>&1 &
	hog=$!
	often() {
		[ "$(field soft memory.high failcnt)" -ge 5 ]
	}
	ok "memory.high was met" await often
	ok "which is an event" await hit soft memory.high
	ok "what wants more lives on" kill -0 $hog
	is "nothing was ended" "$(field soft memory.max failcnt)" 0
	ok "but it was slowed down" test "$(field soft memory.high maxheld)" -lt 134217728
	is "the limit is its barrier" "$(field soft memory.max barrier)" 33554432
	ok "it can be stopped" "$COSCTL" stop --timeout 0 soft
	wait $hog
	"$COSCTL" delete soft
else
	like "memory.high is refused" "$(cat "$T/err")" 'memory.high: the memory controller of cgroup v1 has no such control'
	skip "memory.high slows down" "the memory controller on cgroup v2"
fi

# --- CPUs of one's own ---
all=$("$COSCTL" capacity -o json | sed -n 's/.*"cpus": "\([0-9,-]*\)".*/\1/p' | head -1)
like "capacity counts guests" "$("$COSCTL" capacity --no-headers)" '^guests .* 1$'
like "and sums what is promised" "$("$COSCTL" capacity --no-headers)" '^memory .* 32.0M '
if [ "$all" = 0 ]; then
	skip "CPUs of one's own" "a second CPU"
else
	"$COSCTL" set g cpu.rate=max
	"$COSCTL" create --template busybox own cpu.set=0 cpu.dedicated=true -- sleep 1000
	"$COSCTL" create --template busybox pin cpu.set=0 -- sleep 1000
	is "all CPUs are shared" "$(cpus_of g)" "$all"
	ok "start one with a CPU of its own" "$COSCTL" start own
	is "it has that" "$(cpus_of own)" 0
	ok "the other has not" sh -c "! echo '$(cpus_of g)' | grep -q '^0'"
	fails "nobody else may name it" 6 'CPU 0 is dedicated to own' "$COSCTL" start pin
	fails "nor later" 6 'CPU 0 is dedicated to own' "$COSCTL" set g cpu.set=0
	fails "nor may all be taken" 6 'no CPU is left for g' "$COSCTL" set own "cpu.set=$all"
	like "capacity tells" "$("$COSCTL" capacity)" 'CPUs 0 dedicated to own'
	like "as reserved" "$("$COSCTL" capacity --no-headers)" '^cpu .* 1.00 '
	kill -KILL "$(cat "$T/run/cosd.pid")"
	await "$COSCTL" version >/dev/null
	ok "it is so after a restart of the worker" sh -c "! echo '$(cpus_of g)' | grep -q '^0'"
	fails "and others are still refused" 6 'CPU 0 is dedicated to own' "$COSCTL" start pin
	ok "when it gives it up" "$COSCTL" set own cpu.dedicated=false
	is "all share again" "$(cpus_of g)" "$all"
	ok "and may name it" "$COSCTL" start pin
	fails "then it cannot have it back" 6 'CPU 0 is in the cpu.set of pin' "$COSCTL" set own cpu.dedicated=true
	"$COSCTL" stop --timeout 0 pin
	ok "but without the other" "$COSCTL" set own cpu.dedicated=true
	"$COSCTL" stop --timeout 0 own
	is "its end frees it" "$(cpus_of g)" "$all"
	fails "a CPU that is not there" 2 'CPU 1000 is not online' "$COSCTL" set g cpu.set=1000
fi
plan_done
