#!/bin/sh
# tests/func/containment.sh - what a guest can see and do, seen from inside and by a hostile guest
#
# PROBE may name the static probe; otherwise it is taken from the build tree or built.
# shellcheck disable=SC1091,SC2034 # lib.sh; counters of loops
. "$(dirname "$0")/lib.sh"

patience=${PATIENCE:-30} # seconds until something that hangs is a failure

for tool in busybox setpriv findmnt readelf; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
cos_setup
chmod 755 "$T"
listener=
watcher=
cleanup() {
	[ -z "$listener" ] || kill "$listener" 2>/dev/null
	[ -z "$watcher" ] || kill "$watcher" 2>/dev/null
	cos_teardown
}
trap 'cleanup; exit 1' EXIT INT TERM

# --- the probe and root file systems --------------------------------------------------------------

PROBE=${PROBE:-$TOP_BUILDDIR/tests/func/probe}
if [ ! -x "$PROBE" ]; then
	PROBE=$T/probe
	${CC:-cc} -std=gnu17 -D_GNU_SOURCE -O1 -static -I"$TOP_SRCDIR" \
		"$TOP_SRCDIR"/tests/func/probe*.c -o "$PROBE" ||
		{ echo "1..0 # SKIP no static C library to build the probe with"; exit 0; }
fi

# mkroot DIR: the least that a guest needs
mkroot() {
	mkdir -p "$1/bin" "$1/dev" "$1/etc" "$1/proc" "$1/root" "$1/run" "$1/sys" "$1/tmp" \
		"$1/mnt"
	cp "$PROBE" "$1/bin/probe"
	cp "$(command -v busybox)" "$1/bin/busybox"
	for mkroot_a in sh cat echo ls sleep true; do
		ln -sf busybox "$1/bin/$mkroot_a"
	done
	chmod 1777 "$1/tmp"
	chmod 755 "$1"
}

# bounded CMD...: a command that must end by itself
bounded() {
	timeout -k 5 "$patience" "$@"
}

# answers NAME: the guest runs a command in time
answers() {
	[ "$(bounded "$COSCTL" exec "$1" -- /bin/echo here </dev/null 2>"$T/why")" = here ] &&
		return
	sed "s/^/# $1: /" "$T/why"
	return 1
}

# forward PREFIX FILE: the probe's lines become ours
forward() {
	while read -r forward_l; do
		case $forward_l in
		ok\ *) ok "$1: ${forward_l#ok * - }" true ;;
		not\ ok\ *) ok "$1: ${forward_l#not ok * - }" false ;;
		1..*) forward_plan=${forward_l#1..} ;;
		*) echo "# $1: $forward_l" ;;
		esac
	done <"$2"
	ok "$1: the probe ran to its end" [ "${forward_plan:-0}" -gt 100 ]
	forward_plan=
}

# snapshot DIR: names, modes, owners, times and contents of all below
snapshot() {
	find "$1" -printf '%P %y %m %U %G %s %T@ %l\n' | sort
	find "$1" -type f -exec cksum {} + | sort
}

binaries() {
	for binaries_b in "$COSD" "$COSCTL" "$PROBE"; do
		[ ! -e "$binaries_b" ] || cksum "$binaries_b"
	done
}

# --- 1. the probe can fail ------------------------------------------------------------------------

# On the bare host these work on any kernel that we support; a probe that does not say so is blind.
"$PROBE" --userns=no >"$T/bare.tap" 2>&1 </dev/null
blind=
for name in keyctl add_key bpf-map perf-counter userfaultfd open_by_handle_at acct swapon \
	personality clock syslog unshare-user unshare-mount mount-tmpfs mount-proc mount-disk \
	mount-host-type proc-keys core_pattern sysctls proc-files sys-files sys-remount unmask \
	dev-nodes host-devices handle-opens fanotify-wide cgroup-mount first-namespaces \
	foreign-processes sethostname too-capable filtered trusted-xattr environ-documented; do
	grep -q "^not ok [0-9]* - $name:" "$T/bare.tap" || blind="$blind $name"
done
is "bare host: the probe finds what is open there" "$blind" ""

# --- 2. the table, from inside --------------------------------------------------------------------

abstract=cos-test-$$
"$PROBE" listen "$abstract" >"$T/listen.out" &
listener=$!
mkroot "$T/root-other"
"$COSCTL" create --rootfs "$T/root-other" other-guest pids.max=40 -- /bin/sleep 100000 \
	>"$T/err" 2>&1
ok "a neighbour starts" "$COSCTL" start other-guest
ok "the neighbour answers" answers other-guest

# table KIND YES|NO KEY...: in a guest's first command and through exec
table() {
	table_kind=$1
	table_column=$2
	shift 2
	mkroot "$T/root-$table_kind"
	bounded "$COSCTL" run --rm --rootfs "$T/root-$table_kind" "probe-$table_kind" "$@" \
		pids.max=100 memory.max=128M 'env={"GIVEN":"1"}' -- \
		/bin/probe "--userns=$table_column" --env GIVEN \
		--hostname "probe-$table_kind" --hide other-guest --hide "$T" \
		--abstract "$abstract" --link eth0 >"$T/out" 2>&1 </dev/null
	forward "$table_kind" "$T/out"
	bounded "$COSCTL" run --rm --rootfs "$T/root-$table_kind" "probe-$table_kind" "$@" \
		no_new_privs=false -- /bin/probe "--userns=$table_column" --only setuid-file \
		>"$T/out" 2>&1 </dev/null
	ok "$table_kind: set-user-id files work: $(head -n 1 "$T/out")" \
		grep -q '^ok 1 - setuid-file: yes (became 0)' "$T/out"
	"$COSCTL" create --rootfs "$T/root-$table_kind" "in-$table_kind" "$@" pids.max=100 \
		memory.max=128M -- /bin/sleep 100000 >"$T/err" 2>&1
	ok "$table_kind: a guest to enter starts" "$COSCTL" start "in-$table_kind"
	bounded "$COSCTL" exec "in-$table_kind" -- /bin/probe "--userns=$table_column" \
		--hostname "in-$table_kind" --hide other-guest --hide "$T" \
		--abstract "$abstract" --link eth0 >"$T/out" 2>&1 </dev/null
	forward "$table_kind exec" "$T/out"
}

table userns yes
table shared no userns=false

# --- a command that nobody answers: its timeout passes meanwhile, section 10 looks at it -----------

mkroot "$T/root-held"
"$COSCTL" create --rootfs "$T/root-held" held -- /bin/sleep 100000 >"$T/err" 2>&1
"$COSCTL" start held
slot=$("$COSCTL" status -o json held | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
freezer=$(find /sys/fs/cgroup -path "*$INSTANCE*/$slot/*" \
	\( -name freezer.state -o -name cgroup.freeze \) 2>/dev/null |
	awk '{ print length, $0 }' | sort -n | sed -n '1s/^[0-9]* //p')
freeze() { # on|off: from outside, so that the daemon does not know
	case $freezer/$1 in
	*freezer.state/on) echo FROZEN >"$freezer" ;;
	*freezer.state/off) echo THAWED >"$freezer" ;;
	*/on) echo 1 >"$freezer" ;;
	*/off) echo 0 >"$freezer" ;;
	esac
}
held_processes() {
	find "${freezer%/*}" -name cgroup.procs -exec cat {} + | wc -l
}
held_before=$(held_processes)
freeze on
"$COSCTL" exec held -- /bin/true </dev/null >"$T/held.out" 2>"$T/held.err" &
held=$!

# --- 3. what exec brings in -----------------------------------------------------------------------

for kind in userns shared; do
	# A directory, a path descriptor and a device of the caller as standard descriptors, others
	# above them, and a variable of the caller's.
	SECRET=leaked bounded "$COSCTL" exec "in-$kind" -- /bin/probe self \
		</ 7</etc 8<>/dev/null 2>&1 | cat >"$T/out"
	ok "$kind exec: it ran" grep -q '^ids 0 0 0 0' "$T/out"
	is "$kind exec: descriptors above 2" "$(grep -c '^fd \([3-9]\|[1-9][0-9]\)' "$T/out")" 0
	is "$kind exec: a directory of the caller" "$(grep -c '^fd . mode 04' "$T/out")" 0
	is "$kind exec: a variable of the caller" "$(grep -c SECRET "$T/out")" 0
	is "$kind exec: a variable of the daemon" "$(grep -c '^env COS_' "$T/out")" 0
	is "$kind exec: ignored signals" "$(grep -c '^ignored' "$T/out")" 0

	# A guest that looks without pause at whatever enters takes nothing.
	bounded "$COSCTL" exec "in-$kind" -- /bin/probe watch 4 >"$T/watch" 2>&1 </dev/null &
	watcher=$!
	entered=0
	lost=0
	: >"$T/lost"
	while kill -0 $watcher 2>/dev/null && [ $entered -lt 200 ]; do
		if answers "in-$kind" >>"$T/lost"; then
			entered=$((entered + 1))
		else
			lost=$((lost + 1))
		fi
	done
	wait $watcher
	watcher=
	grep '^leak' "$T/watch" | sed 's/^leak: process [0-9]*/# leak/' | sort | uniq -c |
		sed 's/^/# /' | head -n 20
	ok "$kind exec: it was watched while processes came in" \
		grep -q '^watch: [1-9][0-9]* looks' "$T/watch"
	ok "$kind exec: processes came in meanwhile" [ "$entered" -gt 0 ]
	is "$kind exec: processes that failed of $((entered + lost))" "$lost" 0
	grep why: "$T/lost" | sort | uniq -c | head -n 5
	is "$kind exec: things taken from them" "$(grep -c '^leak' "$T/watch")" 0
done

for user in -1 4294967295 4294967296 -2; do
	bounded "$COSCTL" run --rm --rootfs "$T/root-userns" "bad-user" "user=$user" -- \
		/bin/probe ids >"$T/out" 2>&1 </dev/null
	is "user $user: ran" "$(grep -c '^[0-9]* [0-9]* [0-9]* [0-9]*$' "$T/out")" 0
done

# --- 4. bombs -------------------------------------------------------------------------------------

# bomb KIND WANT CMD...: it is stopped within the guest and others answer while it works
bomb() {
	bomb_kind=$1
	bomb_want=$2
	shift 2
	bounded "$COSCTL" exec "bomber-$bomb_kind" -- /bin/probe "$@" >"$T/bomb" 2>&1 </dev/null &
	bomb_pid=$!
	bomb_missed=0
	for bomb_i in 1 2 3; do
		answers other-guest || bomb_missed=$((bomb_missed + 1))
		bounded "$COSCTL" list >/dev/null 2>&1 || bomb_missed=$((bomb_missed + 1))
	done
	wait $bomb_pid
	is "$bomb_kind $1: answers missed outside" "$bomb_missed" 0
	# A guest whose memory is full may lose the process that reports with the one that fills it.
	ok "$bomb_kind $1: $(cat "$T/bomb")" grep -Eq "$bomb_want" "$T/bomb"
	ok "$bomb_kind $1: the guest answers again" answers "bomber-$bomb_kind"
}

few='([0-9]|[1-4][0-9]) processes' # below pids.max
little='([0-9]|[1-6][0-9]) MiB'    # up to memory.max

# bombs KIND KEY...
bombs() {
	bombs_kind=$1
	shift
	"$COSCTL" create --rootfs "$T/root-$bombs_kind" "bomber-$bombs_kind" "$@" pids.max=50 \
		memory.max=64M rlimit.nofile=1024 -- /bin/sleep 100000 >"$T/err" 2>&1
	ok "$bombs_kind: a guest for bombs starts" "$COSCTL" start "bomber-$bombs_kind"
	is "$bombs_kind: rlimit.nofile in exec" "$(bounded "$COSCTL" exec "bomber-$bombs_kind" -- \
		/bin/sh -c 'ulimit -n; ulimit -Hn' </dev/null 2>&1 | tr '\n' ' ')" "1024 1024 "
	bomb "$bombs_kind" "^forkbomb: stopped by EAGAIN after $few" forkbomb
	bomb "$bombs_kind" "^membomb: stopped by (KILL|ENOMEM) after $little" membomb 256
	bomb "$bombs_kind" '^fdbomb: stopped by (EMFILE|ENFILE|ENOMEM)' fdbomb
	bomb "$bombs_kind" "^filebomb: stopped by (KILL|ENOSPC|ENOMEM) after $little" \
		filebomb /dev/shm 256
}

bombs userns
bombs shared userns=false

# --- 5. reboot(2) is the guest's own --------------------------------------------------------------

for how in restart halt; do
	mkroot "$T/root-boot"
	bounded "$COSCTL" run --rm --rootfs "$T/root-boot" "boot-$how" -- /bin/probe reboot $how \
		>"$T/out" 2>&1 </dev/null &
	booter=$!
	# A guest that restarts would do so for ever.
	for i in 1 2 3 4 5 6 7 8 9 10; do
		kill -0 $booter 2>/dev/null || break
		sleep 0.2
	done
	"$COSCTL" kill "boot-$how" >/dev/null 2>&1
	"$COSCTL" delete "boot-$how" >/dev/null 2>&1
	wait $booter
	ok "reboot $how: the neighbour lives" answers other-guest
done

# --- 6. hostile root file systems -----------------------------------------------------------------

victim=$T/victim
mkdir -p "$victim/pts" "$victim/shm" "$victim/mqueue" "$victim/etc"
for f in hosts resolv.conf hostname null zero etc/hosts etc/resolv.conf machine-id localtime; do
	echo untouched >"$victim/$f"
done
before=$(snapshot "$victim")

# spoil DIR PATH KIND: makes PATH in the root file system DIR something that leads elsewhere
spoil() {
	rm -rf "${1:?}/$2"
	mkdir -p "$(dirname "$1/$2")"
	case $3 in
	absolute) ln -s "$victim" "$1/$2" ;;
	relative) ln -s "../../../../../../../../../../../..$victim" "$1/$2" ;;
	file) ln -s "$victim/hosts" "$1/$2" ;;
	dangling) ln -s "$victim/new" "$1/$2" ;;
	magic) ln -s /proc/self/root/proc/1/cwd "$1/$2" ;;
	loop) ln -s "$(basename "$2")" "$1/$2" ;;
	fifo) mkfifo "$1/$2" ;;
	plain) echo plain >"$1/$2" ;;
	esac
}

# hostile PATH KIND KEY...: the start is refused with a reason, or harmless; never a hang
hostile() {
	hostile_path=$1
	hostile_kind=$2
	shift 2
	rm -rf "$T/root-h"
	mkroot "$T/root-h"
	spoil "$T/root-h" "$hostile_path" "$hostile_kind"
	bounded "$COSCTL" run --rm --rootfs "$T/root-h" hostile "$@" -- /bin/sh -c \
		"echo guest 1<>$victim/hosts; echo guest 1<>/etc/hosts
		echo guest 1<>/etc/resolv.conf; echo guest 1<>/$hostile_path/hosts
		echo guest 1<>/$hostile_path; echo ran" \
		>"$T/out" 2>"$T/err" </dev/null
	hostile_rc=$?
	hostile_what=$(head -n 1 "$T/err")
	if grep -q '^ran' "$T/out"; then
		ok "$hostile_path as $hostile_kind $*: started" true
	else
		ok "$hostile_path as $hostile_kind $*: refused ($hostile_rc: $hostile_what)" \
			[ -n "$hostile_what" -a $hostile_rc -ne 124 -a $hostile_rc -ne 137 ]
	fi
	hostile_now=$(snapshot "$victim")
	[ "$before" = "$hostile_now" ] || {
		ok "$hostile_path as $hostile_kind $*: the victim is unchanged" false
		before=$hostile_now
	}
	"$COSCTL" delete hostile >/dev/null 2>&1
}

for path in proc sys dev dev/pts dev/shm dev/mqueue dev/null dev/console etc etc/hosts \
	etc/resolv.conf etc/hostname etc/machine-id etc/localtime tmp run sys/fs/cgroup; do
	for kind in absolute relative file dangling magic loop fifo plain; do
		hostile $path $kind
	done
	hostile $path absolute userns=false
	hostile $path dangling userns=false
done
is "the victim, after all of them" "$(snapshot "$victim")" "$before"
ok "no mount of the host's leads into a root file system or the victim" \
	sh -c "! grep -E ' $T/(victim|root-h)' /proc/self/mountinfo"

# --- 7. the daemon's own program ------------------------------------------------------------------

# A guest whose shell leads to /proc/self/exe has the runtime execute itself in the guest; the
# loader of that program is the guest's, here the probe. It could open the file on the host.
loader=$(readelf -l "$COSD" 2>/dev/null | sed -n 's/.*interpreter: \(.*\)]/\1/p')
sums=$(binaries)
for kind in userns shared; do
	key=userns=true
	[ $kind = userns ] || key=userns=false
	root=$T/root-exe-$kind
	mkroot "$root"
	rm "$root/bin/sh"
	ln -s /proc/self/exe "$root/bin/sh"
	printf '#!/proc/self/exe exe\n' >"$root/bin/script"
	chmod 755 "$root/bin/script"
	if [ -n "$loader" ]; then
		mkdir -p "$root/${loader%/*}"
		cp "$PROBE" "$root/$loader"
	fi
	"$COSCTL" create --rootfs "$root" "exe-$kind" $key -- /bin/sleep 100000 >"$T/err" 2>&1
	ok "$kind: a guest whose shell is /proc/self/exe starts" "$COSCTL" start "exe-$kind"
	bounded "$COSCTL" exec "exe-$kind" -- /bin/probe watch 3 >"$T/watch" 2>&1 </dev/null &
	watcher=$!
	: >"$T/exe"
	for cmd in /bin/sh /bin/script /proc/self/exe /bin/sh /proc/1/exe; do
		timeout -k 1 5 "$COSCTL" exec "exe-$kind" -- $cmd exe </dev/null >>"$T/exe" 2>&1
	done
	wait $watcher
	watcher=
	grep '^leak' "$T/watch" | head -n 10 | sed 's/^/# /'
	is "$kind: things taken from the daemon's program" "$(grep -c '^leak' "$T/watch")" 0
	is "$kind: the daemon's file, executed by the guest" "$(grep "is the host's" "$T/exe")" ""
	for cmd in /bin/sh /bin/script /proc/self/exe; do
		timeout -k 1 10 "$COSCTL" run --rm --rootfs "$root" "exe1-$kind" $key -- $cmd exe \
			</dev/null >"$T/exe" 2>&1
		is "$kind: $cmd first: the daemon's file" "$(grep "is the host's" "$T/exe")" ""
		"$COSCTL" kill "exe1-$kind" >/dev/null 2>&1
		"$COSCTL" delete "exe1-$kind" >/dev/null 2>&1
	done
	# The same with a guest's own init, which cos executes by its path.
	mkdir -p "$root/sbin"
	ln -s /proc/self/exe "$root/sbin/init"
	timeout -k 1 10 "$COSCTL" run --rm --rootfs "$root" "exe1-$kind" $key init=guest \
		no_new_privs=true </dev/null >"$T/exe" 2>&1
	sleep 0.2
	bounded "$COSCTL" exec "exe1-$kind" -- /bin/probe "--userns=no" --only init-binary \
		</dev/null >>"$T/exe" 2>&1
	is "$kind: /sbin/init is /proc/self/exe: the daemon's file" \
		"$(grep -c "is the host's\|is not sealed" "$T/exe")" 0
	"$COSCTL" kill "exe1-$kind" >/dev/null 2>&1
	"$COSCTL" delete "exe1-$kind" >/dev/null 2>&1
done
ok "the daemon answers after all that" answers other-guest
is "the programs on the host are unchanged" "$(binaries)" "$sums"

# --- 8. working directories and binds -------------------------------------------------------------

mkroot "$T/root-cwd"
ln -s ../../../../../../../.. "$T/root-cwd/up"
ln -s "$victim" "$T/root-cwd/abs"
ln -s /proc/1/cwd "$T/root-cwd/magic"
mkfifo "$T/root-cwd/fifo"
for cwd in /proc/self/fd/3/../.. /proc/self/fd/3 /proc/self/fd/7 /proc/self/cwd/../../.. \
	/proc/1/root/../.. /up /up/.. /abs /magic /fifo ../.. "$victim" /proc/self/root; do
	for key in userns=true userns=false; do
		bounded "$COSCTL" run --rm --rootfs "$T/root-cwd" cwd "cwd=$cwd" $key -- \
			/bin/probe self >"$T/out" 2>"$T/err" </dev/null
		rc=$?
		if grep -q '^cwd' "$T/out"; then
			at=$(sed -n 's/^cwd //p' "$T/out")
			ok "cwd=$cwd $key: in the guest, $at" \
				[ "${at#/}" != "$at" -a "$at" != "$victim" ]
		else
			ok "cwd=$cwd $key: refused ($rc: $(head -n 1 "$T/err"))" \
				[ -s "$T/err" -a $rc -ne 124 ]
		fi
		"$COSCTL" delete cwd >/dev/null 2>&1
	done
done

# What is bound read-only stays so, whatever a guest's root may do to its mounts.
bind='binds=[{"source":"'$victim'","target":"/mnt","readonly":true}]'
for key in userns=true userns=false; do
	bounded "$COSCTL" run --rm --rootfs "$T/root-cwd" bind "$bind" $key -- /bin/sh -c \
		'cat /mnt/hosts; echo guest >/mnt/hosts
		busybox mount -o remount,bind,rw /mnt; echo guest >/mnt/hosts
		busybox mount -o remount,rw /mnt; echo guest >/mnt/hosts
		busybox mkdir /tmp/m; busybox mount --bind /mnt /tmp/m
		busybox mount -o remount,bind,rw /tmp/m; echo guest >/tmp/m/hosts
		busybox umount /mnt; echo guest >/mnt/hosts' >"$T/out" 2>"$T/err" </dev/null
	ok "bind $key: it was shown" grep -q '^untouched' "$T/out"
	is "bind $key: what is read-only is unchanged" "$(cat "$victim/hosts")" untouched
	echo untouched >"$victim/hosts"
done
before=$(snapshot "$victim")
bind='binds=[{"source":"'$T/root-other'","target":"/mnt/a/b"}]'
for kind in absolute relative file dangling magic loop fifo plain; do
	hostile mnt $kind "$bind"
	hostile mnt/a $kind "$bind"
	hostile mnt/a/b $kind "$bind"
done
is "the victim, after bind targets that lead elsewhere" "$(snapshot "$victim")" "$before"
for source in /dev/null /proc/self/fd/0 /proc/1/root /proc/self/root etc ../etc; do
	bounded "$COSCTL" run --rm --rootfs "$T/root-cwd" bind \
		'binds=[{"source":"'$source'","target":"/mnt"}]' -- /bin/echo ran \
		>"$T/out" 2>"$T/err" </dev/null
	is "bind source $source: ran" "$(cat "$T/out")" ""
done

# --- 9. set-user-id files of a guest are nobody's on the host -------------------------------------

mkroot "$T/root-suid"
bounded "$COSCTL" create --rootfs "$T/root-suid" suid -- /bin/sleep 100000 >"$T/err" 2>&1
"$COSCTL" start suid
bounded "$COSCTL" exec suid -- /bin/sh -c \
	'cp /bin/probe /root-me && chmod 4755 /root-me' 2>"$T/err" </dev/null ||
	bounded "$COSCTL" exec suid -- /bin/busybox sh -c \
		'/bin/busybox cp /bin/probe /root-me; /bin/busybox chmod 4755 /root-me' </dev/null
find "$T/state" -name root-me >"$T/found" 2>/dev/null
ok "the guest's file is in the state directory" [ -s "$T/found" ]
became=
while read -r f; do
	# By descriptor, as if the directories above it could be passed.
	# shellcheck disable=SC2046 # four numbers
	set -- $(setpriv --reuid 1000 --regid 1000 --clear-groups \
		/proc/self/fd/9 ids 9<"$f" 2>/dev/null)
	[ "${2:-1000}" = 1000 ] || became="$became $f"
done <"$T/found"
is "suid: set-user-id files that work for a user of the host" "$became" ""
state=$T/state
is "the state directory is its owner's only" "$(stat -c %a "$state")" 700
options=$(findmnt -n -o OPTIONS -T "$state")
ok "the state directory is nosuid ($options)" sh -c "echo '$options' | grep -qw nosuid"
ok "the state directory is nodev" sh -c "echo '$options' | grep -qw nodev"

# --- 10. after all that ---------------------------------------------------------------------------

ok "the neighbour answers still" answers other-guest

wait $held
is "a command in a guest that is held up from outside times out" "$?" 125
like "which is told" "$(cat "$T/held.err")" 'no answer from inside for 60 s'
ok "the daemon answers" bounded "$COSCTL" version
freeze off
as_before() {
	[ "$(held_processes)" = "$held_before" ] &&
		! ps -o stat= --ppid "$(cat "$T/run/cosd.pid")" | grep Z
}
ok "the guest goes on" answers held
ok "and nothing is left of the command" await as_before
kill "$listener"
listener=
plan_done
