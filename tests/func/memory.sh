#!/bin/sh
# tests/func/memory.sh - who gives memory when guests hold too much together: shares, idle tax, bounds
. "$(dirname "$0")/lib.sh"
CONF=$(mktemp)
mib=1048576
conf() { # CAP [SPARE HOST-SHARE]: a spare of 0, so that nothing is taken for the sake of a host on which tests run
	printf '{"ledger.interval": 1, "memory.cap": "%s", "memory.spare": %s, "memory.host_share": %s}' "$1" "${2:-0}" "${3:-1000}" >"$CONF"
}
cap() {
	conf "$@"
	n=$("$COSCTL" events | grep -c ' reload')
	kill -HUP "$(cat "$T/run/keep.pid")"
	await sh -c "[ \$('$COSCTL' events | grep -c ' reload') -gt $n ]"
}
conf ""
COSD_ARGS="--config $CONF"
cos_setup
trap 'cos_teardown; rm -f "$CONF"; exit 1' EXIT INT TERM
cos_template
stat() { # GUEST KEY
	"$COSCTL" stats -o json "$1" | sed -n "s/.*\"$2\": *\([0-9]*\).*/\1/p" | head -1
}
held() {
	stat "$1" memory_bytes
}
holds() { # GUEST LEAST MOST, in MiB
	v=$(held "$1")
	[ "$v" -ge $(($2 * mib)) ] && [ "$v" -le $(($3 * mib)) ]
}
begun() { # GUEST KEY=VALUE...
	"$COSCTL" create --template busybox "$@" -- sleep 1000 && "$COSCTL" start "$1"
}
file() { # GUEST MIB: page cache that is charged to it, clean, read once
	"$COSCTL" exec "$1" -- sh -c "dd if=/dev/zero of=/f bs=1M count=$2 conv=fsync" 2>/dev/null
}
slot_file() { # GUEST FILE...: the first of them that its control groups have
	slot=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	shift
	for f in "$@"; do
		cat "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/$slot/$f" 2>/dev/null | head -1)" 2>/dev/null && return
	done
}
limit() {
	slot_file "$1" memory.limit_in_bytes memory.max
}

for v in 0 10001 max; do
	fails "memory.share=$v is refused" 2 'memory.share' "$COSCTL" create --template busybox bad "memory.share=$v" -- true
done

# --- shares ---
begun s1 memory.share=100
begun s3 memory.share=300
file s1 200
file s3 200
ok "two guests hold 200 MiB of page cache" await sh -c "[ $(held s1) -gt $((200 * mib)) ] && [ $(held s3) -gt $((200 * mib)) ]"
cap 204M
ok "above the cap who has one share keeps one part" await holds s1 40 62
ok "and who has three keeps three" holds s3 140 165
like "which is an event" "$("$COSCTL" events)" 'memory-taken.* s1 '
ok "and stands in its figures: $(stat s1 memory_taken_bytes)" test "$(stat s1 memory_taken_bytes)" -gt $((130 * mib))
like "why names the share" "$("$COSCTL" why s1)" 'memory.share'
is "its limit is as it was" "$(limit s1)" $((1024 * mib))
is "and it is not bound" "$(stat s1 memory_bound_bytes)" ""
before=$(held s3)
"$COSCTL" set s1 memory.share=10000
cap 150M
ok "shares change while guests run: now the other gives" await sh -c "[ \$('$COSCTL' stats -o json s3 | sed -n 's/.*\"memory_bytes\": *\([0-9]*\).*/\1/p' | head -1) -lt $((before - 30 * mib)) ]"
"$COSCTL" delete --force s1
"$COSCTL" delete --force s3
cap ""

# --- idle memory ---
begun idle
begun busy
file idle 150
file busy 150
for _ in 1 2 3; do # pages that are read again are in use
	"$COSCTL" exec busy -- cat /f >/dev/null
done
cap 204M
ok "with equal shares the idle one gives" await holds idle 0 85
ok "and who uses what it holds keeps it" holds busy 120 200
"$COSCTL" delete --force idle
"$COSCTL" delete --force busy
cap ""

# --- what cannot be taken ---
begun firm memory.max=400M memory.swap=0
begun small
shm() { # GUEST FILE MIB: memory that cannot be taken
	"$COSCTL" exec "$1" -- dd if=/dev/zero of="/dev/shm/$2" bs=1M count="$3"
}
ok "a guest with memory that cannot be taken" shm firm a 60
cap 50M
bound() {
	[ -n "$(stat firm memory_bound_bytes)" ]
}
ok "is bound to what it holds when guests hold too much" await bound
like "which is an event" "$("$COSCTL" events)" 'memory-bound.* firm '
ok "in its group too: $(limit firm)" test "$(limit firm)" -lt $((80 * mib))
is "the other is not" "$(stat small memory_bound_bytes)" ""
like "why tells that it is so now" "$("$COSCTL" why firm)" 'memory.share .*true'
shm firm b 40 >/dev/null 2>&1
ok "it does not grow" holds firm 0 80
ok "and the other guest works" "$COSCTL" exec small -- true
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the next worker binds it again" await bound
"$COSCTL" set firm memory.max=300M
ok "a new limit does not free it for long" await bound
cap 500M
freed() {
	! bound && [ "$(limit firm)" = $((300 * mib)) ]
}
ok "it is let go when there is room, with the limit that was set meanwhile" await freed
like "which is an event" "$("$COSCTL" events)" 'memory-free.* firm '
"$COSCTL" delete --force firm
"$COSCTL" delete --force small

# --- equal pages once ---
merges() { # GUEST: whether its first process, and one that is executed in it, let the kernel do that
	pid=$("$COSCTL" status -o json "$1" | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
	{ cat "/proc/$pid/ksm_stat"; "$COSCTL" exec "$1" -- cat /proc/self/ksm_stat; } | grep -c 'ksm_merge_any: yes'
}
if [ "$(uname -r | awk -F. '{ print ($1 * 1000 + $2 >= 6007) }')" = 0 ]; then
	fails "memory.ksm on a kernel that has it not" 1 'needs Linux 6.7' begun k memory.ksm=true
	"$COSCTL" delete --force k
elif ! grep -q ksm_merge_any /proc/self/ksm_stat; then
	skip "memory.ksm" "a kernel whose /proc/PID/ksm_stat tells of it, Linux 6.14"
else
	begun k memory.ksm=true
	begun k0
	is "memory.ksm: its processes let the kernel keep equal pages once" "$(merges k)" 2
	is "others do not" "$(merges k0)" 0
	"$COSCTL" delete --force k
	"$COSCTL" delete --force k0
fi

# --- machines ---
if [ ! -e /dev/kvm ]; then
	skip "a machine lends what it does not use" "/dev/kvm"
else
	"$COSCTL" create --type vm --kernel "$TOP_BUILDDIR/tests/vmm/guest" --cmdline "test=balloon touch=24 available=48" \
		m vm.memory=64M vm.acpi=false
	"$COSCTL" start m
	ok "a machine that has used 24 MiB" await holds m 24 64
	cap 12M
	lends() {
		"$COSCTL" stats -o json m | grep -q '"actual_bytes": *[1-9]'
	}
	ok "lends what it says it does not use" await lends
	ok "and holds less then" await holds m 0 20
	like "which is an event" "$("$COSCTL" events)" 'memory-lent.* m '
	counts() {
		"$COSCTL" usage -o json m | grep -q '"balloon_kib_sec": *[1-9]'
	}
	ok "which the ledger counts" await counts
	is "it is not bound" "$(stat m memory_bound_bytes)" ""
	cap 500M
	ok "it gets it back when there is room" await sh -c "'$COSCTL' logs m | grep -q deflated"
	like "which is an event" "$("$COSCTL" events)" 'memory-returned.* m '
	"$COSCTL" delete --force m
	cap ""
fi

# --- a host that is short ---
of_host() { # KEY: MiB
	awk "/^$1:/ { print int(\$2 / 1024) }" /proc/meminfo
}
if [ "$(of_host MemTotal)" -gt 4096 ]; then
	skip "who gives when the host is short" "a host of at most 4 GiB, which a test may fill"
else
	begun g memory.max=max
	file g 150
	dd if=/dev/zero of="$T/fill" bs=1M count=$(($(of_host MemFree) * 7 / 10)) 2>/dev/null
	sync "$T/fill"
	cap "" 50 1
	sleep 3 # in which it would be taken
	ok "it is the rest of the host that holds too much" holds g 140 200
	cap "" 50 1000000
	ok "it is the guest that does" await holds g 0 20
	rm -f "$T/fill"
	"$COSCTL" delete --force g
fi
rm -f "$CONF"
plan_done
