#!/bin/sh
# tests/func/limits.sh - limits as the kernel has them, changed while a guest runs, and met by hungry guests
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template

slot_of() {
	"$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p'
}
# The kernel's value of the first of FILES (v1's and v2's name) that the guest's groups have.
kernel() { # GUEST FILE...
	s=$(slot_of "$1")
	shift
	for f; do
		for at in /sys/fs/cgroup/*/cos."$INSTANCE"/"$s"/"$f" /sys/fs/cgroup/cos."$INSTANCE"/"$s"/"$f"; do
			[ -e "$at" ] && cat "$at" && return
		done
	done
	echo "none of $*"
}
rate() {
	kernel "$1" cpu.cfs_quota_us cpu.max | sed 's/^-1$/max/; s/^max .*/max/; s/ 100000$//'
}
share() { # v1 shares as v2 weights
	v=$(kernel "$1" cpu.shares cpu.weight)
	[ -e "/sys/fs/cgroup/cpu/cos.$INSTANCE" ] && v=$((v * 100 / 1024))
	echo "$v"
}
memory() {
	kernel "$1" memory.limit_in_bytes memory.max
}
pids() {
	kernel "$1" pids.max
}
all() {
	echo "$(rate "$1") $(share "$1") $(memory "$1") $(pids "$1")"
}

# --- values ---
"$COSCTL" create --template busybox plain -- sleep 1000
"$COSCTL" create --template busybox g cpu.rate=500m cpu.share=400 memory.max=64M pids.max=50 -- sleep 1000
"$COSCTL" start plain g >"$T/err" 2>&1
is "defaults are in force" "$(all plain)" "max 100 1073741824 1024"
is "what was asked for is in force" "$(all g)" "50000 400 67108864 50"
ok "set, while it runs" "$COSCTL" set g cpu.rate=2 cpu.share=200 memory.max=128M pids.max=60
is "takes effect at once" "$(all g)" "200000 200 134217728 60"
is "and is told" "$("$COSCTL" get g memory.max) $("$COSCTL" get g cpu.rate)" "128M 2"
ok "back to no limit" "$COSCTL" set g cpu.rate=max pids.max=max
is "is one" "$(rate g) $(pids g)" "max max"
own() { # what the guest's own specification has
	"$COSCTL" show g | tr -d ' \n' | sed 's/"state":.*//' | grep -o "$1"
}
"$COSCTL" set g cpu.rate=1 pids.max=60 'env={"A":"1","B":"2"}' hostname=other
ok "a limit and a key are taken back" "$COSCTL" set g cpu.rate= pids.max= hostname= 'env={"A":null}'
is "the defaults are in force at once" "$(rate g) $(pids g)" "max 1024"
is "and told" "$("$COSCTL" get g cpu.rate)" max
is "the specification has them no more" "$(own '"\(cpu.rate\|pids.max\|hostname\|A\)":')" ""
is "but all else" "$(own '"B":"2"') $(own '"cpu.share":[^,}]*')" '"B":"2" "cpu.share":"200"'
ok "what is not there can be taken back as well" "$COSCTL" set g cpu.rate=
fails "but not what is no key" 2 'nokey: unknown key' "$COSCTL" set g nokey=
fails "nor a fixed one" 2 'fixed' "$COSCTL" set g template=
"$COSCTL" set g cpu.rate=1 pids.max=60
before=$(all g)
for bad in cpu.rate=9m cpu.share=0 memory.max=1 pids.max=1 nokey=1 rlimit.nofile=x hostname=-; do
	fails "one bad value ($bad) refuses all" 2 . "$COSCTL" set g cpu.rate=250m memory.max=32M "$bad"
done
fails "a fixed key refuses all" 2 'fixed' "$COSCTL" set g cpu.rate=250m memory.max=32M name=h
is "and nothing has changed" "$(all g)" "$before"
is "nor is anything else told" "$("$COSCTL" get g cpu.rate) $("$COSCTL" get g memory.max)" "1 128M"

# --- memory ---
# shellcheck disable=SC2016 # the guest's shell
"$COSCTL" exec g -- sh -c 'dd if=/dev/zero of=/dev/shm/x bs=1M count=40 2>/dev/null'
is "40 MiB are in use" "$(($("$COSCTL" stats -o json g | sed -n 's/.*"memory_bytes": *\([0-9]*\).*/\1/p') / 1048576 >= 40))" 1
before=$(all g)
fails "a maximum below what is used is refused" 6 'memory.max=16M: the guest holds' \
	"$COSCTL" set g cpu.rate=250m memory.max=16M pids.max=40
fails "with advice" 6 'do: .*--force' "$COSCTL" set g memory.max=16M
is "and nothing has changed" "$(all g)" "$before"
if [ "$(awk '/SwapTotal/ {print $2}' /proc/meminfo)" = 0 ] && [ -e "/sys/fs/cgroup/memory/cos.$INSTANCE" ]; then
	fails "even with --force, where v1 has nothing to reclaim" 6 'uses more than that' \
		"$COSCTL" set --force g cpu.rate=250m memory.max=16M pids.max=40
	is "and what was written before it is taken back" "$(all g)" "$before"
else
	skip "even with --force" "a host without swap, with memory on cgroup v1"
fi
"$COSCTL" exec g -- dd if=/dev/zero of=/big bs=1M count=60 2>/dev/null
ok "page cache is no reason to refuse" "$COSCTL" set g memory.max=56M
"$COSCTL" set g memory.max=128M
"$COSCTL" exec g -- rm /big
"$COSCTL" exec g -- rm /dev/shm/x
ok "with room, it is taken" "$COSCTL" set g memory.max=32M
hog='x=a; while :; do x=$x$x$x; done'
"$COSCTL" exec g -- sh -c "$hog" >"$T/out" 2>&1
is "a command that wants too much is killed" "$?" 137
ok "its guest lives on" "$COSCTL" exec g -- true
ok "so does the other" "$COSCTL" exec plain -- true
ok "and the daemon" "$COSCTL" version
"$COSCTL" run --rm --template busybox hog memory.max=32M -- sh -c "$hog" >"$T/out" 2>&1
is "a guest that wants too much ends with 137" "$?" 137

# --- processes ---
"$COSCTL" set g pids.max=30
# shellcheck disable=SC2016
timeout 30 "$COSCTL" exec g -- sh -c 'while :; do sleep 1000 & done' >"$T/out" 2>&1
like "a fork bomb meets its limit" "$(cat "$T/out")" 'fork'
n=$("$COSCTL" stats -o json g | sed -n 's/.*"pids": *\([0-9]*\).*/\1/p')
is "at no more than that" "$([ "$n" -le 30 ] && [ "$n" -ge 28 ] && echo so)" so
ok "others are not touched by it" "$COSCTL" exec plain -- true
"$COSCTL" exec g -- true >"$T/out" 2>&1 # there may be room for one or none
ok "stop works in a full guest" "$COSCTL" stop --timeout 1 g
"$COSCTL" start g
is "the next start has the limits that were set" "$(rate g) $(memory g) $(pids g)" "100000 33554432 30"

# --- rlimits ---
# shellcheck disable=SC2016
"$COSCTL" create --template busybox r rlimit.nofile=100 rlimit.core=0 rlimit.nproc=77 rlimit.fsize=1M rlimit.stack=1M -- sh -c \
	'ulimit -n; ulimit -Hn; ulimit -c; ulimit -u; ulimit -s; sleep 1000'
"$COSCTL" start r
told() {
	[ "$("$COSCTL" logs r | wc -l)" = 5 ]
}
await told
is "rlimits are the guest's" "$("$COSCTL" logs r | tr -d '\r' | tr '\n' ' ')" "100 100 0 77 1024 "
is "and those of commands in it" "$("$COSCTL" exec r -- sh -c 'ulimit -n; ulimit -Hn; ulimit -c; ulimit -u; ulimit -s' | tr '\n' ' ')" "100 100 0 77 1024 "
ok "a small one starts too" "$COSCTL" run --rm --template busybox small rlimit.nofile=16 -- true
hard=$(awk '/Max open files/ {print $5}' /proc/self/limits)
if "$COSCTL" run --rm --template busybox more rlimit.nofile=$((hard + 1)) -- true 2>"$T/err"; then
	skip "a limit above the host's is refused" "a host where cosd may not raise limits"
else
	like "a limit above the host's is refused" "$(cat "$T/err")" "rlimit.nofile=$((hard + 1)): Operation not permitted"
	like "with advice" "$(cat "$T/err")" 'do: .*CAP_SYS_RESOURCE'
	is "and nothing is left of it" "$("$COSCTL" list -o name | grep -c more)" 0
fi
"$COSCTL" delete --all --force

# --- what cgroup v2 alone has ---
own_group() { # CONTROLLER: all guests' group, when that controller is on v2
	for at in /sys/fs/cgroup/cos."$INSTANCE" /sys/fs/cgroup/*/cos."$INSTANCE"; do
		grep -qw "$1" "$at/cgroup.controllers" 2>/dev/null && echo "$at" && return
	done
	false
}
cached() { # GUEST: MiB of files that it holds in memory
	kernel "$1" memory.stat | awk '$1 == "file" { print int($2 / 1048576) }'
}
if at=$(own_group memory) && ! grep -q ' - cgroup2 .*memory_recursiveprot' /proc/self/mountinfo; then
	fails "memory.reserve is refused" 125 'memory.reserve: cgroup v2 is mounted without memory_recursiveprot' \
		"$COSCTL" run --rm --template busybox v2 memory.reserve=32M -- true
	skip "memory.reserve spares what a guest holds" "memory_recursiveprot of cgroup v2"
elif [ "$at" ]; then
	"$COSCTL" create --template busybox keeps memory.reserve=48M memory.high=100M -- sleep 1000
	"$COSCTL" create --template busybox loses -- sleep 1000
	ok "a reserve can be had" "$COSCTL" start keeps loses
	is "memory.high and memory.reserve are in force" "$(kernel keeps memory.high) $(kernel keeps memory.min)" "104857600 50331648"
	is "as is what is reserved for all guests" "$(cat "$at/memory.min")" 50331648
	for g in keeps loses; do
		"$COSCTL" exec $g -- sh -c 'dd if=/dev/zero of=/cached bs=1M count=24 2>/dev/null; sync'
		ok "$g holds a file in memory" test "$(cached $g)" -ge 24
	done
	if [ -e "$at/memory.reclaim" ]; then
		echo 1G >"$at/memory.reclaim" 2>/dev/null # as much as can be had
		is "want of memory takes it from the one without a reserve" "$([ "$(cached loses)" -lt 12 ] || cached loses)" ""
		is "but not from the one with" "$([ "$(cached keeps)" -ge 24 ] || cached keeps)" ""
	else
		skip "want of memory spares a reserve" "memory.reclaim of Linux 5.19"
	fi
	ok "a reserve can be changed" "$COSCTL" set keeps memory.reserve=16M memory.high=max
	is "which is in force at once" "$(kernel keeps memory.high) $(kernel keeps memory.min) $(cat "$at/memory.min")" "max 16777216 16777216"
	"$COSCTL" stop --timeout 0 keeps
	is "nothing is reserved any more" "$(cat "$at/memory.min")" 0
else
	for k in memory.high memory.reserve; do
		fails "$k is refused" 125 "$k: the memory controller of cgroup v1 has no such control" \
			"$COSCTL" run --rm --template busybox v2 $k=32M -- true
	done
	skip "memory.reserve spares what a guest holds" "the memory controller on cgroup v2"
fi
# Bytes written, of the disk that was written to most.
written() {
	kernel "$1" io.stat | sed -n 's/.*wbytes=\([0-9]*\).*/\1/p' | sort -n | tail -1
}
msec() {
	awk '{ printf "%.0f\n", $1 * 1000 }' /proc/uptime
}
case $(stat -f -c %T "$T") in
ext2/ext3 | xfs | btrfs) charged=yes ;;
*) charged= ;;
esac
if own_group memory >"$T/out" && own_group io >"$T/out" && [ "$charged" ]; then
	"$COSCTL" create --template busybox writes io.wbps=4M -- sleep 1000
	"$COSCTL" create --template busybox free -- sleep 1000
	"$COSCTL" start writes free
	like "io.wbps is in force" "$(kernel writes io.max)" 'wbps=4194304 '
	t=$(msec)
	ok "a file is written through the page cache" "$COSCTL" exec writes -- sh -c 'dd if=/dev/zero of=/big bs=1M count=24 2>/dev/null; sync'
	t=$(($(msec) - t))
	is "which counts as the guest's" "$(($(written writes) >= 24000000))" 1
	# 24 MiB are 6 s; what the kernel lets pass at first is less than a second's.
	is "and is held back" "$([ "$t" -ge 5000 ] || echo "$(written writes) bytes in $t ms")" ""
	"$COSCTL" exec free -- sh -c 'dd if=/dev/zero of=/big bs=1M count=24 2>/dev/null; sync'
	is "what others write is theirs" "$(($(written free) >= 24000000 && $(written writes) < 48000000))" 1
	ok "the cap goes while the guest runs" "$COSCTL" set writes io.wbps=max
	is "and is no more" "$(kernel writes io.max | grep -c wbps=[0-9])" 0
else
	skip "io.wbps holds what is written through the page cache" \
		"memory and io on cgroup v2, and ext4, xfs or btrfs below $T ($(stat -f -c %T "$T"))"
fi
"$COSCTL" delete --all --force

# --- what the host has to give ---
kill -TERM "$(cat "$T/run/keep.pid")"
await test ! -e "$T/run/keep.pid"
echo '{"id.count": 2}' >"$T/cosd.json"
COSD_ARGS="--config $T/cosd.json"
cos_start_daemon
"$COSCTL" create --template busybox 'n{1..3}' -- sleep 1000
ok "two ranges of ids are enough for two" "$COSCTL" start n1 n2
fails "a third guest is refused" 6 'id.count' "$COSCTL" start n3
fails "with advice" 6 'do: .*stop guests' "$COSCTL" start n3
fails "so is one more to run" 125 'id.count' "$COSCTL" run --rm --template busybox n4 -- true
is "which leaves nothing" "$("$COSCTL" list -o name | sort | tr '\n' ' ')" "n1 n2 n3 "
ok "after a stop" "$COSCTL" stop --timeout 0 n1
ok "there is room" "$COSCTL" start n3
ok "for as many as before" "$COSCTL" exec n3 -- true
"$COSCTL" delete --all --force
kill -TERM "$(cat "$T/run/keep.pid")"
await test ! -e "$T/run/keep.pid"
echo '{"id.count": 60}' >"$T/cosd.json"
cos_start_daemon
"$COSCTL" create --template busybox 's{01..58}' cpu.rate=100m cpu.burst=2 -- sleep 1000
"$COSCTL" start 's{01..58}'
"$COSCTL" delete --force 's{01..57}'
id_base() {
	"$COSCTL" list -o json "$1" | sed -n 's/.*"id_base": *\([0-9]*\).*/\1/p'
}
base=$(id_base s58)
first=$("$COSCTL" doctor -o json | sed -n 's/.*ids \([0-9]*\)\.\..*/\1/p' | head -1)
kill -9 "$(cat "$T/run/keep.pid")" "$(cat "$T/run/cosd.pid")"
echo '{"id.count": 3, "id.base": '$((first + 65536))'}' >"$T/cosd.json"
cos_start_daemon
worker=$(cat "$T/run/cosd.pid")
is "with fewer ranges a guest keeps its ids" "$(id_base s58)" "$base"
is "which it has" "$("$COSCTL" exec s58 -- awk '{ print $2 }' /proc/self/uid_map)" "$base"
ok "and is served" "$COSCTL" stats s58
"$COSCTL" create --template busybox s1 -- sleep 1000
ok "another one starts" "$COSCTL" start s1
is "with ids that count from where they did" "$(($(id_base s1) - first < 3 * 65536))" 1
is "all by one worker" "$(cat "$T/run/cosd.pid")" "$worker"
plan_done
