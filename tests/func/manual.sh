#!/bin/sh
# tests/func/manual.sh - the manual against the programs, in both directions
#
# The tables that pages and programs are made from are printed by man/mangen --tsv. Every row has to be in
# the pages and has to work; what the pages name in bold has to be there.
. "$(dirname "$0")/lib.sh"
MAN=$TOP_BUILDDIR/man
COW_FS=$TOP_BUILDDIR/cow-fs/cow-fs
[ -e "$MAN/cosctl.1" ] || { echo "1..0 # SKIP no manual pages: scdoc is not installed"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
own=$(mktemp -d "${TMPDIR:-/tmp}/cos-manual.XXXXXX")
echo '{}' >"$own/cosd.json"
COSD_ARGS="--config $own/cosd.json"
cos_setup
trap 'cos_teardown; rm -rf "$own"; exit 1' EXIT INT TERM
mv "$own" "$T/m" && ln -s "$T/m" "$own"
M=$T/m
"$MAN/mangen" --tsv >"$M/tsv"
tab=$(printf '\t')

rows() { # KIND: the rows of a table, without their first column
	sed -n "s/^$1$tab//p" "$M/tsv"
}
# Sets as sorted lines, so that a difference shows what is missing (-) and what is too much (+).
same() { # DESCRIPTION WANTED GOT: two files with one word a line
	LC_ALL=C sort -u "$2" >"$M/wanted"
	LC_ALL=C sort -u "$3" >"$M/got"
	ok "$1" diff -u "$M/wanted" "$M/got"
}
all() { # DESCRIPTION COMMAND...: the command prints nothing
	desc=$1
	shift
	is "$desc" "$("$@" 2>&1 | head -20)" ""
}

# --- pages as text --------------------------------------------------------------------------------

# Without roff's own: one line a line, bold between « and ».
plain() { # PAGE
	sed -e 's/\\&//g' -e 's/\\fB/«/g' -e 's/\\f[RI]/»/g' -e 's/\\[-]/-/g' -e 's/\\e/\\/g' "$MAN/$1"
}
bold() { # PAGE: what is bold in it
	plain "$1" | grep -o '«[^»]*»' | sed -e 's/«//' -e 's/»//'
}
section() { # PAGE TITLE: the plain lines of a section
	plain "$1" | awk -v t=".SH $2" '/^\.SH /{ on = ($0 == t); next } on'
}
for p in cosctl.1 cos-guest.5 cos-limits.5 cos-profile.5 cosd.json.5 cos-api.7 cos-network.7 cosd.8 cos-vmm.8 cow-fs.8 cos-ledger.7 cos-exporter.8; do
	bold "$p" >"$M/bold.$p"
	if command -v man >/dev/null; then
		LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$MAN/$p" \
			>/dev/null 2>"$M/lint"
		is "$p has no mistakes" "$(cat "$M/lint")" ""
	elif command -v groff >/dev/null; then
		groff -t -man -ww -z -Tutf8 "$MAN/$p" 2>"$M/lint"
		is "$p has no mistakes" "$(cat "$M/lint")" ""
	else
		skip "$p has no mistakes" "neither man nor groff"
	fi
	grep -q '@@' "$MAN/$p" && echo "$p" >>"$M/unfinished"
done
is "no page has a table left out" "$(cat "$M/unfinished" 2>/dev/null)" ""
fails "an unknown table is an error of the build" 1 "no such table" sh -c "echo '@@nosuch' | '$MAN/mangen'"

# --- commands and options -------------------------------------------------------------------------

rows command | cut -f1 >"$M/commands"
"$COSCTL" --help | sed -n 's/^  \([a-z]*\) .*/\1/p' >"$M/help"
same "cosctl --help lists the commands of the table" "$M/commands" "$M/help"

# "COMMAND --option" for each option that the page describes below a command.
plain cosctl.1 | awk -v list="$(tr '\n' ' ' <"$M/commands")" '
	BEGIN { n = split(list, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
	/^\.SH / { c = "" }
	/^«[a-z]+»/ { match($0, /«[a-z]+»/); x = $0; sub(/^«/, "", x); sub(/».*/, "", x); if (x in is) { c = x; print c } }
	/^«--/ && c != "" { x = $0; sub(/^«/, "", x); sub(/».*/, "", x); print c " " x }' >"$M/page"
rows command | cut -f1 >"$M/table"
rows option | awk -F '\t' '{ print $1 " --" $2 }' >>"$M/table"
same "cosctl(1) has every command with its options and no others" "$M/table" "$M/page"

while read -r c; do
	echo "$c"
	"$COSCTL" "$c" --help | sed -n "s/^  \(--[a-z-]*\).*/$c \1/p"
done <"$M/commands" >"$M/help"
same "cosctl COMMAND --help tells the same options" "$M/table" "$M/help"

refused_options() {
	rows option | while IFS="$tab" read -r c o arg; do
		"$COSCTL" "$c" "--$o" ${arg:+a=b} --help >/dev/null 2>&1 || echo "$c --$o"
	done
}
all "every option is taken" refused_options
not_refused() {
	while read -r c; do
		"$COSCTL" "$c" --nosuch --help >/dev/null 2>&1 && echo "$c"
	done <"$M/commands"
}
all "what is none is refused" not_refused

bad_aliases() {
	rows command | while IFS="$tab" read -r c a; do
		[ -z "$a" ] && continue
		[ "$("$COSCTL" "$a" --help)" = "$("$COSCTL" "$c" --help)" ] || echo "$a is not $c"
		plain cosctl.1 | grep -q "^«$c», «$a»" || echo "cosctl(1) lacks $a"
	done
}
all "second names" bad_aliases

# Rows "COMMANDS / -x ARG / --long" of the page's table.
section cosctl.1 "SHORT OPTIONS" | grep -v '^[.T]\|^[a-z]* *l \|^«\|^allbox' | awk 'NF' |
	paste -d '|' - - - | while IFS='|' read -r cs short long; do
	for c in $(echo "$cs" | tr -d ,); do
		echo "$c ${short%% *} $long"
	done
done >"$M/shorts"
taken_shorts() { # what is not called unknown
	while read -r c; do
		for l in a b c d e f g h i j k l m n o p q r s t u v w x y z A B C D E F G H I J K L M \
			N O P Q R S T U V W X Y Z; do
			"$COSCTL" --socket "$M/none" "$c" "-$l" --help </dev/null 2>&1 >/dev/null |
				grep -q "no option -$l" || echo "$c -$l"
		done
	done <"$M/commands"
}
taken_shorts >"$M/taken"
cut -d ' ' -f 1,2 "$M/shorts" >"$M/table"
same "every short option is in cosctl(1), and no others" "$M/table" "$M/taken"
wrong_longs() {
	while read -r c _ long; do
		rows option | grep -q "^$c$tab${long#--}$tab" || echo "$c has no $long"
	done <"$M/shorts"
}
all "they stand for options that there are" wrong_longs

options_of() { # PROGRAM: options of its usage
	"$1" --help | grep -o -- '--[a-z][a-z-]*'
}
options_of "$COSD" >"$M/help"
grep '^--[a-z]' "$M/bold.cosd.8" >"$M/page"
options_of "$TOP_BUILDDIR/vmm/cos-vmm" >"$M/help.vmm"
grep '^--[a-z]' "$M/bold.cos-vmm.8" >"$M/page.vmm"
same "cos-vmm(8) has the options of cos-vmm --help" "$M/help.vmm" "$M/page.vmm"
same "cosd(8) has the options of cosd --help" "$M/help" "$M/page"
options_of "$COW_FS" >"$M/help"
grep '^--[a-z]' "$M/bold.cow-fs.8" >"$M/page"
same "cow-fs(8) has the options of cow-fs --help" "$M/help" "$M/page"

options_of "$TOP_BUILDDIR/cosctl/cos-exporter" | sort -u >"$M/help"
grep '^--[a-z]' "$M/bold.cos-exporter.8" | sort -u >"$M/page"
same "cos-exporter(8) has the options of cos-exporter --help" "$M/help" "$M/page"

# --- the rest of the tables in the pages ------------------------------------------------------------

missing() { # KIND COLUMN PAGE...: rows that are not bold in one of the pages
	kind=$1
	column=$2
	shift 2
	for page; do
		rows "$kind" | cut -f "$column" | grep -vx -e - | while read -r w; do
			grep -qxF -- "$w" "$M/bold.$page" || echo "$page lacks $w"
		done
	done
}
all "cos-limits(5) has every limit" missing limit 1 cos-limits.5
all "cos-limits(5) has every limit of the network" missing net-limit 1 cos-limits.5
all "cos-limits(5) has every limit of disk space" missing disk-limit 1 cos-limits.5
all "cos-limits(5) has every limit of a process" missing rlimit 1 cos-limits.5
all "cos-limits(5) has the kernel's files, v1" missing limit 4 cos-limits.5
all "cos-limits(5) has the kernel's files, v2" missing limit 6 cos-limits.5
all "cos-guest(5) has every key" missing key 1 cos-guest.5
all "cos-guest(5) has every member of keys that are objects" missing member 2 cos-guest.5
all "cos-guest(5) has every state" missing state 1 cos-guest.5
all "cosd.json(5) has every key" missing conf 1 cosd.json.5
all "cos-api(7) has every method" missing method 2 cos-api.7
all "cos-ledger(7) has every metric" missing metric 1 cos-ledger.7
all "cos-exporter(8) has every family" missing metric 2 cos-exporter.8
all "cosd(8) and cow-fs(8) have every kernel feature" missing feature 1 cosd.8 cow-fs.8
missing_errors() {
	for page in cosctl.1 cos-api.7; do
		rows error | while IFS="$tab" read -r name status; do
			plain "$page" | grep -v '^T[{}]' | grep -A 1 -x "$status" | grep -qx "$name" ||
				echo "$page lacks $name or its status $status"
		done
	done
}
all "cosctl(1) and cos-api(7) have every error with its exit status" missing_errors

# Bold words that look like keys, limits or files of the kernel have to be some. JSON members of answers
# are compared with answers further down.
{
	rows limit | cut -f 1
	rows limit | cut -f 4
	rows limit | cut -f 6
	rows net-limit | cut -f 1
	rows disk-limit | cut -f 1
	rows rlimit | cut -f 1
	rows key | cut -f 1
	rows member | cut -f 2
	rows conf | cut -f 1
	printf '%s\n' cosd.sock user.sock keep.pid cosd.pid
} >"$M/words"
unknown_words() {
	for page in cosctl.1 cos-guest.5 cos-limits.5 cos-profile.5 cosd.json.5 cosd.8; do
		sed -n -e 's/^\([a-z_]*[._][a-z_.]*\)=.*/\1/p' -e '/^[a-z]*[._][a-z_.]*$/p' "$M/bold.$page" |
			grep -vx 'last_end\|.*\.service' | while read -r w; do
			grep -qxF "$w" "$M/words" || echo "$page names $w"
		done
	done
}
all "every key and limit that a page names is there" unknown_words

# Names that event_say() is called with, all on one line each after the newlines are gone.
cat "$TOP_SRCDIR"/cosd/*.c | tr -d '\n' | grep -o 'event_say([^;]*;' | sed -e 's/json_pack.*//' |
	grep -o '"[a-z-]*"' | tr -d '"' >"$M/said"
section cosd.8 EVENTS | grep '^«[a-z]' | grep -o '«[a-z-]*»' | tr -d '«»' >"$M/page"
same "cosd(8) has the events that the daemon writes" "$M/said" "$M/page"

# --- keys: taken, kept, refused, and what they do ------------------------------------------------------

cos_template
c() {
	"$COSCTL" "$@"
}
root=$T/root
mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/usr/share/zoneinfo/Europe" "$T/shared"
cp "$(command -v busybox)" "$root/bin/busybox"
for a in sh cat id hostname pwd env chown uname head readlink grep sleep touch kill ls; do
	ln -s busybox "$root/bin/$a"
done
echo zone >"$root/usr/share/zoneinfo/Europe/Lisbon"
echo 'user:x:7:8::/home:/bin/sh' >"$root/etc/passwd"
echo shared >"$T/shared/file"
mkdir -p "$M/profiles"
echo '{"env": {"FROM": "profile"}}' >"$M/profiles/p1.json"
echo "{\"profile.dir\": \"$M/profiles\"}" >"$M/cosd.json"
reloads() {
	grep -c '"event":"reload' "$T/state/events.log"
}
reload() { # sends SIGHUP and waits for the event
	n=$(reloads)
	kill -HUP "$(cat "$T/run/keep.pid")"
	await sh -c "[ \$(grep -c '\"event\":\"reload' '$T/state/events.log') -gt ${n:-0} ]"
	grep '"event":"reload' "$T/state/events.log" | tail -n 1 # others may have come after it
}
like "a reload takes profile.dir" "$(reload)" '"event":"reload"'

ok "every key at once" c create --rootfs "$root" k type=container profiles='["p1"]' hostname=inside user=user \
	cwd=/tmp env='{"A":"1"}' timezone=Europe/Lisbon \
	binds="[{\"source\":\"$T/shared\",\"target\":\"/shared\",\"readonly\":true}]" \
	limits='{"cpu.share":50}' restart=no stop_signal=USR1 stop_timeout=1 userns=true manage=true \
	volatile=false ephemeral=false no_new_privs=true owner=1000 capabilities='all !cap_chown' \
	devices='["c 1:3 rwm","c 5:* rwm","c 136:* rwm"]' masked_paths='["/proc/version"]' \
	readonly_paths='["/proc/sys"]' -- sh -c 'trap "exit 11" USR1; while :; do sleep 0.1; done'
filter=$(c get k seccomp | sed 's/"uname",//')
ok "set takes the filter that get printed, less one call" c set k "seccomp=$filter"
ok "start" c start k
in_k() {
	c exec k -- "$@" 2>&1
}
is "hostname" "$(in_k cat /proc/sys/kernel/hostname)" inside
is "user" "$(in_k id -u):$(in_k id -g)" 7:8
is "cwd" "$(in_k pwd)" /tmp
is "env" "$(in_k sh -c 'echo $A')" 1
is "profiles" "$(in_k sh -c 'echo $FROM')" profile
is "timezone" "$(in_k readlink /etc/localtime)" /usr/share/zoneinfo/Europe/Lisbon
is "binds" "$(in_k cat /shared/file)" shared
is "limits" "$(c get k cpu.share)" 50
like "no_new_privs" "$(in_k cat /proc/self/status)" '^NoNewPrivs:.1$'
like "capabilities" "$(c exec -u 0:0 k -- chown 1:1 /tmp 2>&1)" 'not permitted'
is "seccomp: a call that is not named fails" "$(in_k uname -s)" ""
like "devices" "$(in_k head -c 1 /dev/zero)" 'not permitted'
is "masked_paths" "$(in_k cat /proc/version | head -c 100 | tr -d '\0')" "cat: can't open '/proc/version': Permission denied"
like "readonly_paths" "$(in_k cat /proc/self/mountinfo)" ' /proc/sys ro'
like "manage" "$(in_k cat /etc/hosts)" '127.0.1.1.inside$'
like "userns" "$(in_k cat /proc/self/uid_map)" ' 65536$'
like "rootfs" "$(c status k)" "^rootfs +$root$"
fails "owner: another user's guest" 7 "belongs to user 1000" c --socket "$T/run/user.sock" show k
ok "owner can be changed" c set k owner=0
ok "owner: one's own guest" c --socket "$T/run/user.sock" show k
c stop k
like "stop_signal and command" "$(c status k)" 'last_end +exit 11'

ok "the other values" c create --template busybox k2 init=guest volatile=true manage=false userns=false \
	restart=always stop_timeout=0
ok "start it" c start k2
like "volatile" "$(c exec k2 -- cat /proc/self/mountinfo)" ' / / .*volatile'
is "init" "$(c exec k2 -- cat /proc/1/comm)" init
is "userns=false" "$(c exec k2 -- cat /proc/self/uid_map | awk '{ print $3 }')" 4294967295
fails "manage=false" 1 "" c exec k2 -- test -e /etc/hosts
ok "stop_timeout=0 kills at once" c stop k2
like "killed" "$(c status k2)" 'last_end +signal 9'
ok "ephemeral" c create --template busybox k3 ephemeral=true name=k3 -- true
c start k3
await sh -c "! '$COSCTL' status k3 2>&1 | grep -q '^name'"
fails "gone when it has ended" 4 "no guest named k3" c status k3
ok "restart" c create --template busybox k4 restart=on-failure -- sh -c '[ -e /again ] && sleep 1000; touch /again; exit 1'
c start k4
await sh -c "'$COSCTL' status k4 | grep -q restarts"
like "it was started again" "$(c status k4)" 'restarts +1'
c delete --force k4

unknown_to_get() {
	rows key | cut -f 1 | while read -r k; do
		c get k "$k" >/dev/null || echo "get k $k"
	done
}
all "get knows every key" unknown_to_get
get_all() {
	c get k | sed -n 's/^\([a-z0-9_.]*\)=.*/\1/p'
}
get_all >"$M/got1"
{
	rows key | cut -f 1 | grep -vx 'limits\|seccomp'
	rows limit | cut -f 1
	rows net-limit | cut -f 1
	rows disk-limit | cut -f 1
	rows rlimit | cut -f 1
} >"$M/table"
same "get lists keys and limits, but limits and seccomp" "$M/table" "$M/got1"
fails "get of what is none" 2 "no such key or limit" c get k nosuch
fails "set of what is none" 2 "no such key or limit" c set k nosuch=1
taken_when_fixed() {
	rows key | while IFS="$tab" read -r k when cli; do
		[ "$when" = fixed ] || continue
		case $cli in
		bool) v=true ;;
		*) v=$(c get k "$k") ;;
		esac
		c set k "$k=${v:-x}" 2>&1 | grep -q 'is fixed when a guest is created' || echo "$k"
	done
}
all "set refuses every key that is fixed" taken_when_fixed
bad_value() { # KEY CLI: a value that cannot be right
	case $1 in
	name | hostname | timezone | template | type | init | restart | stop_signal) echo '!' ;;
	rootfs | cwd) echo relative ;;
	user) printf '%065d' 0 ;;
	capabilities) echo cap_nosuch ;;
	*) case $2 in
		bool) echo perhaps ;;
		number | time) echo -1 ;;
		*) echo '"a text"' ;;
		esac ;;
	esac
}
taken_when_bad() {
	rows key | while IFS="$tab" read -r k _ cli; do
		[ "$k" = template ] && t=--rootfs=$root || t=--template=busybox
		[ "$k" = rootfs ] && t=
		[ "$k" = command ] && rest= || rest="-- true"
		# shellcheck disable=SC2086 # words
		"$COSCTL" create $t bad "$k=$(bad_value "$k" "$cli")" $rest 2>"$M/err"
		r=$?
		{ [ "$r" = 2 ] && grep -q "$k" "$M/err"; } || { echo "$k: exit $r"; cat "$M/err"; }
	done
}
all "every key refuses a wrong value and is named" taken_when_bad

# --- limits: the kernel has what was set -----------------------------------------------------------------

group_file() { # SLOT CONTROLLER V1-FILE V2-FILE: the path of the limit's file
	case $(c doctor -o json | tr ',' '\n' | grep -o "$2: v[12]" | head -1) in
	*v1) find /sys/fs/cgroup -path "*/cos.$INSTANCE/$1/$3" ! -path "*/payload/*" 2>/dev/null | head -1 ;;
	*) find /sys/fs/cgroup -path "*/cos.$INSTANCE/$1/$4" ! -path "*/payload/*" 2>/dev/null | head -1 ;;
	esac
}
# Limits are taken one by one, since some exclude others, with what they need beside them.
unenforced=$(c doctor -o json | grep -o '"[^"]*cannot\|"text": "[^"]*: \(this kernel\|no disk\|the [a-z]* controller\)[^"]*"')
c create --template busybox l -- sleep 1000
ok "start" c start l
slot=$(c list -o json l | sed -n 's/.*"slot": \([0-9]*\).*/\1/p')
wrong_limit() { # NAME VALUE CONTROLLER V1-FILE V1-TEXT V2-FILE V2-TEXT
	[ "$(c get l "$1")" = "$2" ] || echo "get $1 is $(c get l "$1")"
	[ "$4" != - ] || [ "$6" != - ] || return 0
	f=$(group_file "$slot" "$3" "$4" "$6")
	[ -n "$f" ] || { echo "$1: no file"; return; }
	[ "${f##*/}" = "$4" ] && want=$5 || want=$7
	case $f in */unified/*) want=$7 ;; esac
	want=${want#8:0 } # one line for each disk
	case $1 in
	io.*) grep -qwF -- "$want" "$f" ;;
	*) grep -qxF -- "$want" "$f" ;;
	esac || echo "$1=$2: $f has $(cat "$f"), not $want"
}
rows limit >"$M/limits"
while IFS="$tab" read -r name value ctl f1 t1 f2 t2 beside <&3; do
	case $unenforced in
	*"$name: "*)
		fails "$name is refused, as doctor says" 1 "$name" c set l "$name=$value"
		continue
		;;
	esac
	old=$(c get l "$name")
	# shellcheck disable=SC2086 # words
	ok "set $name while the guest runs" c set l $beside "$name=$value"
	all "the kernel has it at once" wrong_limit "$name" "$value" "$ctl" "$f1" "$t1" "$f2" "$t2"
	fails "another that cannot be is refused" 2 "pids.max" c set l "$name=$old" pids.max=1
	all "and nothing was changed" wrong_limit "$name" "$value" "$ctl" "$f1" "$t1" "$f2" "$t2"
	c stop --timeout 0 l
	ok "a start with it" c start l
	slot=$(c list -o json l | sed -n 's/.*"slot": \([0-9]*\).*/\1/p')
	all "has it too" wrong_limit "$name" "$value" "$ctl" "$f1" "$t1" "$f2" "$t2"
	ok "and back" c set l "$name=$old"
	[ -z "$beside" ] || c set l cpu.rate=max cpu.burst=0 cpu.set=all io.wbps=max
done 3<"$M/limits"
taken_nonsense() {
	{
		rows limit | cut -f 1
		rows net-limit | cut -f 1
		rows disk-limit | cut -f 1
		rows rlimit | cut -f 1
	} | while read -r name; do
		for v in nonsense -1 99999999999999999999; do
			"$COSCTL" create --template busybox bad "$name=$v" -- true 2>"$M/err"
			r=$?
			{ [ "$r" = 2 ] && grep -q "$name" "$M/err"; } || echo "$name=$v: exit $r"
		done
	done
}
all "every limit refuses nonsense and is named" taken_nonsense

rlimit_rows() { # NAME VALUE, and the line of /proc/PID/limits
	cat <<'END'
rlimit.nofile 64 Max open files
rlimit.nproc 60 Max processes
rlimit.core 0 Max core file size
rlimit.cpu 5000 Max cpu time
rlimit.fsize 33554432 Max file size
rlimit.stack 4194304 Max stack size
rlimit.data 67108864 Max data size
rlimit.as 268435456 Max address space
rlimit.locks 70 Max file locks
rlimit.memlock 32768 Max locked memory
rlimit.msgqueue 65536 Max msgqueue size
rlimit.nice 0 Max nice priority
rlimit.rtprio 0 Max realtime priority
rlimit.rttime 900000 Max realtime timeout
rlimit.sigpending 50 Max pending signals
END
}
rlimit_rows | cut -d ' ' -f 1 >"$M/got1"
rows rlimit | cut -f 1 >"$M/table"
same "this test knows every limit of processes" "$M/table" "$M/got1"
# shellcheck disable=SC2046
ok "create with all of them" c create --template busybox r $(rlimit_rows | awk '{ print $1 "=" $2 }') -- sleep 1000
ok "start" c start r
wrong_rlimits() {
	c exec r -- cat /proc/1/limits >"$M/limits"
	rlimit_rows | while read -r name value line; do
		grep -Eq "^$line +$value +$value " "$M/limits" || echo "$name=$value: $(grep "^$line" "$M/limits")"
	done
}
all "the first process has them" wrong_rlimits
wrong_rlimits_of_exec() {
	c exec r -- cat /proc/self/limits >"$M/limits"
	rlimit_rows | while read -r name value line; do
		grep -Eq "^$line +$value +$value " "$M/limits" || echo "$name=$value: $(grep "^$line" "$M/limits")"
	done
}
all "a command of exec has them" wrong_rlimits_of_exec

# --- JSON members of answers, the doctor, configuration ------------------------------------------------------

c create --template busybox f -- sh -c 'exit 3'
c start f
await sh -c "'$COSCTL' list | grep -q 'ended by itself'"
ok "restart of a running guest" c restart --timeout 0 r
c create --template busybox due restart=always -- false
c start due
await sh -c "'$COSCTL' list -o json | tee '$M/due' | grep -q restart_due"
c delete --force due
{
	grep -o '^   "[a-z_]*"' "$M/due"
	c set r 'health={"command":["true"]}' autostart=true priority=1 'requires=["f"]'
	c list -o json | grep -o '^   "[a-z_]*"'
	c stats -o json | grep -o '^   "[a-z_]*"'
	# the two detailed forms are one level deeper in the call's own answer
	printf '%s\n' counters pressure
	c stats --limits -o json | grep -o '^   "[a-z_]*"'
	[ -z "$(c stats --pressure --no-headers)" ] && printf '%s\n' cpu memory io some_avg10 some_avg60 some_usec full_avg10 full_avg60 full_usec
	c stats --pressure -o json | sed 's/"name"//' | grep -o '^   "[a-z0-9_]*"\|"\(cpu\|memory\|io\)"'
	c set r cpu.set=0
	c capacity -o json | grep -o '"[a-z]*":'
	c set r cpu.set=all
	c template list -o json | grep -o '^   "[a-z_]*"'
	c events -o json | grep -o '"\(seq\|time_usec\|event\|guest\)"'
} | tr -d ' ":' | grep -vx 'shared_cpus\|guests\|schema' | sort -u >"$M/members"
undescribed() {
	section cos-api.7 "GUEST OBJECTS" | grep -o '«[a-z0-9_]*»' | tr -d '«»' | sort -u >"$M/described"
	comm -23 "$M/members" "$M/described"
}
all "cos-api(7) describes every member" undescribed
not_there() {
	comm -13 "$M/members" "$M/described"
}
all "every member that it describes is there" not_there
c doctor -o name >"$M/help"
plain cosctl.1 | sed -n '/^Checks: /,/^\./p' | grep -o '«[a-z0-9-]*»' | tr -d '«»' >"$M/page"
same "cosctl(1) has the doctor's checks" "$M/help" "$M/page"

conf() { # KEY VALUE KIND: a cosd.json with it alone
	case $3 in
	text) printf '{"%s": "%s"}' "$1" "$2" ;;
	*) printf '{"%s": %s}' "$1" "$2" ;;
	esac >"$M/cosd.json"
}
wrong_conf() {
	rows conf | while IFS="$tab" read -r key when kind dflt; do
		conf "$key" "$dflt" "$kind"
		reload | grep -q '"event":"reload"' || echo "$key: the default $dflt is refused"
		[ "$kind" = text ] && other=/other || other=$((dflt + 1))
		[ "$key" = log.level ] && other=3
		[ "$key" = id.base ] && other=$((dflt + 65536))
		[ "$key" = memory.cap ] && other=1G
		conf "$key" "$other" "$kind"
		got=$(reload | grep -o '"event":"reload[a-z-]*"')
		[ "$when" = live ] && want='"event":"reload"' || want='"event":"reload-refused"'
		[ "$got" = "$want" ] || echo "$key=$other: $got"
		conf "$key" '[]' json
		reload | grep -q '"event":"reload-refused".*/'"$key" || echo "$key: [] is taken"
	done
}
all "cosd takes each key of cosd.json with its default, a reload what it may" wrong_conf
echo '{"nosuch": 1}' >"$M/cosd.json"
like "an unknown key is refused by name and line" "$(reload)" '"reload-refused".*cosd.json:1: /nosuch'
echo '{}' >"$M/cosd.json"

# --- exit statuses: those of the table that a client can meet -----------------------------------------------

status_of() {
	rows error | awk -F '\t' -v e="$1" '$1 == e { print $2 }'
}
exits() { # ERROR ERE COMMAND...
	e=$1
	shift
	fails "$e" "$(status_of "$e")" "$@"
}
exits InvalidParameter "invalid request" c create bad
exits NoSuchGuest "no such guest" c start nosuch
exits NoSuchTemplate "no such template" c create --template nosuch bad
exits AlreadyExists "is taken" c create --template busybox k
exits NotRunning "is not running" c stop f
exits WrongState "not possible" c start r
exits PermissionDenied "not allowed" c --socket "$T/run/user.sock" delete r
exits Unreachable "cannot be reached" c --socket "$T/none" list
exits InUse "still in use" c template delete busybox
exits BadImage "not usable" c create --rootfs "$T/none" bad
exits NotExecutable "cannot be executed" c exec r -- /etc/passwd
exits CommandNotFound "no such command" c exec r -- nosuch
fails "a start that lacks the init" "$(status_of CommandNotFound)" "/sbin/init" \
	sh -c "'$COSCTL' create --rootfs '$root' noinit && '$COSCTL' start noinit"

# --- documents and units ------------------------------------------------------------------------------------

dead_names() { # files and functions that the documents name and that are not there
	for d in README.md doc/architecture.md doc/threat-model.md; do
		grep -o '`[A-Za-z0-9_./-]*`' "$TOP_SRCDIR/$d" | tr -d '`' | sort -u | while read -r w; do
			case $w in
			build/* | */) ;;
			*/*.[ch] | */*.def | */*.sh | */*.md | */*.tsv | */*.json | */*.S)
				[ -e "$TOP_SRCDIR/$w" ] || echo "$d: $w" ;;
			esac
		done
		grep -o '`[a-z_0-9]*()`' "$TOP_SRCDIR/$d" | tr -d '`()' | sort -u | while read -r w; do
			grep -rqw --include='*.[ch]' --include='*.def' "$w" "$TOP_SRCDIR/lib" "$TOP_SRCDIR/cosd" \
				"$TOP_SRCDIR/cosctl" "$TOP_SRCDIR/cow-fs" || echo "$d: $w()"
		done
	done
}
all "files and functions that the documents name are there" dead_names
if command -v systemd-analyze >/dev/null; then
	for u in cosd cos-guests; do
		sed -e "s|^ExecStart=[^ ]*/cosd\$|ExecStart=$COSD|" -e "s|=-[^ ]*/cosctl|=-$COSCTL|" \
			"$TOP_BUILDDIR/systemd/$u.service" >"$M/$u.service"
	done
	is "systemd takes the units" \
		"$(systemd-analyze verify --man=no "$M/cosd.service" "$M/cos-guests.service" 2>&1)" ""
else
	skip "systemd takes the units" "no systemd-analyze"
fi
rm -f "$own"
plan_done
