#!/bin/sh
# tests/func/health.sh - checks of guests' health: what they say, what they may cost, what is done about it
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
B=$T/b
mkdir "$B"

create() { # NAME HEALTH [KEY=VALUE...] [-- COMMAND...]
	name=$1
	check=$2
	shift 2
	"$COSCTL" create --template busybox --bind "$B:/b" "$name" "health=$check" "$@"
}
field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
health_is() {
	[ "$(field "$1" health)" = "$2" ]
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
events_of() { # GUEST EVENT
	"$COSCTL" events -o json | grep "\"guest\": *\"$1\"" | grep "\"event\": *\"$2\""
}
has_events() { # GUEST EVENT N
	[ "$(events_of "$1" "$2" | wc -l)" -ge "$3" ]
}
lines() { # FILE AT-LEAST
	[ "$(wc -l <"$1")" -ge "$2" ]
}

# --- what is refused ---
fails "health is an object" 2 '/health: ' create bad '[]'
fails "it needs a command" 2 '/health/command: missing' create bad '{"interval":1}'
fails "which is an array" 2 '/health/command: not an array' create bad '{"command":"true"}'
fails "of texts" 2 '/health/command: element 0' create bad '{"command":[1]}'
fails "an interval is at least a second" 2 '/health/interval' create bad '{"command":["true"],"interval":0}'
fails "a number of retries at least one" 2 '/health/retries' create bad '{"command":["true"],"retries":0}'
fails "an action is one of three" 2 'none, restart, kill' create bad '{"command":["true"],"action":"reboot"}'
fails "no other member is known" 2 '/health/nosuch' create bad '{"command":["true"],"nosuch":1}'

# --- states ---
"$COSCTL" create --template busybox plain -- sleep 1000
"$COSCTL" start plain
is "without a check there is no state" "$(field plain health)" ""
is "nor a column" "$("$COSCTL" list | grep -c HEALTH)" 0
touch "$B/good"
create h '{"command":["sh","-c","echo x >>/b/n; [ -e /b/good ]"],"interval":1,"retries":2}' -- sleep 1000
"$COSCTL" start h
like "it is starting at first" "$(field h health)" '^(starting|healthy)$'
ok "and healthy when a check has succeeded" await health_is h healthy
like "list has a column now" "$("$COSCTL" list | head -1)" 'STARTED +HEALTH +REASON$'
like "and a filter" "$("$COSCTL" list -o name --filter health=healthy)" '^h$'
rm "$B/good"
ok "it becomes unhealthy" await health_is h unhealthy
like "which is an event with the reason" "$(events_of h health | tail -1)" '"healthy".*"unhealthy".*"exit 1"'
ok "the guest runs on" state_is h running
touch "$B/good"
ok "and becomes healthy again" await health_is h healthy
is "these were the changes" "$(events_of h health | grep -o '"to": *"[a-z]*"' | tr -d ' "' | tr '\n' ' ')" \
	"to:healthy to:unhealthy to:healthy "
"$COSCTL" freeze h
n=$(wc -l <"$B/n")
rm "$B/good"
# Other guests' checks are the clock here: while they go on, the frozen guest is asked nothing.
create clock '{"command":["sh","-c","echo x >>/b/clock"],"interval":1}' -- sleep 1000
"$COSCTL" start clock
ok "others are checked" await lines "$B/clock" 3
is "one that is frozen is not" "$(wc -l <"$B/n")" "$n"
is "and stays what it was" "$(field h health)" healthy
touch "$B/good"
"$COSCTL" thaw h
more() {
	[ "$(wc -l <"$B/n")" -gt "$n" ]
}
ok "thawed it is checked again" await more
"$COSCTL" stop --timeout 0 clock

# --- set, and a new worker ---
worker() {
	cat "$T/run/cosd.pid"
}
other_worker() {
	[ -e "$T/run/cosd.pid" ] && [ "$(worker)" != "$1" ] && "$COSCTL" version >/dev/null 2>&1
}
old=$(worker)
kill -9 "$old"
await other_worker "$old"
is "a new worker knows its health" "$(field h health)" healthy
n=$(wc -l <"$B/n")
ok "and goes on with the checks" await more
rm "$B/good"
ok "which fail" await health_is h unhealthy
old=$(worker)
kill -9 "$old"
await other_worker "$old"
is "that is known to the next one, too" "$(field h health)" unhealthy
ok "set takes another check at once" "$COSCTL" set h 'health={"command":["true"]}'
ok "which succeeds" await health_is h healthy
ok "an empty array takes it away" "$COSCTL" set h 'health={"command":[]}'
is "then there is no state" "$(field h health)" ""
"$COSCTL" stop --timeout 0 h

# --- checks that do not do what they should ---
create none '{"command":["/nosuch"],"interval":1,"retries":1}' -- sleep 1000
"$COSCTL" start none
ok "a command that is not there" await health_is none unhealthy
like "is told" "$(events_of none health)" 'execve|/nosuch'
create slow '{"command":["sh","-c","echo $$ >/b/slow; sleep 1000 & sleep 1001"],"interval":1,"timeout":1,"retries":1}' -- sleep 1000
"$COSCTL" start slow
ok "a command that hangs" await health_is slow unhealthy
like "is told" "$(events_of slow health)" 'no answer for 1 s'
"$COSCTL" set slow 'health={"command":[]}'
left() {
	"$COSCTL" exec slow -- ps | grep -c '[s]leep 100[01]$'
}
only_its_own() {
	[ "$(left)" = "$1" ]
}
ok "it is killed with its children" await only_its_own 2 # the guest's command and cos-init, which runs it
create loud '{"command":["sh","-c","yes; true"],"interval":1,"timeout":1,"retries":1}' -- sleep 1000
"$COSCTL" start loud
ok "a command that prints without end" await health_is loud unhealthy
create chatty '{"command":["sh","-c","echo much; echo more >&2; cat; exit 0"],"interval":1}' -- sleep 1000
"$COSCTL" start chatty
ok "one that prints a little and reads is well" await health_is chatty healthy
create fat '{"command":["sh","-c","x=xxxxxxxx; while :; do x=$x$x; done"],"interval":1,"timeout":9,"retries":1}' \
	memory.max=16M -- sleep 1000
"$COSCTL" start fat
ok "one that eats the guest's memory is the guest's own trouble" await health_is fat unhealthy
ok "the guest runs on" state_is fat running
"$COSCTL" delete --force none slow loud chatty fat

# --- the time of the start ---
create late '{"command":["test","-e","/b/up"],"interval":1,"retries":1,"start_period":600}' -- sleep 1000
"$COSCTL" start late
create clock2 '{"command":["sh","-c","echo x >>/b/clock2"],"interval":1}' -- sleep 1000
"$COSCTL" start clock2
ok "within start_period failures do not count" await lines "$B/clock2" 4
is "it is starting still" "$(field late health)" starting
touch "$B/up"
ok "until a check succeeds" await health_is late healthy
rm "$B/up"
ok "from then on they do" await health_is late unhealthy
"$COSCTL" delete --force late clock2

# --- what is done about it ---
sick='"command":["test","-e","/b/fine"],"interval":1,"retries":1'
create kill0 "{$sick,\"action\":\"kill\"}" -- sleep 1000
"$COSCTL" start kill0
ok "action kill: the guest fails" await state_is kill0 failed
is "it was killed" "$(field kill0 last_end)" "signal 9"
like "for its health" "$(field kill0 reason)" '^unhealthy: exit 1$'
create kill1 "{$sick,\"action\":\"kill\"}" restart=on-failure -- sleep 1000
"$COSCTL" start kill1
ok "the key restart counts that as a failure" await has_events kill1 restart 2
"$COSCTL" delete --force kill1
create again "{$sick,\"action\":\"restart\"}" -- sh -c 'trap "exit 0" TERM; echo start >>/b/starts; while :; do sleep 0.1; done'
"$COSCTL" start again
ok "action restart: it is started again, whatever the key says" await lines "$B/starts" 3
is "after a stop as asked for, not a kill" "$(events_of again kill | wc -l)" 0
touch "$B/fine"
ok "until it is healthy" await health_is again healthy
like "the attempts are counted" "$(events_of again restart | tail -1)" '"attempt": *[2-9]'
"$COSCTL" delete --force again
rm "$B/fine"
create wish "{$sick,\"action\":\"restart\"}" stop_timeout=60 -- sh -c 'trap "" TERM; while :; do sleep 0.1; done'
"$COSCTL" start wish
ok "one that does not end when it is to be started again" await has_events wish stop 1
ok "can be stopped by a user" "$COSCTL" stop --timeout 0 wish
is "who has the last word" "$(field wish state)" defined
is "and no reason to complain" "$(field wish reason)" ""
"$COSCTL" start wish
await has_events wish stop 2
old=$(worker)
kill -9 "$old"
await other_worker "$old"
kill -9 "$(field wish pid)"
ok "a new worker knows that it was to be started again" await has_events wish restart 1
"$COSCTL" delete --force wish
plan_done
