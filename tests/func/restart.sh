#!/bin/sh
# tests/func/restart.sh - restarts: of guests by policy and from inside, of the daemon's two processes under them
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
B=$T/b
mkdir "$B"

field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
lines_in() { # FILE AT-LEAST
	[ "$(wc -l <"$1")" -ge "$2" ]
}
events_of() { # GUEST EVENT
	"$COSCTL" events -o json | grep "\"guest\": *\"$1\"" | grep "\"event\": *\"$2\""
}
has_event() {
	events_of "$1" "$2" | grep -q .
}
said() { # EVENT of the daemon
	"$COSCTL" events -o json | grep -q "\"event\": *\"$1\""
}

# --- policies ---
"$COSCTL" create --template busybox no -- sh -c 'exit 3'
"$COSCTL" start no
ok "restart=no: a failure is told" await state_is no failed
is "with its status" "$(field no last_end)" "exit 3"
like "and its reason" "$(field no reason)" "ended by itself: exit 3"
"$COSCTL" create --template busybox fine restart=on-failure -- true
"$COSCTL" start fine
ok "restart=on-failure: success is the end" await state_is fine defined

# shellcheck disable=SC2016 # the guest's shell
"$COSCTL" create --template busybox --bind "$B:/b" again restart=on-failure -- sh -c \
	'echo x >>/b/again; [ "$(wc -l </b/again)" -lt 4 ]; exit $((1 - $?))'
: >"$B/again"
"$COSCTL" start again
ok "restart=on-failure: a failure is tried again" await lines_in "$B/again" 4
ok "until it is none" await state_is again defined
is "three times" "$(events_of again restart | wc -l)" 3
stamps() {
	events_of again "$1" | sed 's/.*"time_usec": *\([0-9]*\).*/\1/'
}
stamps exit >"$T/exits"
stamps restart >"$T/restarts"
is "after waits of 0.1, 0.2 and 0.4 s" "$(paste "$T/exits" "$T/restarts" | head -3 | awk '
	{ d = ($2 - $1) / 1e6; printf "%s ", (d >= 0.1 * 2 ^ (NR - 1) - 0.002) ? "ok" : d }')" "ok ok ok "

"$COSCTL" create --template busybox --bind "$B:/b" always restart=always -- sh -c 'echo x >>/b/always'
: >"$B/always"
"$COSCTL" start always
ok "restart=always: success is tried again too" await lines_in "$B/always" 5
ok "it waits for its next start" await state_is always defined
ok "stop" "$COSCTL" stop always
ok "cancels that" has_event always restart-cancelled
cp "$B/always" "$T/always"
fails "there is nothing to stop any more" 3 'which is' "$COSCTL" stop always

# --- from inside ---
"$COSCTL" create --template busybox boot restart=no -- sleep 1000
"$COSCTL" start boot
pid=$(field boot pid)
new_pid() {
	p=$(field boot pid)
	[ -n "$p" ] && [ "$p" != "$pid" ] && state_is boot running
}
"$COSCTL" exec boot -- reboot -f >"$T/reboot.log" 2>&1
ok "reboot(2) inside starts the guest again, whatever the policy" await new_pid
ok "commands run in it" "$COSCTL" exec boot -- true
for how in halt poweroff; do
	"$COSCTL" create --template busybox $how restart=always -- sleep 1000
	"$COSCTL" start $how
	"$COSCTL" exec $how -- $how -f >"$T/$how.log" 2>&1
	ok "$how inside stops it, whatever the policy" await state_is $how defined
	ok "no restart is planned" sh -c "! $COSCTL stop $how"
done

# A guest that does nothing else: it is slowed down, but never given up.
"$COSCTL" create --template busybox loop restart=no -- reboot -f
"$COSCTL" start loop
loops() {
	[ "$(events_of loop restart | wc -l)" -ge 4 ]
}
ok "a guest that only reboots is started again" await loops
is "after longer and longer waits" "$(events_of loop exit | sed 's/.*"time_usec": *\([0-9]*\).*/\1/' | head -4 | awk '
	NR > 1 { printf "%s ", ($1 - p >= 1e5 * 2 ^ (NR - 2) - 2e3) ? "ok" : $1 - p } { p = $1 }')" "ok ok ok "
ok "stop ends that" "$COSCTL" delete --force loop

# A start that fails is tried again as well when the policy had asked for it.
"$COSCTL" create --template busybox --bind "$B:/b" back restart=always -- sh -c 'until [ -e /b/end ]; do sleep 0.05; done'
"$COSCTL" start back
"$COSCTL" set back 'binds=[{"source":"'"$T/later"'","target":"/b"}]'
touch "$B/end"
ok "a restart that fails is told" await has_event back start-failed
mkdir "$T/later"
ok "and tried again until it succeeds" await state_is back running
touch "$T/later/end"
"$COSCTL" delete --force back
rm -f "$B/end"
"$COSCTL" create --template busybox --bind "$T/none:/b" hand restart=always -- true
fails "a start by hand is not" 2 'bind source' "$COSCTL" start hand
fails "but stays failed" 3 'failed' "$COSCTL" stop hand

# --- stopping ---
"$COSCTL" create --template busybox deaf -- sh -c 'trap "" TERM INT HUP; echo >/ready; while :; do sleep 1; done'
"$COSCTL" start deaf
ok "a guest that ignores signals runs" await "$COSCTL" exec deaf -- test -e /ready
ok "stop waits and kills" "$COSCTL" stop --timeout 1 deaf
ok "the timeout is told" has_event deaf stop-timeout
ok "and the kill" has_event deaf kill
is "it ended by that" "$(field deaf last_end)" "signal 9"
ok "and is stopped, not failed" state_is deaf defined
"$COSCTL" create --template busybox soft restart=always -- sh -c 'trap "exit 5" TERM; echo >/ready; while :; do sleep 0.1; done'
"$COSCTL" start soft
await "$COSCTL" exec soft -- test -e /ready
ok "a guest that listens stops" "$COSCTL" stop soft
is "with its own status" "$(field soft last_end)" "exit 5"
ok "and is not restarted" state_is soft defined

gone() {
	! "$COSCTL" list -o name | grep -qx "$1"
}
"$COSCTL" run -d --rm --template busybox brief -- sleep 1000 >/dev/null
ok "an ephemeral guest runs" state_is brief running
ok "stop" "$COSCTL" stop --timeout 1 brief
ok "and it is gone" gone brief
"$COSCTL" run -d --rm --template busybox brief -- sh -c 'exit 7' >/dev/null
ok "one that fails is gone too" await gone brief
"$COSCTL" run -d --rm --template busybox brief -- sleep 1000 >/dev/null
kill -9 "$(field brief pid)"
ok "one that is killed from outside is gone too" await gone brief
is "with its root" "$(find "$T/state/cow/guests" -maxdepth 1 -name 'brief*')" ""
is "and its log" "$(find "$T/state/log" -name 'brief*')" ""

# --- the daemon's processes ---
"$COSCTL" create --template busybox --bind "$B:/b" long restart=no -- sh -c \
	'echo started; until [ -e /b/go ]; do sleep 0.1; done; echo ending; exit 42'
worker() {
	cat "$T/run/cosd.pid"
}
other_worker() {
	[ -e "$T/run/cosd.pid" ] && [ "$(worker)" != "$1" ] && "$COSCTL" version >/dev/null 2>&1
}
begin() {
	rm -f "$B/go"
	"$COSCTL" start long
	pid=$(field long pid)
}
survives() { # WHAT
	is "$1: the guest runs on as the same process" "$(field long pid)" "$pid"
	ok "$1: in state running" state_is long running
	ok "$1: commands run in it" "$COSCTL" exec long -- true
	ok "$1: its limits can be set" "$COSCTL" set long "cpu.share=$((100 + tap_n))"
}
endings() {
	"$COSCTL" logs long | grep -c ending
}
more_endings() {
	[ "$(endings)" -gt "$had" ]
}
# Before Linux 6.15 the status of a process whose parent has changed may be lost.
adopted='exit 42|unknown'
[ "$(printf '6.15\n%s\n' "$(uname -r)" | sort -V | head -1)" = 6.15 ] && adopted='exit 42'
ends_with_42() { # WHAT [ERE]
	had=$(endings)
	touch "$B/go"
	ok "$1: its end is seen" await state_is long failed
	like "$1: with its status" "$(field long last_end)" "^(${2:-exit 42})\$"
	ok "$1: and what it said on its console" await more_endings
}

begin
old=$(worker)
kill -9 "$old"
ok "worker killed: a new one serves" await other_worker "$old"
survives "worker killed"
ends_with_42 "worker killed"

begin
old=$(worker)
kill -9 "$old"
await other_worker "$old"
old=$(worker)
kill -9 "$old"
ok "worker killed twice: a new one serves" await other_worker "$old"
survives "worker killed twice"
ends_with_42 "worker killed twice"

begin
old=$(worker)
keeper=$(cat "$T/run/keep.pid")
kill -9 "$keeper"
new_keeper() {
	[ -e "$T/run/keep.pid" ] && [ "$(cat "$T/run/keep.pid")" != "$keeper" ] && other_worker "$old"
}
ok "keeper killed: another takes its place" await new_keeper
survives "keeper killed"
ends_with_42 "keeper killed" "$adopted"

begin
old=$(worker)
kill -9 "$old"
await other_worker "$old"
old=$(worker)
keeper=$(cat "$T/run/keep.pid")
kill -9 "$keeper"
ok "worker, then keeper killed: others take their places" await new_keeper
survives "worker, then keeper killed"
ends_with_42 "worker, then keeper killed" "$adopted"

stop_daemon() {
	keeper=$(cat "$T/run/keep.pid")
	kill -TERM "$keeper"
	await test ! -e "$T/run/keep.pid" && await sh -c "! kill -0 $keeper 2>/dev/null"
}
begin
ok "the daemon ends on SIGTERM while a guest runs" stop_daemon
ok "the guest does not" kill -0 "$pid"
cos_start_daemon
survives "daemon stopped and started"
ends_with_42 "daemon stopped and started" "$adopted"

begin
stop_daemon
touch "$B/go"
await sh -c "! kill -0 $pid 2>/dev/null"
cos_start_daemon
# The kernel may still have the status of a process that nobody has waited for.
like "an end that nobody saw is unknown, or the true one" "$(field long last_end)" '^(unknown|exit 42)$'
ok "and a failure" state_is long failed
begin
kill -9 "$(cat "$T/run/keep.pid")" "$(worker)"
await sh -c "! \"$COSCTL\" version"
rm -f "$T/run/cosd.pid" "$T/run/keep.pid"
cos_start_daemon
survives "both killed, a new daemon"
ends_with_42 "both killed, a new daemon" "$adopted"

# --- restarts that are due meanwhile ---
"$COSCTL" create --template busybox --bind "$B:/b" crashes restart=always -- sh -c 'echo x >>/b/crashes'
: >"$B/crashes"
"$COSCTL" start crashes
starts_again() {
	: >"$B/crashes"
	await lines_in "$B/crashes" 1
}
await lines_in "$B/crashes" 4 # from here on it waits for 0.8 s and more
await state_is crashes defined
old=$(worker)
kill -9 "$old"
await other_worker "$old"
ok "worker killed while a guest waits for its restart: it is restarted" starts_again
await lines_in "$B/crashes" 2
await state_is crashes defined
stop_daemon
cos_start_daemon
ok "daemon stopped and started: the same" starts_again
await state_is crashes defined
"$COSCTL" stop --all
ok "stop --all calls off a restart that is due" has_event crashes restart-cancelled
is "of which the next worker knows" "$(old=$(worker); kill -9 "$old"; await other_worker "$old"
	"$COSCTL" list -o json --filter restart_due=true --filter name=crashes | grep -c crashes)" 0
"$COSCTL" delete crashes

"$COSCTL" create --template busybox unseen restart=on-failure -- sleep 1000
"$COSCTL" start unseen
pid=$(field unseen pid)
kill -9 "$(cat "$T/run/keep.pid")" "$(worker)" "$pid"
await sh -c "! \"$COSCTL\" version"
rm -f "$T/run/cosd.pid" "$T/run/keep.pid"
cos_start_daemon
again() {
	state_is unseen running && [ "$(field unseen pid)" != "$pid" ]
}
ok "a guest whose end nobody saw is restarted" await again
"$COSCTL" delete --force unseen

# While a restart is due somebody starts the guest, which takes longer than the wait; or stops it in its last hook.
"$COSCTL" create --template busybox hooked restart=on-failure 'hooks={"pre_start":["/bin/sleep","0.6"],"post_stop":["/bin/sleep","0.6"]}' -- \
	sleep 1000
"$COSCTL" start hooked
"$COSCTL" set hooked 'hooks={"post_stop":[]}'
kill -9 "$(field hooked pid)"
await state_is hooked failed
ok "a start beside a restart that is due" "$COSCTL" start hooked
ok "is the only one" state_is hooked running
"$COSCTL" set hooked 'hooks={"pre_start":[],"post_stop":["/bin/sleep","0.6"]}'
kill -9 "$(field hooked pid)"
await state_is hooked stopping
ok "a stop while post_stop runs" "$COSCTL" stop hooked
fails "leaves nothing due" 3 'which is' "$COSCTL" stop hooked
"$COSCTL" delete hooked

# --- specifications that are refused: of a later version, or damaged ---
for g in runs rests broken; do
	"$COSCTL" create --template busybox $g -- sleep 1000
done
"$COSCTL" start runs
pid=$(field runs pid)
stop_daemon
for g in runs rests; do
	sed -i '1s/{/{ "telepathy": true,/' "$T/state/guests/$g.json"
done
echo '{ "name":' >"$T/state/guests/broken.json"
cos_start_daemon
ok "a guest whose specification is refused runs on" state_is runs running
is "as the same process" "$(field runs pid)" "$pid"
like "why is told" "$(field runs reason)" 'specification refused: .*telepathy'
fails "it cannot be entered" 125 'specification refused' "$COSCTL" exec runs -- true
ok "it can be stopped" "$COSCTL" stop --timeout 1 runs
ok "its process is gone" await sh -c "! kill -0 $pid 2>/dev/null"
ok "it is failed" state_is runs failed
like "for that reason" "$(field runs reason)" 'specification refused: .*telepathy'
fails "it cannot be started" 2 "mend $T/state/guests/runs.json" "$COSCTL" start runs
ok "one that does not run is failed too" state_is rests failed
ok "and one whose file is damaged" state_is broken failed
like "which is told" "$(field broken reason)" 'specification refused: .*broken.json'
stop_daemon
sed -i 's/"telepathy": true,//' "$T/state/guests/rests.json"
cos_start_daemon
ok "once it is mended the guest starts" "$COSCTL" start rests
stop_daemon
sed -i '1s/{/{ "telepathy": true,/' "$T/state/guests/rests.json"
cos_start_daemon
ok "one that runs is deleted by force" "$COSCTL" delete --force rests
ok "the key can be taken out" "$COSCTL" set runs telepathy=
ok "then the guest starts" "$COSCTL" start runs
ok "and the others" "$COSCTL" delete --force runs broken
is "nothing is left of them" "$(find "$T/state" "$T/run" -name 'runs*' -o -name 'rests*' -o -name 'broken*')" ""

# --- configuration ---
stop_daemon
conf() {
	printf '%s\n' "$1" >"$T/cosd.json"
}
refusals() {
	"$COSCTL" events -o json | grep -c '"reload-refused"'
}
conf '{"events.log_bytes": 1000000}'
COSD_ARGS="--config $T/cosd.json"
cos_start_daemon
conf '{"events.log_bytes": 1000000, "log.level": 3}'
kill -HUP "$(cat "$T/run/keep.pid")"
ok "SIGHUP reloads" await said reload
n=$(refusals)
more_refusals() {
	[ "$(refusals)" -gt "$n" ]
}
conf '{"log.level": 9}'
kill -HUP "$(worker)"
ok "a bad value is refused" await more_refusals
like "by name" "$("$COSCTL" events -o json | grep reload-refused | tail -1)" 'log.level'
n=$(refusals)
conf '{"profile.dir": "/nowhere", "id.count": 99}'
kill -HUP "$(cat "$T/run/keep.pid")"
ok "a change that needs a restart is refused" await more_refusals
like "by name" "$("$COSCTL" events -o json | grep reload-refused | tail -1)" 'id.count'
fails "and with it all others" 2 "there is no profile none" "$COSCTL" create --template busybox --profile none x
"$COSCTL" create --template busybox --profile none x 2>"$T/err"
like "the old value is in force" "$(cat "$T/err")" 'cos/profiles'
reloads() {
	"$COSCTL" events -o json | grep -c '"event": *"reload"'
}
n=$(reloads)
more_reloads() {
	[ "$(reloads)" -gt "$n" ]
}
conf '{"events.log_bytes": 1000000, "prepare.slots": 0}'
kill -HUP "$(cat "$T/run/keep.pid")"
await more_reloads
"$COSCTL" create --template busybox --bind "$B:/b" 'bind{01..10}' -- sleep 1000
ok "guests with binds start when no namespaces are prepared any more" "$COSCTL" start 'bind{01..10}'
made_namespaces() {
	"$COSCTL" status "$1" -o json | tr -d ' \n' | grep -E '"namespaces":[0-9]{3}'
}
ok "they are made then" made_namespaces bind10
ok "and the bind is there" "$COSCTL" exec bind10 -- test -e /b/always
ok "they are deleted" "$COSCTL" delete --force 'bind{01..10}'
n=$(refusals)
rm "$T/cosd.json"
kill -HUP "$(cat "$T/run/keep.pid")"
ok "the daemon lives without its file" "$COSCTL" version

# --- what a crash of the host leaves in the log ---
head -c 100 /dev/zero >>"$T/state/events.log"
"$COSCTL" create --template busybox afterwards -- true # ends the line of zeros
"$COSCTL" create --template busybox afterwards2 -- true
like "events behind a hole in the log are told" "$("$COSCTL" events -o json)" '"guest": *"afterwards2"'

# --- a careless starter ---
long=$(printf '%0200d' 0)
"$COSD" --instance "$INSTANCE-y" --state-dir "$T/y-state$long" --runtime-dir "$T/y-run" <&- >&- 2>&- &
await test -e "$T/y-run/cosd.pid"
for p in keep cosd; do
	is "streams that the starter closed are nobody's ($p.pid)" \
		"$(readlink /proc/"$(cat "$T/y-run/$p.pid")"/fd/0 /proc/"$(cat "$T/y-run/$p.pid")"/fd/1 /proc/"$(cat "$T/y-run/$p.pid")"/fd/2 | uniq)" /dev/null
done
await test -S "$T/y-run/cosd.sock"
like "a long text is whole in a table" "$("$COSCTL" --socket "$T/y-run/cosd.sock" doctor -o csv)" 'y-state0+ is .*nosuid(,| and )nodev'
kill "$(cat "$T/y-run/keep.pid")"
ok "that daemon ends" await test ! -e "$T/y-run/keep.pid"

is "what was cancelled was not started after all" "$(cat "$B/always")" "$(cat "$T/always")"
# --- with next to no descriptors ---
stop_daemon
echo '{}' >"$T/cosd.json"
(ulimit -n 200; cos_start_daemon)
like "the doctor tells for how many guests descriptors are enough" "$("$COSCTL" doctor --no-headers)" \
	'^descriptors +note +descriptors: 200, enough for about 0 running guests'
plan_done
