#!/bin/sh
# tests/func/disk.sh - limits of the space that guests' files take: project quota on ext4 and xfs, loop images
. "$(dirname "$0")/lib.sh"
COWFS=$TOP_BUILDDIR/cow-fs/cow-fs
cos_setup
cos_template

sh_in() { # GUEST SCRIPT
	"$COSCTL" exec "$1" -- sh -c "$2"
}
total_kib() { # GUEST: what df in it has as its size
	sh_in "$1" 'df -k /' | awk 'END { print $2 }'
}
fill() { # GUEST FILE MIB: writes so much; what came of it, and in bytes
	sh_in "$1" "dd if=/dev/zero of=$2 bs=64k count=$(($3 * 16)) 2>&1; sync; stat -c 'size %s' $2"
}
size_of() { # OUTPUT of fill
	printf '%s\n' "$1" | sed -n 's/^size //p'
}
held() { # GUEST LIMIT
	"$COSCTL" stats --limits --no-headers "$1" | awk -v l="$2" '$2 == l { print $3 }'
}
between() { # LOW VALUE HIGH
	[ -n "$2" ] && [ "$1" -le "$2" ] && [ "$2" -le "$3" ]
}
kill_worker() {
	worker=$(cat "$T/run/cosd.pid")
	kill -9 "$worker"
	await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
}
stop_daemon() {
	"$COSCTL" delete --all --force >/dev/null 2>&1
	kill -TERM "$(cat "$T/run/keep.pid")"
	await test ! -e "$T/run/keep.pid"
	! grep -q " $T/state " /proc/self/mountinfo || await umount "$T/state"
	rm -rf "$T/state"
	mkdir "$T/state"
}
is_refused() { # WHAT STATUS KEY=VALUE...
	what=$1
	status=$2
	shift 2
	fails "$what" "$status" 'disk[./]' "$COSCTL" create --template busybox refused "$@" -- true
}
root_job() { # what cow-fs does to a root now, its process: a child of the worker; pgrep would look at all there are
	for p in $(cat "/proc/$(cat "$T/run/cosd.pid")/task/"*/children 2>/dev/null); do
		case $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") in
		cow-fs*' root '*) echo "$p" ;;
		esac
	done
}
is_stopped() {
	grep -q '^State:.T' "/proc/$1/status"
}
hold_grow() { # begins to give img more, $mib, by $client, and stops its child, $job, before that is done
	tries=0
	while [ $tries -lt 40 ]; do
		tries=$((tries + 1))
		mib=$((mib + 2))
		"$COSCTL" set img disk.max="${mib}M" >"$T/grow.log" 2>&1 &
		client=$!
		while kill -0 $client 2>/dev/null; do
			job=$(root_job)
			[ -z "$job" ] || ! kill -STOP "$job" 2>/dev/null || return 0
		done
	done
	return 1
}
has_all() { # img sees its size
	between $((mib * 900)) "$(total_kib img)" $((mib * 1024))
}
hold_create() { # begins to create slow, $client, and stops its child, $job, before that is done
	tries=0
	while [ $tries -lt 40 ]; do
		tries=$((tries + 1))
		"$COSCTL" create --template busybox slow disk.quota=loop disk.max=64M -- true >"$T/slow.log" 2>&1 &
		client=$!
		while kill -0 $client 2>/dev/null; do
			job=$(root_job)
			[ -n "$job" ] && kill -STOP "$job" 2>/dev/null && await is_stopped "$job" &&
				[ ! -e "$T/state/cow/guests/slow" ] && return 0
			[ -z "$job" ] || kill -CONT "$job" 2>/dev/null
		done
		wait $client
		"$COSCTL" delete slow
	done
	return 1
}
nothing_of_slow() {
	! ls "$T/state/cow/tmp" "$T/state/cow/guests" "$T/state/guests" | grep -qE 'slow|^g-' && [ -z "$(root_job)" ]
}
loops() { # how many devices have files of this test
	losetup -a | grep -c "$T/state/"
}

# --- wrong values ---
for v in disk.max=0 disk.max=-1 disk.max=x disk.max=1K disk.max=99999999T disk.inodes=5 disk.inodes=x \
	disk.inodes=9999999999 disk.quota=zfs disk.quota=; do
	is_refused "$v" 2 "$v"
done
is_refused "more than the disk has" 6 disk.max=60T
is_refused "a loop image without a size" 2 disk.quota=loop
is "nothing is left of them" "$("$COSCTL" list -q)" ""

# --- both kinds ---
fills_up() { # GUEST MESSAGE LIMIT-MIB
	out=$(fill "$1" /fill $(($3 + 20)))
	like "a file that is too large ends there" "$out" "$2"
	ok "with what was free" between $((($3 - 12) << 20)) "$(size_of "$out")" $(($3 << 20))
	like "why tells" "$("$COSCTL" why "$1")" 'disk.max +.* true'
	ok "a neighbour writes on" sh_in next 'dd if=/dev/zero of=/x bs=1M count=40 2>/dev/null && rm /x'
	ok "and the host" sh -c "dd if=/dev/zero of='$T/state/x' bs=1M count=10 2>/dev/null && rm '$T/state/x'"
}

# --- loop images ---
if ! "$COWFS" --state-dir "$T/state" limits | grep -q '^ok *loop-image'; then
	skip "loop images" "$("$COWFS" --state-dir "$T/state" limits | sed -n 's/^NO *loop-image *//p')"
else
	"$COSCTL" create --template busybox next -- sleep 1000
	"$COSCTL" start next
	if [ -e /proc/$$/task/$$/children ]; then
		ok "a guest's image is a child's work" hold_create
		ok "for which the create waits" kill -0 "$client"
		is "while the daemon answers" "$(timeout 5 "$COSCTL" list -q)" next
		fails "the name is taken" 5 'slow is being made' "$COSCTL" create --template busybox slow -- true
		kill -CONT "$job"
		wait "$client"
		is "it is created then" "$? $("$COSCTL" get slow disk.max)" "0 64M"
		"$COSCTL" delete slow
		hold_create
		kill -9 "$job"
		wait "$client"
		is "a child that is killed is an error" "$?" 1
		like "which says so" "$(cat "$T/slow.log")" 'cow-fs was killed'
		await nothing_of_slow
		ok "and leaves nothing" nothing_of_slow
		hold_create
		kill "$client"
		wait "$client" 2>/dev/null
		await nothing_of_slow
		ok "it ends with the client" nothing_of_slow
		hold_create
		kill_worker
		wait "$client"
		ok "and with the worker" test "$?" != 0
		await nothing_of_slow
		ok "of which the next one finds nothing" nothing_of_slow
		is "nor is there a guest" "$("$COSCTL" list -q)" next
	else
		skip "who makes an image is killed" "a kernel with /proc/PID/task/TID/children"
	fi
	is "one is made and run at once" "$("$COSCTL" run --rm --template busybox once disk.quota=loop disk.max=16M -- sh -c 'df -k / | tail -n 1 | wc -l; exit 3'; echo $?)" "1
3"
	fails "who has no image gets no limit later" 1 'without a quota' "$COSCTL" set next disk.max=1G
	ok "a guest with 64M" "$COSCTL" create --template busybox img disk.quota=loop disk.max=64M -- sleep 1000
	ok "starts" "$COSCTL" start img
	like "is told" "$("$COSCTL" show img)" '"disk_quota": "loop"'
	ok "sees its size" between 50000 "$(total_kib img)" 65536
	is "on a device" "$(loops)" 1
	fills_up img 'No space left' 64
	sh_in img 'rm /fill'
	ok "what it removed is free" sh_in img 'dd if=/dev/zero of=/again bs=1M count=40'
	sh_in img 'echo kept >/kept; rm /again; sync'
	ok "its files are counted" between 4096 "$(held img disk.max)" 2097152
	ok "and their number" between 5 "$(held img disk.inodes)" 60
	fails "it does not shrink" 1 'only grows' "$COSCTL" set img disk.max=32M
	fails "not with force either" 1 'only grows' "$COSCTL" set --force img disk.max=32M
	fails "nor has it another number of inodes" 1 'disk.inodes: is fixed' "$COSCTL" set img disk.inodes=500
	is "which changes nothing" "$("$COSCTL" get img disk.max)" 64M
	if [ $((0x$(awk '$1 == "CapEff:" { print $2 }' /proc/self/status) >> 24 & 1)) = 1 ]; then # CAP_SYS_RESOURCE
		mib=126
		ok "it grows while it runs" hold_grow
		is "while the daemon answers" "$(timeout 5 "$COSCTL" list -q | tr '\n' ' ')" "img next "
		fails "one change at a time" 1 'img is being given more space' "$COSCTL" set img disk.max=512M
		kill -CONT "$job"
		ok "which is done" wait "$client"
		is "and known" "$("$COSCTL" get img disk.max)" "${mib}M"
		ok "which it sees" has_all
		out=$(fill img /fill 80)
		ok "and can use" between $((80 << 20)) "$(size_of "$out")" $((80 << 20))
		sh_in img 'rm /fill'
	else
		fails "it does not grow without CAP_SYS_RESOURCE" 1 'CAP_SYS_RESOURCE' "$COSCTL" set img disk.max=128M
		skip "a file system grows" "CAP_SYS_RESOURCE"
	fi
	for what in "snapshot img s"; do
		# shellcheck disable=SC2086 # words
		"$COSCTL" stop --timeout 0 img && fails "no $what" 1 'file system of its own' "$COSCTL" $what
	done
	"$COSCTL" start img
	fails "no clone while it runs" 1 'file system of its own' "$COSCTL" clone img copy
	"$COSCTL" stop --timeout 0 img
	ok "but while it does not" "$COSCTL" clone img copy
	ok "which starts" "$COSCTL" start copy
	is "has the files" "$(sh_in copy 'cat /kept; echo own >/kept')" kept
	is "on a device of its own" "$(loops)" 1
	like "and is like it" "$("$COSCTL" show copy)" '"disk_quota": "loop"'
	"$COSCTL" delete --force copy
	await test "$(loops)" = 0
	fails "nor is it unified" 1 'file system of its own' "$COWFS" --state-dir "$T/state" unify img
	await test "$(loops)" = 0
	is "its device is free while it is stopped" "$(loops)" 0
	if [ -n "${mib:-}" ]; then
		hold_grow
		kill -9 "$job"
		ok "whoever kills the child does not keep it from growing" wait "$client"
		hold_grow
		kill_worker
		wait "$client"
		is "nor who kills the worker" "$("$COSCTL" get img disk.max)" "${mib}M"
	fi
	ok "it starts again" "$COSCTL" start img
	[ -z "${mib:-}" ] || ok "and has all" has_all
	is "with its files" "$(sh_in img 'cat /kept')" kept
	kill_worker
	is "it runs on under another worker" "$(sh_in img 'cat /kept')" kept
	ok "which counts its files" between 4096 "$(held img disk.max)" 2097152
	"$COSCTL" restart --timeout 0 img
	is "and starts it again" "$(sh_in img 'cat /kept')" kept
	is "on one device" "$(loops)" 1
	ok "some files" "$COSCTL" create --template busybox few disk.max=16M disk.inodes=100 disk.quota=loop -- sleep 1000
	"$COSCTL" start few
	is "no more than so many" "$(sh_in few 'i=0; while [ $i -lt 200 ] && true 2>/dev/null >/f$i; do i=$((i+1)); done; [ $i -gt 80 ] && [ $i -lt 130 ] && echo good || echo $i')" good
	for i in 1 2 3; do # what is spared for that is there again each time
		ok "with all of them used it starts again ($i)" "$COSCTL" restart --timeout 0 few
		is "and has none left ($i)" "$(sh_in few 'i=0; while [ $i -lt 200 ] && true 2>/dev/null >/g$i; do i=$((i+1)); done; [ $i -lt 3 ] && echo good || echo $i')" good
	done
	ok "so that some can be removed" sh_in few 'rm /f1 && true >/again'
	"$COSCTL" set few memory.max=512M # which has nothing to do with it
	fails "nor more by more space" 1 'more than disk.inodes' "$COSCTL" set few disk.max=32M
	ok "both go" "$COSCTL" delete --force img few
	await test "$(loops)" = 0
	is "and their devices" "$(loops)" 0
fi

# --- project quota ---
make_fs() { # ext4|xfs
	rm -f "$T/disk"
	truncate -s 600M "$T/disk"
	case $1 in
	ext4) mkfs.ext4 -q -O project,quota "$T/disk" ;;
	xfs) mkfs.xfs -q "$T/disk" ;;
	esac &&
		mount -o loop,nosuid,nodev,prjquota "$T/disk" "$T/state" 2>"$T/mount.log" &&
		"$COWFS" --state-dir "$T/state" limits | grep -q '^ok *project-quota'
}
projects() { # id, bytes used and limit in KiB of each but 0
	xfs_quota -x -f -c 'report -p -n -b -N' "$T/state" | awk '$1 != "#0" && NF >= 4 { print $1, $2, $4 }'
}
project_of() { # PATH below cow/
	lsattr -pd "$T/state/cow/$1" | awk '{ print $1 }'
}
# Programs of the host that are not in the template, run by its own loader.
give_chattr() { # GUEST
	sh_in "$1" 'mkdir /t' &&
		for f in "$(command -v chattr)" $(ldd "$(command -v chattr)" | grep -o '/[^ ]*'); do
			"$COSCTL" cp "$(readlink -f "$f")" "$1:/t/${f##*/}" || return 1
		done
}
chattr_in() { # GUEST ARG...
	g=$1
	shift
	"$COSCTL" exec "$g" -- sh -c "/t/ld-linux* --library-path /t /t/chattr $*"
}

with_projects() { # ext4|xfs MESSAGE
	"$COSCTL" create --template busybox next -- sleep 1000
	"$COSCTL" create --template busybox p disk.max=32M disk.inodes=400 -- sleep 1000
	ok "$1: guests start" "$COSCTL" start next p
	like "is told" "$("$COSCTL" show p)" '"disk_quota": "project"'
	ok "they have projects" test "$(project_of guests/p)" != "$(project_of guests/next)"
	ok "of our range" between 1660944384 "$(project_of guests/p)" 1661992959
	is "what was made in it has it" "$(project_of guests/p/up)" "$(project_of guests/p)"
	is "nobody else's has" "$(project_of layers) $(project_of pool) $(project_of guests)" "0 0 0"
	is "the guest sees its size" "$(total_kib p)" 32768
	fills_up p "$2" 32
	out=$(held p disk.max)
	ok "it has used all" between $((31 << 20)) "$out" $((32 << 20))
	like "stats tells" "$("$COSCTL" stats p)" '3[12]\.[0-9]M'
	fails "less than it uses is refused" 6 'take' "$COSCTL" set p disk.max=8M
	is "which changes nothing" "$("$COSCTL" get p disk.max)" 32M
	ok "more is not" "$COSCTL" set p disk.max=64M
	is "which it sees" "$(total_kib p)" 65536
	ok "and can use" sh_in p 'dd if=/dev/zero of=/more bs=1M count=20'
	ok "less by force" "$COSCTL" set --force p disk.max=8M
	out=$(fill p /other 1)
	like "then it cannot write" "$out" "$2"
	sh_in p 'rm /more /fill /other; sync'
	await between 0 "$(held p disk.max)" $((2 << 20))
	ok "until it has removed files" sh_in p 'dd if=/dev/zero of=/other bs=1M count=5 && rm /other'
	ok "none at all" "$COSCTL" set p disk.max=max
	ok "then it has what there is" between 300000 "$(total_kib p)" 600000
	"$COSCTL" set p disk.max=32M
	is "so many files" "$(sh_in p 'mkdir /d; i=0; while [ $i -lt 500 ] && true 2>/dev/null >/d/f$i; do i=$((i+1)); done; [ $i -gt 350 ] && [ $i -lt 400 ] && echo good || echo $i')" good
	like "why tells" "$("$COSCTL" why p)" 'disk.inodes +.* true'
	sh_in p 'rm -r /d; sync'
	if ok_chattr=$(give_chattr p 2>&1); then
		sh_in p 'echo x >/own'
		fails "its root cannot leave the project" 1 '' chattr_in p -p 7 /own
		fails "nor let files out of it" 1 '' chattr_in p -P /t
	else
		skip "leaving a project" "chattr in a guest: $ok_chattr"
	fi
	kill_worker
	is "the limit holds under another worker" "$(total_kib p)" 32768
	"$COSCTL" restart --timeout 0 p
	is "and after a restart" "$(total_kib p)" 32768
	moves
	is_refused "root of the host in a project" 1 userns=false disk.quota=project disk.max=32M
	"$COSCTL" delete --all --force
	"$COWFS" --state-dir "$T/state" sweep >/dev/null 2>&1
	await no_projects
	is "deleted guests leave neither use nor limits" "$(projects)" ""
}
no_projects() {
	[ -z "$(projects)" ]
}

# What moves files between directories: snapshots, clones, unification.
moves() {
	"$COSCTL" stop --timeout 0 p next
	was=$(project_of guests/p)
	ok "a snapshot" "$COSCTL" snapshot p s
	ok "leaves it another project" test "$(project_of guests/p)" != "$was"
	like "that nobody limits any more" "$(projects)" "^#$was [0-9]+ 0+\$"
	"$COSCTL" start p
	is "and p has its limit" "$(total_kib p)" 32768
	like "of which the snapshot takes nothing" "$(fill p /fill 28)" "size $((28 << 20))"
	"$COSCTL" stop --timeout 0 p
	ok "back" "$COSCTL" restore p s
	"$COSCTL" start p next
	is "and its limit" "$(total_kib p)" 32768
	for g in p next; do
		sh_in $g 'yes cos | head -c 10485760 >/same; sync'
	done
	out=$(held p disk.max)
	"$COSCTL" stop --timeout 0 p next
	ok "unified" "$COWFS" --state-dir "$T/state" unify next
	ok "both" "$COWFS" --state-dir "$T/state" unify p
	is "objects are nobody's" "$(lsattr -pR "$T/state/cow/pool.ref" | awk 'NF == 3 { print $1 }' | sort -u)" 0
	"$COSCTL" start p
	ok "and are not charged" between 0 "$(held p disk.max)" $((out - (9 << 20)))
	is "the bytes are there" "$(sh_in p 'stat -c %s /same; cat /same | wc -c' | tr '\n' ' ')" "10485760 10485760 "
	ok "a write charges them again" sh_in p 'echo >>/same; sync'
	ok "to who wrote" between $((10 << 20)) "$(held p disk.max)" $((14 << 20))
	"$COSCTL" stop --timeout 0 p
	ok "a clone" "$COWFS" --state-dir "$T/state" clone p c
	ok "has a project of its own" test "$(project_of guests/c)" != "$(project_of guests/p)"
	is "which it hands down" "$(project_of guests/c/up)" "$(project_of guests/c)"
	"$COWFS" --state-dir "$T/state" root remove c
	ok "flat" "$COWFS" --state-dir "$T/state" flatten p
	ok "it starts all the same" "$COSCTL" start p
	is "with its limit" "$(total_kib p)" 32768
}

for fs in ext4 xfs; do
	stop_daemon
	case $fs in
	ext4) message='quota exceeded' ;;
	xfs) message='No space left|quota exceeded' ;;
	esac
	if make_fs $fs; then
		cos_start_daemon
		cos_template
		with_projects $fs "$message"
	else
		skip "project quota of $fs" "a kernel with it: $(tail -1 "$T/mount.log")"
		cos_start_daemon
	fi
done
plan_done
