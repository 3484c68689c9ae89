#!/bin/sh
# tests/func/bucket.sh - CPU buckets that the daemon keeps: burst, hold, idle time, credit over restarts
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
stat() { # GUEST KEY: a number of cosctl stats
	"$COSCTL" stats -o json "$1" | sed -n "s/.*\"$2\": *\(-\{0,1\}[0-9]*\).*/\1/p" | head -1
}
now() { # microseconds
	awk '{ printf "%d", $1 * 1000000 }' /proc/uptime
}
spin() { # GUEST: one process that takes a whole CPU
	"$COSCTL" exec "$1" -- sh -c 'while :; do :; done' &
	spinner=$!
}
calm() { # GUEST
	"$COSCTL" exec "$1" -- killall -9 sh >/dev/null 2>&1
	wait $spinner 2>/dev/null
}
sleeper() {
	"$COSCTL" create --template busybox "$@" -- sleep 1000 && "$COSCTL" start "$1"
}
credit_below() { # GUEST USEC
	[ "$(stat "$1" cpu_credit_usec)" -lt "$2" ]
}

for v in cpu.burst=86401 cpu.hold=-1 cpu.hold=86401; do
	fails "$v is refused" 2 'cpu\.' "$COSCTL" create --template busybox bad cpu.rate=250m "$v" -- true
done
fails "hold without a rate" 2 'cpu.hold=1s needs cpu.rate' "$COSCTL" create --template busybox bad cpu.hold=1 -- true
fails "and above the bucket" 2 'is above cpu.burst' "$COSCTL" create --template busybox bad cpu.rate=1 cpu.burst=1 cpu.hold=2 -- true

# --- a bucket larger than the kernel's ---
ok "a guest that may save two seconds" sleeper b1 cpu.rate=100m cpu.burst=2
credit=$(stat b1 cpu_credit_usec) # its start took some, and it saves again
ok "has them at once: $credit" test "$credit" -gt 1500000 -a "$credit" -le 2000000
began=$(now)
used=$(stat b1 cpu_usec)
spin b1
ok "running takes them" await credit_below b1 100000
took=$(($(stat b1 cpu_usec) - used))
elapsed=$(($(now) - began))
ok "it got what it had saved: $took us in $elapsed" test "$took" -gt 1500000
ok "and no more than that and its rate" test "$took" -le $((2000000 + elapsed / 10 + 300000))
began=$(now)
used=$(stat b1 cpu_usec)
sleep 3
took=$(($(stat b1 cpu_usec) - used))
elapsed=$(($(now) - began))
ok "then it has its rate: $took us in $elapsed" test "$took" -le $((elapsed / 10 + 100000))
ok "and is throttled" test "$(stat b1 throttled_usec)" -gt 1000000
credit=$(stat b1 cpu_credit_usec)
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the next worker knows what is left ($credit): $(stat b1 cpu_credit_usec)" credit_below b1 400000
ok "a restart of the guest gives nothing" sh -c "'$COSCTL' restart --timeout 0 b1"
ok "it has what it had" credit_below b1 800000
wait $spinner 2>/dev/null
"$COSCTL" set b1 cpu.burst=1
spin b1
await credit_below b1 100000
"$COSCTL" set b1 cpu.rate=max cpu.burst=0
used=$(stat b1 cpu_usec)
free() {
	[ $(($(stat b1 cpu_usec) - used)) -gt 500000 ]
}
ok "without a rate it is held back no more" await free
is "and has no bucket" "$(stat b1 cpu_credit_usec)" ""
calm b1
"$COSCTL" set b1 cpu.rate=200m cpu.burst=100ms
is "a small one is the kernel's" "$(stat b1 cpu_credit_usec)" ""
"$COSCTL" delete --force b1

# --- hold ---
ok "a guest that has to save 200 ms when it is empty" sleeper h1 cpu.rate=100m cpu.burst=300ms cpu.hold=200ms
spin h1
held() {
	[ "$(stat h1 cpu_held_usec)" -gt 200000 ]
}
ok "is held" await held
used=$(stat h1 cpu_usec)
ok "and does not run: $(stat h1 cpu_credit_usec)" test $(($(stat h1 cpu_usec) - used)) -lt 50000
full() {
	[ "$(stat h1 cpu_held_usec)" -gt 1500000 ]
}
ok "for about two seconds" await full
again() {
	[ $(($(stat h1 cpu_usec) - used)) -gt 120000 ]
}
ok "then it runs again" await again
calm h1
"$COSCTL" delete --force h1

# --- idle time ---
ok "a guest that takes idle time when it is empty" sleeper i1 cpu.rate=100m cpu.idle=true cpu.share=200
spin i1
used=$(stat i1 cpu_usec)
more() {
	[ $(($(stat i1 cpu_usec) - used)) -gt 1500000 ]
}
ok "gets more than its rate on an idle host" await more
ok "and was held meanwhile" test "$(stat i1 cpu_held_usec)" -gt 100000
like "top shows the credit" "$("$COSCTL" top -n 1)" CREDIT
calm i1
"$COSCTL" set i1 cpu.idle=false cpu.share=300
is "without it there is no bucket" "$(stat i1 cpu_credit_usec)" ""
"$COSCTL" delete --force i1

# --- descriptors ---
worker=$(cat "$T/run/cosd.pid")
fds() {
	set -- "/proc/$worker/fd"/*
	echo $#
}
before=$(fds)
ok "a guest with all that the worker keeps files of" sleeper f1 cpu.rate=100m cpu.burst=300ms cpu.share=50 \
	memory.max=64M memory.swap=0 pids.max=50
looked_at() { # the sampler and hits.c open what they read at their first look
	ls -l "/proc/$worker/fd" | grep -q pids.events && ls -l "/proc/$worker/fd" | grep -q memory.stat
}
ok "is looked at" await looked_at
prlimit --pid "$worker" --nofile=376
like "doctor counts with so many for each" "$("$COSCTL" doctor)" 'descriptors: 376, enough for about 5 '
ok "it takes no more: $before, then $(fds)" test $(($(fds) - before)) -le 24
"$COSCTL" delete --force f1
given_back() {
	[ "$(fds)" -le "$before" ]
}
ok "and gives them back" await given_back
plan_done
