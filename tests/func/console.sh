#!/bin/sh
# tests/func/console.sh - what guests say and are told: logs, consoles, exec's and run's streams, signals
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || { echo "1..0 # SKIP no script(1)"; exit 0; }
cos_setup
mkdir "$T/b"
stop_daemon() {
	kill -TERM "$(cat "$T/run/keep.pid")"
	await test ! -e "$T/run/keep.pid"
}
stop_daemon
echo '{"console.log_bytes": 16384}' >"$T/cosd.json"
COSD_ARGS="--config $T/cosd.json"
cos_start_daemon
cos_template
"$COSCTL" create --template busybox --bind "$T/b:/b" g -- sleep 1000
"$COSCTL" start g
said() { # FILE ERE
	grep -Eqa -- "$2" "$1"
}
field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
size() {
	stat -c %s "$1" 2>/dev/null || echo 0
}

# --- logs ---
# shellcheck disable=SC2016 # the guest's shell
"$COSCTL" create --template busybox --bind "$T/b:/b" talker -- sh -c \
	'echo first; until [ -e /b/more ]; do sleep 0.05; done; echo second; until [ -e /b/many ]; do sleep 0.05; done; seq 1 20000; echo last; sleep 1000'
is "no log before the first start" "$("$COSCTL" logs talker)" ""
"$COSCTL" start talker
logged() {
	"$COSCTL" logs talker | grep -q "^$1"
}
ok "what it writes is logged" await logged first
"$COSCTL" logs -f talker >"$T/follow" 2>"$T/err" &
follower=$!
ok "logs -f prints what is there" await said "$T/follow" '^first'
touch "$T/b/more"
ok "and what comes" await said "$T/follow" '^second'
touch "$T/b/many"
ok "and goes on over rotations" await said "$T/follow" '^last'
kill "$follower"
ok "the last line is there" await logged last
log=$T/state/log/talker.log
is "the log is bounded" "$([ "$(size "$log")" -le 16384 ] && [ "$(size "$log.1")" -le 16384 ] && echo so)" so
is "and has no gap" "$("$COSCTL" logs talker | tr -d '\r' | awk '/^[0-9]+$/ { if (p && $1 != p + 1) gap++; p = $1 } END { print p, gap + 0 }')" "20000 0"
is "no file of it is for others" "$(stat -c %a "$log")" 600

# --- a flood ---
"$COSCTL" create --template busybox flood -- yes yesyesyesyesyesyesyesyesyesyesyesyes
"$COSCTL" start flood
inode() {
	stat -c %i "$T/state/log/flood.log.1" 2>/dev/null
}
rotated() {
	[ -n "$(inode)" ] && [ "$(inode)" != "$was" ]
}
was=
ok "a flooded console is rotated" await rotated
was=$(inode)
ok "again and again" await rotated
for i in 1 2 3 4 5 6 7 8 9 10; do
	"$COSCTL" version >/dev/null || break
done
is "the daemon answers meanwhile" "$i" 10
is "other guests too" "$("$COSCTL" exec g -- echo here)" here
now_read() {
	echo "$(sed -n 's/^rchar: //p' "/proc/$(cat "$T/run/keep.pid")/io") $(date +%s%N)"
}
a=$(now_read)
was=$(inode)
for i in 1 2 3 4 5; do
	await rotated
	was=$(inode)
done
b=$(now_read)
is "the keeper reads no more than 4 MiB a second of it" "$(echo "$a $b" | awk '
	{ print ($3 - $1 <= 4194304 * (($4 - $2) / 1e9) + 4194304 + 65536) ? "so" : $3 - $1 }')" so
is "the log stays bounded" "$([ "$(size "$T/state/log/flood.log")" -le 16384 ] && echo so)" so

# --- console ---
"$COSCTL" create --template busybox echoes -- sh -c 'echo ready; while read -r x; do echo "got <$x>"; done'
"$COSCTL" start echoes
mkfifo "$T/keys"
on_terminal() { # OUTPUT COMMAND: runs it in a terminal whose keyboard is the FIFO, opened as 3
	: >"$1"
	script -qefc "$2" /dev/null <"$T/keys" >"$1" 2>&1 &
	term=$!
	exec 3>"$T/keys"
}
hang_up() {
	exec 3>&-
	wait "$term"
}
on_terminal "$T/console" "$COSCTL console echoes; echo status \$?; cat"
ok "console attaches" await said "$T/console" 'detaches'
printf 'hello there\r' >&3
ok "what is typed reaches the guest" await said "$T/console" 'got <hello there>'
printf '\035' >&3
ok "^] detaches" await said "$T/console" '^status 0'
hang_up
ok "and the guest runs on" state_is echoes running
on_terminal "$T/console" "$COSCTL console echoes; echo status \$?; cat"
await said "$T/console" 'detaches'
"$COSCTL" stop --timeout 0 echoes
ok "the guest's end ends it" await said "$T/console" '^status 0'
hang_up
fails "no console of what does not run" 3 'is defined' "$COSCTL" console echoes

on_terminal "$T/console" "echo pid \$\$; exec $COSCTL console flood"
await said "$T/console" '^pid'
await said "$T/console" yesyes
viewer=$(tr -d '\r' <"$T/console" | sed -n 's/^pid //p' | head -1)
kill -STOP "$viewer"
was=$(inode)
ok "a viewer that is stopped does not stop the guest" await rotated
was=$(inode)
ok "nor for long" await rotated
kill -9 "$viewer"
kill -CONT "$term" # script(1) stops with its child
hang_up
"$COSCTL" delete --force flood

# --- exec ---
is "standard streams are pipes" "$("$COSCTL" exec g -- sh -c 'readlink /proc/self/fd/0' <"$T/cosd.json" | cut -d: -f1)" pipe
"$COSCTL" exec g -- sh -c 'ls /proc/self/fd | wc -l; cat' </ >"$T/out" 2>"$T/err"
is "a directory as input: it runs" "$?" 0
like "with a clear message" "$(cat "$T/err")" 'standard input cannot be read: Is a directory'
is "and no more descriptors than its own" "$(cat "$T/out")" 4
is "nothing above 2 is passed on" "$("$COSCTL" exec g -- sh -c 'ls /proc/self/fd | wc -l' 5</ 6</dev/null)" 4
"$COSCTL" exec g -- sh -c 'echo out; echo err >&2; exit 9' >"$T/out" 2>"$T/err"
is "status, output and errors apart" "$? $(cat "$T/out") $(cat "$T/err")" "9 out err"
fails "not found" 127 'not found in the guest' "$COSCTL" exec g -- nosuch
fails "not executable" 126 'Permission denied' "$COSCTL" exec g -- /etc/passwd
fails "ours" 125 'not in the guest' "$COSCTL" exec --user nosuch g -- true
# shellcheck disable=SC2016
"$COSCTL" exec g -- sh -c 'kill -TERM $$' >"$T/out" 2>&1
is "128 + N" "$?" 143
is "no terminal" "$("$COSCTL" exec g -- tty)" "not a tty"
for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
	timeout 20 sh -c "\"$COSCTL\" exec g -- true $closed"
	is "with $closed" "$?" 0
done
is "input that nobody reads" "$(yes | timeout 20 "$COSCTL" exec g -- head -1)" y
timeout 20 "$COSCTL" exec g -- yes 2>"$T/err" | head -1 >"$T/out"
is "output that nobody reads" "$(cat "$T/out")" y
timeout 20 "$COSCTL" exec g -- sh -c 'exec <&- >&- 2>&-; exit 8' </dev/null
is "streams closed early inside" "$?" 8
timeout 20 "$COSCTL" exec g -- sh -c 'sleep 1000 & exit 7' >"$T/out"
is "a process left behind holds nobody up" "$?" 7
timeout 20 "$COSCTL" exec g -- sh -c 'yes & exit 6' >"$T/out"
is "not even one that goes on writing" "$?" 6
"$COSCTL" exec g -- killall yes 2>"$T/err"
dd if=/dev/urandom of="$T/big" bs=1M count=100 2>/dev/null
ok "100 MiB through a command" sh -c "\"$COSCTL\" exec g -- cat <\"$T/big\" | cmp - \"$T/big\""
is "arrive" "$("$COSCTL" exec g -- sha256sum <"$T/big")" "$(sha256sum <"$T/big")"
rm "$T/big"
fails "too much on the command line" 125 'longer than|too long' "$COSCTL" exec g -- true "$(head -c 120000 /dev/zero | tr '\0' x)" \
	"$(head -c 120000 /dev/zero | tr '\0' x)" "$(head -c 120000 /dev/zero | tr '\0' x)" "$(head -c 120000 /dev/zero | tr '\0' x)" \
	"$(head -c 120000 /dev/zero | tr '\0' x)" "$(head -c 120000 /dev/zero | tr '\0' x)" "$(head -c 120000 /dev/zero | tr '\0' x)" \
	"$(head -c 120000 /dev/zero | tr '\0' x)" "$(head -c 120000 /dev/zero | tr '\0' x)"

tty_out() { # COMMAND in a terminal of 33 x 77
	script -qefc "stty rows 33 cols 77; $1" /dev/null </dev/null | tr -d '\r\000\b' | sed 's/^\^[@D]//'
}
like "on a terminal it gets one" "$(tty_out "$COSCTL exec g -- tty")" '^/dev/pts/[0-9]+$'
like "with its size" "$(tty_out "$COSCTL exec g -- stty size")" '^33 77$'
like "or none" "$(tty_out "$COSCTL exec -T g -- tty")" '^not a tty$'
is "with its status" "$(tty_out "$COSCTL exec g -- sh -c 'exit 33'; echo \$?")" 33
like "all of it arrives" "$(tty_out "$COSCTL exec g -- seq 5000" | tail -1)" '^5000$'
timeout 20 "$COSCTL" exec -t g -- cat </dev/null >"$T/out"
is "the end of input ends a terminal's reader" "$?" 0
on_terminal "$T/console" "tty >$T/tty; stty rows 20 cols 60; $COSCTL exec g -- sh -c 'trap \"stty size\" WINCH; stty size; while :; do sleep 0.1; done'"
await said "$T/console" '^20 60'
stty -F "$(cat "$T/tty")" rows 44 cols 88
ok "a new size is passed on" await said "$T/console" '^44 88'
printf '\003' >&3
hang_up

for s in TERM HUP; do
	rm -f "$T/client"
	on_terminal "$T/console" "stty -g >$T/before; sh -c 'echo \$\$ >$T/client; exec $COSCTL exec g -- sh -c \"echo up; sleep 1000\"'; stty -g >$T/after; echo over"
	await said "$T/console" '^up'
	kill -"$s" "$(cat "$T/client")"
	ok "a client on a terminal is ended by $s" await said "$T/console" '^over'
	is "and leaves the terminal as it was" "$(cat "$T/after")" "$(cat "$T/before")"
	hang_up
done

# --- run ---
"$COSCTL" run --rm --template busybox r -- sh -c 'echo out; echo err >&2; cat; exit 9' >"$T/out" 2>"$T/err" <"$T/cosd.json"
is "run: status, output and errors apart" "$? $(head -1 "$T/out") $(cat "$T/err")" "9 out err"
is "run: input" "$(tail -1 "$T/out")" "$(cat "$T/cosd.json")"
fails "run: not found" 127 'not found' "$COSCTL" run --rm --template busybox r -- nosuch
fails "run: not executable" 126 'Permission' "$COSCTL" run --rm --template busybox r -- /etc/passwd
fails "run: ours" 125 'no template' "$COSCTL" run --rm --template nosuch r -- true
# shellcheck disable=SC2016
"$COSCTL" run --rm --template busybox r -- sh -c 'kill -KILL $$' >"$T/out" 2>&1
is "run: 128 + N" "$?" 137
for s in INT TERM HUP USR1; do
	rm "$T/out"
	"$COSCTL" run --rm --template busybox r -- sh -c "trap 'exit 21' $s; echo up; while :; do sleep 0.05; done" >"$T/out" 2>&1 </dev/null &
	client=$!
	await said "$T/out" up
	kill -$s "$client"
	wait "$client"
	is "run: SIG$s is the guest's" "$?" 21
done
rm "$T/out"
"$COSCTL" run --rm --template busybox r -- sh -c 'echo up; exec sleep 1000' >"$T/out" 2>&1 </dev/null &
client=$!
await said "$T/out" up
kill -TERM "$client"
wait "$client"
is "run: and ends it if it does not mind" "$?" 143
like "run on a terminal" "$(tty_out "$COSCTL run --rm --template busybox r -- sh -c 'tty; stty size; seq 3000'" | tr '\n' ' ')" '^/dev/pts/0 33 77 1 2 .* 3000 $'
rm "$T/out"
"$COSCTL" run --template busybox r -- sh -c 'echo up; exec sleep 1000' >"$T/out" 2>&1 </dev/null &
client=$!
await said "$T/out" up
kill -9 "$client"
wait "$client" 2>/dev/null
ok "run: a client that is killed does not end the guest" state_is r running
"$COSCTL" delete --force r
fails "the next guest of a name has no log of the last" 4 'no guest' "$COSCTL" logs r
"$COSCTL" delete --force talker
"$COSCTL" create --template busybox talker -- true
is "indeed" "$("$COSCTL" logs talker)" ""
plan_done
