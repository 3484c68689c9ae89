#!/bin/sh
# tests/func/names.sh - names, values, paths and files that are not acceptable, in every place that takes one
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
BAD=$(printf 'b\377d')
CTRL=$(printf 'a\033[2Jb')
LINE=$(printf 'a\nb')
LONG=$(head -c 100000 /dev/zero | tr '\0' x)

state() {
	(cd "$T/state" && find . ! -name 'events.log*' ! -path ./log | sort)
	"$COSCTL" list
}
state >"$T/before"

# Exit status, then three lines without control characters on standard error, none on standard output.
refused() { # DESCRIPTION STATUS ERE COMMAND...
	desc=$1
	want=$2
	re=$3
	shift 3
	"$@" >"$T/out" 2>"$T/err" </dev/null
	st=$?
	tap_n=$((tap_n + 1))
	why=
	[ "$st" = "$want" ] || why="status $st, wanted $want"
	grep -Eq -- "$re" "$T/err" || why="$why; nothing like /$re/"
	[ "$(wc -l <"$T/err")" = 3 ] || why="$why; not three lines"
	sed -n 1p "$T/err" | grep -q '^cosctl: ' || why="$why; no 'cosctl:' first"
	sed -n 2p "$T/err" | grep -q '^  why: .' || why="$why; no why"
	sed -n 3p "$T/err" | grep -q '^  do:  .' || why="$why; no do"
	LC_ALL=C.UTF-8 grep -qav '^[[:print:]]*$' "$T/err" && why="$why; unprintable bytes"
	[ "$(wc -c <"$T/err")" -lt 1000 ] || why="$why; $(wc -c <"$T/err") bytes"
	[ -s "$T/out" ] && why="$why; something on standard output"
	if [ -z "$why" ]; then
		echo "ok $tap_n - $desc"
	else
		echo "not ok $tap_n - $desc"
		echo "# $why"
		cut -c1-200 "$T/err" | sed 's/^/# /' | head -8
		tap_failed=$((tap_failed + 1))
	fi
}
bad() { # DESCRIPTION ERE create's ARGUMENTS...
	desc=$1
	re=$2
	shift 2
	refused "$desc" 2 "$re" "$COSCTL" create --template busybox "$@"
}

# --- names of guests ---
i=0
for name in '' . .. -a a/b ../a A ä _a 'a b' "$CTRL" "$LINE" "$BAD" "$(head -c 64 /dev/zero | tr '\0' a)" "$LONG"; do
	i=$((i + 1))
	case $name in -*) continue ;; esac
	bad "name $i is refused" 'is not of the form' "$name"
done
for range in 'w{}' 'w{1}' 'w{..}' 'w{1..}' 'w{..2}' 'w{2..1}' 'w{-1..2}' 'w{1..2' 'w}1..2{' 'w{a..b}' 'w{1..99999999999999}' \
	'w{1..18446744073709551615}' 'w{0x1..2}' 'w{1...2}' 'w{ 1..2}'; do
	bad "range $range is refused" 'range|NAME' "$range"
done
bad "two ranges in a name" 'not of the form' 'w{1..2}{1..2}'
bad "a range with a bad prefix" 'not of the form' 'W{1..2}'
bad "more names than are taken at once" 'more than 100000' 'w{1..100001}'
refused "no name" 2 'no name' "$COSCTL" create --template busybox
for c in start stop restart freeze thaw kill delete; do
	refused "$c of a bad name" 2 'not of the form' "$COSCTL" $c A
	refused "$c of nobody" 4 'no guest named' "$COSCTL" $c nobody
	refused "$c without a name" 2 'no name' "$COSCTL" $c
done
for c in show status get logs console; do
	refused "$c of nobody" 4 'no guest named' "$COSCTL" $c nobody
	refused "$c of bytes" 2 'UTF-8' "$COSCTL" $c "$BAD"
	refused "$c of control characters" 2 'control characters' "$COSCTL" $c "$CTRL"
done
refused "exec in nobody" 125 'no guest named' "$COSCTL" exec nobody -- true
refused "set of nobody" 4 'no guest named' "$COSCTL" set nobody cpu.rate=1
refused "run of two" 125 'one name' "$COSCTL" run --template busybox a b -- true

# --- other words ---
for t in '' .. ../busybox /busybox busybox/x 'busybox:' ':x' 'busybox:../x' A "$CTRL" "$BAD" "$LONG"; do
	refused "template '$(printf %.9s "$t" | tr -cd '[:print:]')' is refused" 2 . "$COSCTL" create --template "$t" x
done
refused "a template that is not there" 4 'no template nosuch' "$COSCTL" create --template nosuch x
refused "neither template nor root" 2 'template: missing' "$COSCTL" create x
refused "both" 2 'beside template' "$COSCTL" create --template busybox --rootfs / x
for p in '' .. ../x a/b A "$CTRL" "$BAD" "$LONG" nosuch; do
	bad "profile '$(printf %.9s "$p" | tr -cd '[:print:]')' is refused" . --profile "$p" x
done
for h in '' -a .a a. a..b 'a b' a/b "$CTRL" "$LINE" "$BAD" "$LONG"; do
	bad "host name '$(printf %.9s "$h" | tr -cd '[:print:]')' is refused" . "hostname=$h" x
done
for u in '' "$CTRL" "$LINE" "$BAD" "$LONG"; do
	bad "user '$(printf %.9s "$u" | tr -cd '[:print:]')' is refused" . --user "$u" x
done
for d in '' rel ../x "$CTRL" "$BAD" "$LONG"; do
	bad "cwd '$(printf %.9s "$d" | tr -cd '[:print:]')' is refused" . --cwd "$d" x
done
for e in '' A =v "$CTRL=v" "$LINE=v" "$BAD=v" "A=$BAD" "$(printf %.300s "$LONG")=v"; do
	bad "variable '$(printf %.9s "$e" | tr -cd '[:print:]')' is refused" . --env "$e" x
done
for b in '' / a /:rel :/x /tmp: /tmp:/ /tmp:/.. /tmp:/x:rx /tmp:/x:ro:ro "/tmp:$CTRL" "$BAD:/x" "/tmp:/$BAD" "/tmp:/$LONG"; do
	bad "bind '$(printf %.9s "$b" | tr -cd '[:print:]')' is refused" . --bind "$b" x
done
for z in '' /etc/x ../../x .. 'a b' "$CTRL" "$BAD" "$LONG"; do
	bad "time zone '$(printf %.9s "$z" | tr -cd '[:print:]')' is refused" . "timezone=$z" x
done
bad "a command of bytes" 'UTF-8' x -- "$BAD"
bad "an empty command" 'empty' x -- ''
bad "a key that is not there" 'no such key' nokey=1 x
bad "a key with control characters" . "$CTRL=1" x
for kv in restart=sometimes restart= stop_signal=NOPE stop_signal=65 stop_signal=0 stop_timeout=-1 stop_timeout=1.5x \
	stop_timeout=86401 stop_timeout= userns=2 userns= manage=perhaps volatile= owner=-1 owner=4294967295 owner=root \
	type=vm type= init=mine init=/sbin/init no_new_privs=x capabilities=CAP_NONE_SUCH capabilities=sys_admin,,x \
	command=x command=[] 'command=[1]' command={} env=[] 'env={"a":1}' 'binds={}' 'binds=[1]' 'binds=[{}]' \
	'binds=[{"source":"/tmp"}]' 'limits=[]' 'limits={"x":1}' 'devices=["x"]' 'devices=1' 'seccomp=1' 'seccomp={"x":1}' \
	'masked_paths=["/etc"]' 'masked_paths=["/proc/../etc"]' 'readonly_paths=[1]' 'profiles={}' 'profiles=[1]' name=A rootfs=rel; do
	refused "$kv is refused" 2 . "$COSCTL" create --template busybox x "$kv"
done

# --- limits: units and bounds ---
for kv in cpu.rate=x cpu.rate= cpu.rate=-1 cpu.rate=1g cpu.rate=9m cpu.rate=1025 cpu.rate=1e3 cpu.rate=0.0001 cpu.share=0 cpu.share=10001 \
	cpu.share=max cpu.share=1.5 cpu.share=1k memory.max=x memory.max= memory.max=1 memory.max=-1 memory.max=1.5.5G memory.max=1Q \
	memory.max=100T memory.max=99999999999999999999 memory.max=18446744073709551615 pids.max=x pids.max=7 pids.max=4194305 pids.max=1.5 \
	pids.max=1k pids.max= rlimit.nofile=x rlimit.nofile=-1 rlimit.stack=1Q rlimit.core= memory.low=1G; do
	refused "$kv is refused" 2 'is not|no such key' "$COSCTL" create --template busybox x "$kv"
done

# --- options ---
refused "a command that is not there" 2 'no command frobnicate' "$COSCTL" frobnicate
refused "one of control characters" 2 'no command' "$COSCTL" "$CTRL"
refused "an option before the command" 2 'no option --frob' "$COSCTL" --frob list
refused "one that lacks its value" 2 '--socket takes a value' "$COSCTL" --socket
refused "an option that is not there" 2 'no option --frob' "$COSCTL" list --frob=1
refused "a short one" 2 'no option -z' "$COSCTL" list -qz
refused "behind a long one" 2 'no option -z' "$COSCTL" list --quiet -zq
refused "one of control characters" 2 'no option --a' "$COSCTL" list "--$CTRL"
refused "an option without its value" 2 '--filter takes a value' "$COSCTL" list --filter
refused "a short one" 2 '-o takes a value' "$COSCTL" list -qo
refused "a value that is not taken" 2 '--quiet=1: .* no value' "$COSCTL" list --quiet=1
refused "the same of exec" 125 'no option --frob' "$COSCTL" exec --frob x true
refused "a socket that is not there" 9 'No such file' "$COSCTL" --socket "$T/none" list
refused "a socket's name that is too long" 2 'too long' "$COSCTL" --socket "$T/$(printf %.200s "$LONG")" list
refused "a socket that is a file" 9 'refused|not a socket' "$COSCTL" --socket "$T/before" list
refused "an output format" 2 'takes table' "$COSCTL" list -o xml
refused "a filter" 2 'KEY=VALUE' "$COSCTL" list --filter x
refused "names beside --all" 2 'beside --all' "$COSCTL" stop --all x
for n in 0 x -1 129 ''; do
	refused "--parallel '$n'" 2 '1..128' "$COSCTL" stop --parallel "$n" x
done
for n in x -1 1.5 ''; do
	refused "--timeout '$n'" 2 'timeout' "$COSCTL" stop --timeout "$n" x
done
refused "--since" 2 'number' "$COSCTL" events --since x
refused "--delay" 2 'time' "$COSCTL" top --delay x
refused "--iterations" 2 'number' "$COSCTL" top --iterations x
refused "another command's option, gc" 2 . "$COSCTL" gc --initrd 1h
refused "another command's option, create" 2 . "$COSCTL" create --template busybox --grace 1h x
refused "a kind of template" 2 'kind' "$COSCTL" template build nosuch
refused "a template's bad name" 2 'name' "$COSCTL" template build busybox ../x
refused "import under a bad name" 2 'name' "$COSCTL" template import "$CTRL" /etc
refused "import of nothing" 1 'No such file' "$COSCTL" template import x "$T/none"
refused "delete of no template" 4 'no template' "$COSCTL" template delete nosuch
refused "an unknown verb" 2 'import, build' "$COSCTL" template frobnicate

# --- files ---
spec() { # DESCRIPTION ERE TEXT
	printf '%s' "$3" >"$T/spec.json"
	refused "$1" 2 "$2" "$COSCTL" create --spec "$T/spec.json" x
}
spec "an empty file, named once" 'why: [^:]*spec.json:1: [^/]*$'
spec "half a file" 'spec.json:2' '{
 "template": '
spec "text behind it" 'spec.json:2' '{"template":"busybox"}
x'
spec "an unknown key is named with its line" 'spec.json:3: /hostnam: unknown key' '{
 "template": "busybox",
 "hostnam": "x"
}'
spec "an unknown limit too" 'spec.json:4: /limits/cpu.rat: unknown limit' '{
 "template": "busybox",
 "limits": {
  "cpu.rat": 1
 }
}'
spec "a value below a list" 'spec.json:3: /binds/1/target' '{"template": "busybox",
 "binds": [ { "source": "/tmp", "target": "/a" },
  { "source": "/tmp", "target": "b" } ] }'
spec "a key given twice" 'spec.json:.*duplicate' '{"template":"busybox","template":"busybox"}'
spec "an array" '.' '[]'
spec "control characters" '/hostname: has control' '{"template":"busybox","hostname":"a\u001b[2Jb"}'
spec "a NUL" '.' '{"template":"busybox","hostname":"a\u0000b"}'
printf '{"template":"busybox"}\0' >"$T/nul.json"
refused "a NUL byte" 2 'NUL' "$COSCTL" create --spec "$T/nul.json" x
printf '{"template":"busy\377box"}' >"$T/utf8.json"
refused "bytes that are no UTF-8" 2 'utf8.json:1' "$COSCTL" create --spec "$T/utf8.json" x
refused "a file that is not there" 2 'No such file' "$COSCTL" create --spec "$T/none.json" x
refused "a directory" 2 'directory' "$COSCTL" create --spec "$T" x
refused "an endless file" 2 'zero: has more than 256 KiB' "$COSCTL" create --spec /dev/zero x

conf() { # DESCRIPTION ERE TEXT
	printf '%s' "$3" >"$T/cosd.json"
	got=$("$COSD" --instance "$INSTANCE-x" --state-dir "$T/x-state" --runtime-dir "$T/x-run" --config "$T/cosd.json" 2>&1)
	is "cosd ends with 2: $1" "$?" 2
	like "and names the place" "$got" "$2"
	ok "and makes nothing" test ! -e "$T/x-state" -a ! -e "$T/x-run"
}
conf "unknown key" 'cosd.json:2: /id.bas: unknown key' '{
 "id.bas": 65536 }'
conf "value out of range" 'cosd.json:1: /id.count' '{"id.count": 0}'
conf "wrong type" 'cosd.json:1: /id.count: not an integer' '{"id.count": "12"}'
conf "no multiple" '/id.base: is not a multiple' '{"id.base": 65537}'
conf "relative directory" '/profile.dir: is not an absolute' '{"profile.dir": "x"}'
conf "syntax" 'cosd.json:1' '{"id.count" 12}'
fails "cosd without its file" 2 'No such file' "$COSD" --instance "$INSTANCE-x" --state-dir "$T/x-state" \
	--runtime-dir "$T/x-run" --config "$T/none.json"
fails "cosd with a bad instance" 2 'not a name' "$COSD" --instance ../x
fails "a second cosd here" 1 'already' "$COSD" --instance "$INSTANCE-x" --state-dir "$T/x-state" --runtime-dir "$T/run"

# --- nothing came of all that ---
rm -rf "$T/x-state"
state >"$T/after"
is "the state is as it was" "$(diff "$T/before" "$T/after")" ""
is "no group is left" "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE*/*" -type d)" ""

# What is unusual but right.
mkdir -p "$T/state/cow/guests/stray/up"
ok "a name of which files were left" "$COSCTL" create --template busybox stray -- sleep 1
is "has new ones" "$(ls "$T/state/cow/guests/stray/root.json" | wc -l)" 1
"$COSCTL" delete stray
ok "a range of a thousand" "$COSCTL" create --template busybox 'w{001..1000}' -- sleep 1
is "all were made" "$("$COSCTL" list -o name | wc -l)" 1000
ok "and deleted" "$COSCTL" delete --all
ok "odd arguments are the guest's own" "$COSCTL" create --template busybox odd --env "A=$LINE" -- printf '%s|' "$LINE" "$CTRL" '' '-- x'
"$COSCTL" delete odd
is "and arrive as they are" "$("$COSCTL" run --rm --template busybox --env "A=$LINE" odd -- sh -c 'printf "%s|" "$A" "$@"' s "$CTRL" '' -- x)" \
	"$LINE|$CTRL||--|x|"
is "nothing is left" "$("$COSCTL" list -o name)" ""
plan_done
