#!/bin/sh
# tests/func/hogs.sh - four guests at their limits, and a fifth and the host that go on as if they were not there
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
PROBE=${PROBE:-$TOP_BUILDDIR/tests/func/probe}
WBPS=1048576

# The number behind KEY in the first of FILES that the guest's groups have with that key.
count() { # GUEST KEY FILE...
	s=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	k=$2
	shift 2
	for f; do
		for at in /sys/fs/cgroup/*/cos."$INSTANCE"/"$s"/"$f" /sys/fs/cgroup/cos."$INSTANCE"/"$s"/"$f"; do
			[ -e "$at" ] && awk -v k="$k" '$1 == k { print $2; found = 1; exit } END { exit !found }' "$at" && return
		done
	done
	echo 0
}
throttled() {
	count "$1" nr_throttled cpu.stat
}
killed() {
	count "$1" oom_kill memory.oom_control memory.events
}
# Before Linux 6.11 v2 counts a fork where the process is, in a group below the one with the limit.
refused() {
	s=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	find /sys/fs/cgroup -path "*/cos.$INSTANCE/$s/*" -name pids.events -exec cat {} + | awk '{ n += $2 } END { print n + 0 }'
}
# Bytes written, of the disk that was written to most: what lies on a loop device is counted on two.
written() {
	s=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	cat /sys/fs/cgroup/*/cos."$INSTANCE"/"$s"/blkio.throttle.io_service_bytes \
		/sys/fs/cgroup/cos."$INSTANCE"/"$s"/io.stat 2>/dev/null |
		awk '{ n = 0; if ($2 == "Write") n = $3; else if (match($0, /wbytes=[0-9]+/)) n = substr($0, RSTART + 7, RLENGTH - 7)
			if (n + 0 > most) most = n + 0 } END { printf "%.0f\n", most }'
}
msec() {
	awk '{ printf "%.0f\n", $1 * 1000 }' /proc/uptime
}
more() { # COUNTER GUEST THAN
	[ "$("$1" "$2")" -gt "$3" ]
}
rises() { # DESCRIPTION COUNTER GUEST: at first it moves, and it goes on to
	was=$("$2" "$3")
	ok "$1" await more "$2" "$3" "$was"
}

# --- the hogs ---
"$COSCTL" create --template busybox fifth -- sleep 1000
"$COSCTL" create --template busybox cpu cpu.rate=2% -- sh -c 'while :; do :; done & while :; do :; done'
# shellcheck disable=SC2016 # the guest's shell
"$COSCTL" create --template busybox memory memory.max=32M -- \
	sh -c 'while :; do sh -c "x=a; while :; do x=\$x\$x\$x; done"; done'
if [ -x "$PROBE" ]; then
	cp "$PROBE" "$T/probe" # to a file system that can map owners, or nothing here could run
	"$COSCTL" create --template busybox fork pids.max=60 \
		binds="[{\"source\": \"$T/probe\", \"target\": \"/bin/probe\", \"readonly\": true}]" -- \
		sh -c 'while :; do /bin/probe forkbomb 1000000 5; done'
fi
"$COSCTL" create --template busybox disk io.wbps=$WBPS -- \
	sh -c 'while dd if=/dev/zero of=/big bs=64k count=64 oflag=direct conv=notrunc 2>/dev/null; do :; done; sleep 1000'
ok "the fifth guest starts" "$COSCTL" start fifth
ok "so does the CPU hog" "$COSCTL" start cpu
ok "and the memory hog" "$COSCTL" start memory
if [ -x "$PROBE" ]; then
	ok "and the fork bomb" "$COSCTL" start fork
	bomb=yes
	running=4
else
	skip "and the fork bomb" "no static probe ($PROBE)"
	bomb=
	running=3
fi
if "$COSCTL" start disk 2>"$T/err"; then
	ok "and the writer" true
	writer=yes
	running=$((running + 1))
else
	skip "and the writer" "$(head -n 1 "$T/err" | tr -d '#')"
	writer=
fi
wrote() {
	more written disk 0
}
if [ "$writer" ] && ! await wrote; then
	skip "which writes" "direct writes are not counted below $T ($(stat -f -c %T "$T"))"
	writer=
fi

# --- each meets its limit ---
rises "the CPU hog is held back" throttled cpu
rises "the memory hog loses processes" killed memory
[ -z "$bomb" ] || rises "the fork bomb is refused processes" refused fork
if [ "$writer" ]; then
	t=$(msec)
	was=$(written disk)
	ok "the writer goes on" await more written disk $((was + 3 * WBPS))
	bytes=$(($(written disk) - was))
	most=$(((($(msec) - t) + 1000) * (WBPS / 1000)))
	is "within its cap" "$([ "$bytes" -le "$most" ] && echo so || echo "$bytes bytes, at most $most")" so
fi

# --- and nobody else does ---
# shellcheck disable=SC2016 # the guest's shell
answers='i=0; while [ "$i" -lt 50 ]; do /bin/true || exit 1; i=$((i + 1)); done'
for round in 1 2 3; do
	ok "the fifth guest answers ($round)" timeout 60 "$COSCTL" exec fifth -- true
	ok "and starts programs of its own ($round)" timeout 60 "$COSCTL" exec fifth -- sh -c "$answers"
	ok "so does the host ($round)" timeout 60 sh -c "$answers"
	ok "and the daemon answers ($round)" timeout 60 "$COSCTL" stats
done
is "the fifth has lost nothing" "$(killed fifth) $(refused fifth)" "0 0"
is "and all still run" "$("$COSCTL" list -o json | grep -c '"running"')" "$running"
rises "the CPU hog is still held back" throttled cpu
rises "the memory hog still loses processes" killed memory
[ -z "$bomb" ] || rises "the fork bomb is still refused" refused fork
ok "a new guest starts among them" timeout 60 "$COSCTL" run --rm --template busybox sixth -- true
ok "all can be stopped" timeout 60 "$COSCTL" stop --timeout 0 --all
is "and are" "$("$COSCTL" list -o json | grep -c '"running"')" 0
plan_done
