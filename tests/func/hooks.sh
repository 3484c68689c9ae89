#!/bin/sh
# tests/func/hooks.sh - programs of the host on a guest's way: what they get, what their failures do, what is left of them
# shellcheck disable=SC2016 # variables of the hooks' shells
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
D=$T/d
mkdir "$D"

# Says what it got; what a test wants of it beside that is in DIR/do.HOOK, read by its shell.
cat >"$T/hook" <<'END'
#!/bin/sh
d=$1
env | sort >"$d/env.$COS_HOOK"
cat >"$d/state.$COS_HOOK"
echo "$$" >"$d/pid.$COS_HOOK"
echo "$COS_HOOK" >>"$d/log"
[ ! -e "$d/do.$COS_HOOK" ] || . "$d/do.$COS_HOOK"
END
chmod 755 "$T/hook"
all_hooks() {
	for h in pre_start post_start pre_stop post_stop; do
		printf '"%s":["%s","%s"],' "$h" "$T/hook" "$D"
	done | sed 's/^/{/; s/,$/}/'
}
HOOKS=$(all_hooks)
does() { # HOOK TEXT: from now on
	printf '%s\n' "$2" >"$D/do.$1"
}
anew() { # all hooks do nothing more
	rm -f "$D"/*
}
ran() {
	tr '\n' ' ' <"$D/log"
}
field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
events_of() { # GUEST EVENT
	"$COSCTL" events -o json | grep "\"guest\": *\"$1\"" | grep "\"event\": *\"$2\""
}
has_event() {
	events_of "$1" "$2" | grep -q .
}
is_gone() { # PID
	! kill -0 "$1" 2>/dev/null
}
has_run() {
	grep -qx "$1" "$D/log"
}
groups() {
	find /sys/fs/cgroup -path "*/cos.$INSTANCE/*" -type d
}
no_groups() {
	[ -z "$(groups)" ]
}

# --- what is refused ---
create() { # NAME KEY=VALUE... [-- COMMAND...]
	"$COSCTL" create --template busybox "$@"
}
fails "a hook is an array" 2 '/hooks/pre_start: not an array' create bad 'hooks={"pre_start":"/bin/true"}'
fails "of texts" 2 '/hooks/pre_stop: element 1' create bad 'hooks={"pre_stop":["/bin/true",1]}'
fails "that begins with an absolute path" 2 '/hooks/post_stop: does not begin' create bad 'hooks={"post_stop":["true"]}'
fails "no other hook is known" 2 '/hooks/nosuch' create bad 'hooks={"nosuch":["/bin/true"]}'
fails "hook_timeout is at least a second" 2 'hook_timeout' create bad hook_timeout=0
fails "and at most ten minutes" 2 'hook_timeout' create bad hook_timeout=601

# --- from start to end ---
ok "create with all hooks" create all "hooks=$HOOKS" -- sh -c 'trap "exit 5" TERM; echo >/ready; while :; do sleep 0.1; done'
fails "the owner of a guest cannot set them" 7 'not for user.sock' "$COSCTL" --socket "$T/run/user.sock" set all hooks='{}'
ok "start" "$COSCTL" start all
is "the answer comes behind post_start" "$(ran)" "pre_start post_start "
like "pre_start: the environment" "$(cat "$D/env.pre_start")" "^COS_INSTANCE=$INSTANCE$"
is "has these names and no others" "$(sed 's/=.*//' "$D/env.pre_start" | tr '\n' ' ')" \
	"COS_GUEST COS_HOOK COS_INSTANCE COS_SOCKET PATH PWD "
is "and with a process COS_PID" "$(sed -n 's/^COS_PID=//p' "$D/env.post_start")" "$(field all pid)"
oci() { # HOOK KEY
	sed -n "s/.*\"$2\": *\"\{0,1\}\([^,\"}]*\).*/\1/p" "$D/state.$1"
}
is "its input is OCI's state" "$(oci pre_start ociVersion) $(oci pre_start id) $(oci pre_start status)" "1.2.0 all creating"
is "post_start: with the process" "$(oci post_start status) $(oci post_start pid)" "running $(field all pid)"
await "$COSCTL" exec all -- test -e /ready
ok "stop" "$COSCTL" stop all
is "all have run, in order" "$(ran)" "pre_start post_start pre_stop post_stop "
is "pre_stop: it runs still" "$(oci pre_stop status)" "running"
is "post_stop: it does not, and how it ended is told" "$(oci post_stop status) $(oci post_stop last_status)" "stopped 5"
is "it ended by the signal" "$(field all last_end)" "exit 5"

# --- pre_start fails ---
anew
does pre_start 'echo one; echo "no such bridge" >&2; exit 3'
fails "a pre_start that fails fails the start" 1 'start all: ' "$COSCTL" start all
said=$("$COSCTL" start all 2>&1)
like "three lines: the hook, its status and its last words" "$said" "why: pre_start $T/hook: exit 3: no such bridge$"
is "no more than three" "$(echo "$said" | wc -l)" 3
ok "the guest has failed" state_is all failed
ok "post_start has not run" sh -c "! grep -q post_start $D/log"
ok "post_stop has" has_run post_stop
like "an event has all that it said" "$(events_of all hook-failed | tail -1)" 'one.nno such bridge'
ok "no control group is left" no_groups
does pre_start 'sleep 1000 & echo $! >'"$D"'/child; echo waiting; sleep 1001'
"$COSCTL" set all hook_timeout=1
fails "one that hangs is killed when its time is up" 8 'killed after 1 s: waiting' "$COSCTL" start all
ok "it is gone" is_gone "$(cat "$D/pid.pre_start")"
ok "with its children" is_gone "$(cat "$D/child")"
does pre_start 'exec yes'
fails "one that prints without end, too" 8 'killed after 1 s: y$' "$COSCTL" start all
does pre_start 'printf "\033[31m\000red\tand\377\n"; exit 1'
fails "what it says cannot move a terminal" 1 'exit 1: \?\[31m\?red and\?$' "$COSCTL" start all
"$COSCTL" set all hook_timeout=30 'hooks={"pre_start":["/bin/ls","/proc/self/fd","/nosuch"]}'
fails "a program that is no shell" 1 'exit 2' "$COSCTL" start all
like "has descriptors 0, 1, 2, and what it opens" "$(events_of all hook-failed | tail -1)" 'fd:.n0.n1.n2.n3"'
"$COSCTL" set all 'hooks={"pre_start":["/nosuch/hook"]}'
fails "one that is not there" 1 'pre_start /nosuch/hook: exit 127: execve: No such file' "$COSCTL" start all
echo data >"$T/data"
"$COSCTL" set all 'hooks={"pre_start":["'"$T/data"'"]}'
fails "one that is no program" 1 'exit 126: execve: Permission denied' "$COSCTL" start all
ok "an empty array takes it away" "$COSCTL" set all 'hooks={"pre_start":[]}'
anew
ok "start" "$COSCTL" start all
is "it does not run any more" "$(ran)" "post_start "
"$COSCTL" kill all
"$COSCTL" set all "hooks=$HOOKS"

# --- what hooks leave behind ---
anew
does pre_start 'sleep 1000 & echo $! >'"$D"'/child'
ok "a hook that leaves a process with its output open keeps nobody waiting" "$COSCTL" start all
ok "that process ends with it" is_gone "$(cat "$D/child")"
"$COSCTL" kill all
does pre_start 'setsid sh -c "echo \$\$ >'"$D"'/daemon; exec sleep 1000" & until [ -s '"$D"'/daemon ]; do :; done'
ok "nor does one that leaves a daemon" "$COSCTL" start all
ok "which lives on, as it wants to" kill -0 "$(cat "$D/daemon")"
kill "$(cat "$D/daemon")"

# --- other failures do not stop anything ---
anew
"$COSCTL" kill all
does post_start 'echo sorry; exit 4'
ok "post_start fails: the guest runs" "$COSCTL" start all
like "it is an event" "$(events_of all hook-failed | tail -1)" '"hook": *"post_start".*exit 4'
does pre_stop 'exit 5'
does post_stop 'kill -9 $$'
ok "pre_stop fails: it is stopped" "$COSCTL" stop --timeout 5 all
ok "post_stop fails: it is stopped" state_is all defined
like "both are events" "$(events_of all hook-failed | tail -2 | tr '\n' ' ')" '"pre_stop".*exit 5.*"post_stop".*signal 9'

# --- pre_stop and the stop ---
anew
"$COSCTL" start all
"$COSCTL" set all hook_timeout=1
does pre_stop 'sleep 1000'
ok "a pre_stop that hangs delays the stop by hook_timeout" "$COSCTL" stop all
like "and is told" "$(events_of all hook-failed | tail -1)" '"pre_stop".*killed after 1 s'
"$COSCTL" set all hook_timeout=60
"$COSCTL" start all
anew
does pre_stop 'sleep 1000'
ok "stop --timeout 0 does not ask it" "$COSCTL" stop --timeout 0 all
is "but post_stop" "$(ran)" "post_stop "
"$COSCTL" start all
anew
does pre_stop 'sleep 1000'
"$COSCTL" stop all &
stop=$!
ok "a stop waits for it" await has_run pre_stop
ok "the guest is stopping" state_is all stopping
ok "commands run in it meanwhile" "$COSCTL" exec all -- true
ok "kill does not wait" "$COSCTL" kill all
wait $stop
is "the stop has its answer" "$?" 0
ok "the hook is gone" await is_gone "$(cat "$D/pid.pre_stop")"
"$COSCTL" start all
"$COSCTL" freeze all
anew
ok "a frozen guest is thawed for it" "$COSCTL" stop all
is "and stopped" "$(ran)$(field all last_end)" "pre_stop post_stop exit 5"

# --- post_stop, however it ended ---
anew
create crash --bind "$D:/d" "hooks=$HOOKS" restart=on-failure -- sh -c \
	'[ -e /again ] && sleep 1000; touch /again; until grep -q post_start /d/log; do sleep 0.05; done; exit 7'
"$COSCTL" start crash
again() {
	[ "$(field crash restarts)" = 1 ] && state_is crash running
}
ok "a guest that ends by itself is started again behind its post_stop" await again
ok "all hooks have run again" await sh -c "[ \$(grep -c post_start $D/log) = 2 ]"
is "in order" "$(ran)" "pre_start post_start post_stop pre_start post_start "
"$COSCTL" delete --force crash
anew
does post_stop '"'"$COSCTL"'" status "$COS_GUEST" >'"$D"'/status; touch '"$D"'/done'
ok "run --rm" "$COSCTL" run --rm --template busybox brief "hooks=$HOOKS" -- true
ok "post_stop ends" await test -e "$D/done"
like "it found the guest, which is deleted after it" "$(cat "$D/status")" '^state +stopping'
gone() {
	! "$COSCTL" list -o name | grep -qx "$1"
}
ok "and then is" await gone brief
anew
does pre_start 'exit 1'
fails "run whose pre_start fails" 125 'pre_start' "$COSCTL" run -d --template busybox brief "hooks=$HOOKS" -- true
ok "leaves no guest" gone brief

# --- a user's start while the policy's is planned ---
anew
create tired "hooks=$HOOKS" restart=on-failure -- false
"$COSCTL" start tired
planned() { # 100 ms, 200 ms and so on: the fifth is 1.6 s away
	[ "$(field tired restarts)" = 5 ] && state_is tired failed
}
ok "a guest that fails again and again waits for its restart" await planned
does pre_start 'sleep 5'
ok "which does not disturb a start" "$COSCTL" start tired
"$COSCTL" delete --force tired

# --- a start that is called off ---
anew
does pre_start 'sleep 1000'
"$COSCTL" start all 2>"$T/start.err" &
start=$!
ok "a start waits for pre_start" await has_run pre_start
ok "the daemon does not" "$COSCTL" list
fails "a second start is refused" 1 'starting' "$COSCTL" start all
ok "stop" "$COSCTL" stop all
wait $start
is "ends the start" "$?" 1
like "and tells it why" "$(cat "$T/start.err")" 'was stopped while it started'
is "behind post_stop" "$(ran)" "pre_start post_stop "
ok "the hook is gone" await is_gone "$(cat "$D/pid.pre_start")"
ok "the guest is as it was" state_is all defined
ok "no control group is left" no_groups
anew
does post_stop 'until [ -e '"$D"'/go ]; do sleep 0.05; done'
"$COSCTL" start all
"$COSCTL" kill all &
ok "post_stop takes long" await has_run post_stop
fails "a start meanwhile is refused" 1 'stopping' "$COSCTL" start all
fails "so is a delete" 1 'stopping' "$COSCTL" delete all
touch "$D/go"
ok "a stop waits for it" "$COSCTL" restart all
ok "and a restart goes on behind it" state_is all running
"$COSCTL" kill all

# --- the worker dies ---
worker() {
	cat "$T/run/cosd.pid"
}
other_worker() {
	[ -e "$T/run/cosd.pid" ] && [ "$(worker)" != "$1" ] && "$COSCTL" version >/dev/null 2>&1
}
kill_worker() {
	old=$(worker)
	kill -9 "$old"
	await other_worker "$old"
}
anew
does pre_start 'sleep 1000'
"$COSCTL" start all 2>/dev/null &
await has_run pre_start
ok "worker killed while pre_start runs" kill_worker
ok "the hook is gone" await is_gone "$(cat "$D/pid.pre_start")"
ok "the start is undone" state_is all defined
ok "nothing of it is left" no_groups
anew
ok "it can be started" "$COSCTL" start all
await "$COSCTL" exec all -- test -e /ready
anew
does pre_stop 'sleep 1000'
"$COSCTL" stop all 2>/dev/null &
await has_run pre_stop
ok "worker killed while pre_stop runs" kill_worker
ok "the hook is gone" await is_gone "$(cat "$D/pid.pre_stop")"
ok "the stop goes on" await state_is all defined
is "with the signal" "$(field all last_end)" "exit 5"
ok "and with post_stop" has_run post_stop
anew
"$COSCTL" start all
does post_stop 'until [ -e '"$D"'/go ]; do sleep 0.05; done'
"$COSCTL" kill all 2>/dev/null &
await has_run post_stop
mv "$D/log" "$D/log1"
ok "worker killed while post_stop runs" kill_worker
ok "it is run again" await has_run post_stop
ok "the guest is stopping until then" state_is all stopping
touch "$D/go"
ok "and then stopped" await state_is all defined
anew
"$COSCTL" start all
pid=$(field all pid)
kill -9 "$(cat "$T/run/keep.pid")" "$(worker)"
await sh -c "! \"$COSCTL\" version"
rm -f "$T/run/cosd.pid" "$T/run/keep.pid"
kill -9 "$pid"
anew
cos_start_daemon
ok "an end that nobody saw: post_stop runs" await has_run post_stop
ok "the guest has failed" await state_is all failed
anew
does pre_start 'sleep 1000'
"$COSCTL" start all 2>/dev/null &
await has_run pre_start
keeper=$(cat "$T/run/keep.pid")
kill -TERM "$keeper"
ok "the daemon is stopped while a hook runs" await test ! -e "$T/run/keep.pid"
ok "nothing of it is left" await is_gone "$(cat "$D/pid.pre_start")"
cos_start_daemon
ok "the guest is as it was" state_is all defined
plan_done
