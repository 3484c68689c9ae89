#!/bin/sh
# tests/demo.sh - what cos does, shown with a private daemon that leaves nothing behind
# usage: tests/demo.sh BUILD_DIR     the folder with cosd, cosctl and cow-fs; run by 'sudo ./bootstrap demo'
set -eu

build=$(cd "${1:?usage: tests/demo.sh BUILD_DIR}" && pwd)
[ "$(id -u)" = 0 ] || { echo "demo: must be run by root" >&2; exit 7; }
# On a disk: a guest's root is an overlay, which cannot stand on another one.
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/cos-demo.XXXXXX")
instance=demo-$$
daemon=
COS_SOCKET=$dir/run/cosd.sock
PATH=$build:$PATH
export COS_SOCKET PATH

cleanup() {
	status=$?
	trap - EXIT INT TERM HUP
	set +e
	if [ -n "$daemon" ]; then
		cosctl delete --all --force >/dev/null 2>&1
		[ -e "$dir/run/keep.pid" ] && daemon=$(cat "$dir/run/keep.pid")
		kill -TERM "$daemon" 2>/dev/null
		i=0
		while kill -0 "$daemon" 2>/dev/null && [ "$i" -lt 100 ]; do
			i=$((i + 1))
			sleep 0.1
		done
	fi
	# What the daemon could not take away because a child of it was still sweeping.
	i=0
	while grep -q " $dir/state " /proc/self/mountinfo && [ "$i" -lt 50 ]; do
		umount "$dir/state" 2>/dev/null || sleep 0.1
		i=$((i + 1))
	done
	[ "$status" = 0 ] || { echo "demo: failed; the daemon's log:" >&2; cat "$dir/cosd.log" >&2; }
	rm -rf "$dir"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 1' INT TERM HUP

say() {
	printf '\n# %s\n' "$*"
}
shown() { # COMMAND...: the command line as one would type it
	printf '$'
	for word; do
		case $word in
		*[!A-Za-z0-9_./:=%,@+-]* | '') printf " '%s'" "$word" ;;
		*) printf ' %s' "$word" ;;
		esac
	done
	printf '\n'
}
run() { # COMMAND...: shown, done, and it succeeds
	shown "$@"
	"$@"
}
ends() { # STATUS COMMAND...: shown, done, and it ends with STATUS
	want=$1
	shift
	shown "$@"
	got=0
	"$@" || got=$?
	echo "(exit status $got)"
	[ "$got" = "$want" ] || { echo "demo: expected $want" >&2; exit 1; }
}
must_be() { # WHAT VALUE LOW HIGH: a figure is where it has to be
	echo "$1: $2"
	if [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
		echo "demo: expected $3 to $4" >&2
		exit 1
	fi
}
cpu_usec() { # NAME: CPU time that a guest has used
	cosctl stats -o json "$1" | sed -n 's/.*"cpu_usec": \([0-9]*\).*/\1/p'
}
percent() { # NAME: of one CPU, over about a second
	t0=$(date +%s%N)
	c0=$(cpu_usec "$1")
	sleep 1
	c1=$(cpu_usec "$1")
	t1=$(date +%s%N)
	echo $(((c1 - c0) * 100000 / (t1 - t0)))
}

serves() { # waits until the daemon answers
	i=0
	until cosctl version >/dev/null 2>&1; do
		i=$((i + 1))
		[ "$i" -lt 100 ] || { echo "demo: cosd does not answer" >&2; exit 1; }
		sleep 0.1
	done
}

exec 2>&1
say "A private daemon: its own state directory, sockets, control groups and user ids."
echo "$ cosd --instance $instance --state-dir $dir/state --runtime-dir $dir/run &"
cosd --instance "$instance" --state-dir "$dir/state" --runtime-dir "$dir/run" >"$dir/cosd.log" 2>&1 </dev/null &
daemon=$!
serves
run cosctl version
run cosctl doctor

say "A template: the tree that guests stand on, made from this host's static busybox."
run cosctl template build busybox

say "A guest that lives as long as its command, and is gone after it. Its exit status is ours."
ends 3 cosctl run --rm --template busybox first -- sh -c 'echo "I am $(id -un) on $(hostname), process $$"; exit 3'

say "Two guests that stay. Each is root in its own world: processes, files, user ids."
run cosctl create --template busybox alice memory.max=64M pids.max=30 -- sleep 1000
run cosctl create --template busybox bob -- sh -c 'while :; do :; done'
run cosctl start alice bob
run cosctl list
run cosctl exec alice -- ps
run cosctl exec alice -- cat /proc/self/uid_map
run cosctl exec alice -- sh -c 'echo "only in alice" > /root/note'
ends 1 cosctl exec bob -- cat /root/note

say "Limits hold. bob runs in a loop; his share of a CPU can be changed while he does."
must_be "bob's CPU time, without a limit, % of one CPU" "$(percent bob)" 20 110
run cosctl set bob cpu.rate=20%
must_be "bob's CPU time, with cpu.rate=20%" "$(percent bob)" 10 30
say "alice may have 30 processes: the rest of 100 are refused to her, and her neighbours do not notice."
shown cosctl exec alice -- sh -c 'for i in $(seq 100); do sleep 5 & done'
cosctl exec alice -- sh -c 'for i in $(seq 100); do sleep 5 & done' >"$dir/forks" 2>&1 || true
tail -n 1 "$dir/forks"
must_be "alice's processes" "$(cosctl stats -o json alice | sed -n 's/.*"pids": \([0-9]*\).*/\1/p')" 20 30
run cosctl restart --timeout 0 alice
if grep -q '^SwapTotal: *0 ' /proc/meminfo; then
	say "She may have 64 MB of memory: what wants more is ended, and she runs on."
	ends 137 cosctl exec alice -- sh -c 'exec tail -c 200000000 /dev/zero'
else
	say "(She may have 64 MB of memory; this host has swap, which is not limited, so nothing ends here.)"
fi
run cosctl status alice

say "Metering: what each guest has used, for people and for programs."
run cosctl stats
run cosctl stats -o csv

say "Guests outlive the daemon's processes. Here both of them are killed, one after the other."
run kill -9 "$(cat "$dir/run/cosd.pid")"
sleep 0.1
serves
run kill -9 "$(cat "$dir/run/keep.pid")"
sleep 0.1
serves
run cosctl list
shown cosctl events
cosctl events | tail -n 7

say "Many at once."
run cosctl create --template busybox 'w{01..20}' -- sleep 1000
run cosctl start 'w{01..20}'
must_be "guests that run" "$(cosctl list -o name --filter state=running | wc -l)" 22 22

say "They stop as they are asked to: a signal, a while to end, then the kill."
run cosctl stop --all --timeout 2
must_be "guests that run" "$(cosctl list -o name --filter state=running | wc -l)" 0 0
run cosctl delete --all
must_be "control groups that are left" "$(find /sys/fs/cgroup -path "*/cos.$instance/*" -type d | wc -l)" 0 0

say "Done: a daemon, a template, 23 guests that were made, started, limited, metered, stopped and deleted."
say "Where to go on: README.md, and 'man -l build/obj/man/cosctl.1'."
