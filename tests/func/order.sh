#!/bin/sh
# tests/func/order.sh - guests that need others, priorities, autostart, and how long a client waits
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
B=$T/b
mkdir "$B"

create() { # NAME KEY=VALUE... [-- COMMAND...]
	"$COSCTL" create --template busybox --bind "$B:/b" "$@"
}
sleeper() { # NAME KEY=VALUE...
	create "$@" -- sleep 1000
}
field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
state_is() {
	[ "$(field "$1" state)" = "$2" ]
}
health_is() {
	[ "$(field "$1" health)" = "$2" ]
}
running() {
	"$COSCTL" list -o name --filter state=running | tr '\n' ' '
}
mark() { # events from here on
	since=$("$COSCTL" events -o json | tail -1 | sed 's/.*"seq": *\([0-9]*\).*/\1/')
}
said() { # EVENT: of whom it was said since mark, in order
	"$COSCTL" events -o json --since "$((since + 1))" | grep "\"event\": *\"$1\"" | sed 's/.*"guest": *"\([^"]*\)".*/\1/' |
		tr '\n' ' '
}
no_groups() {
	[ -z "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/*" -type d)" ]
}
check='"command":["test","-e","/b/good"],"interval":1'

# --- what is refused ---
fails "requires is an array" 2 'requires: not an array' sleeper bad requires='"db"'
fails "of names" 2 'requires: "Not" is not the name' sleeper bad requires='["Not"]'
fails "each once" 2 'requires: "db" comes twice' sleeper bad requires='["db","db"]'
fails "no more than 32" 2 'more than 32' sleeper bad "requires=[$(seq -s, -f '"g%.0f"' 33)]"
fails "none requires itself" 2 'bad requires bad$' sleeper bad requires='["bad"]'
fails "a priority is a number" 2 'priority' sleeper bad priority=65536
ok "one that is not there yet may be named" sleeper c1 requires='["c2"]'
ok "and made later" sleeper c2 requires='["c3"]'
fails "but not so that it leads back" 2 '/requires: c3 requires c1 requires c2 requires c3$' sleeper c3 requires='["c1"]'
sleeper c3
fails "nor be set so" 2 '/requires: c3 requires c1 requires c2 requires c3$' "$COSCTL" set c3 requires='["c1"]'
"$COSCTL" delete c3
mark
fails "a start without it fails" 4 'c2 requires c3, and there is no such guest' "$COSCTL" start c1
is "and starts nothing" "$(said start)$(field c1 state) $(field c2 state)" "defined defined"
"$COSCTL" delete c1 c2

# --- starting what is required ---
sleeper db
sleeper cache
sleeper app requires='["db","cache"]'
sleeper web requires='["app","db"]'
mark
ok "start" "$COSCTL" start web
is "all run" "$(running)" "app cache db web "
like "in this order" "$(said start)" '^(db cache|cache db) app web $'
"$COSCTL" stop --timeout 0 db
is "a stop leaves the others alone" "$(running)" "app cache web "
"$COSCTL" stop --timeout 0 --all
ok "run starts it, too" sh -c "[ \"\$('$COSCTL' run --rm --template busybox once 'requires=[\"db\"]' -- echo hi)\" = hi ]"
ok "it runs on" state_is db running
"$COSCTL" stop --timeout 0 db
create broken -- /nosuch
sleeper needs requires='["db","broken"]'
fails "a requirement that fails fails the start" 1 'needs requires broken, which failed: .*nosuch' "$COSCTL" start needs
ok "the guest has failed" state_is needs failed
ok "the other requirement runs" state_is db running
"$COSCTL" freeze db
"$COSCTL" set broken 'command=["sleep","1000"]'
fails "so does one that is frozen" 1 'needs requires db, which is frozen' "$COSCTL" start needs
"$COSCTL" thaw db
ok "and then not" "$COSCTL" start needs
"$COSCTL" delete --force --all

# --- until it is healthy ---
sleeper db "health={$check,\"retries\":1000}"
sleeper app requires='["db"]'
"$COSCTL" start app 2>"$T/app.err" &
start=$!
ok "the required guest runs" await state_is db running
is "the other one waits" "$(field app state)" starting
ok "the daemon does not" "$COSCTL" list
is "it holds nothing" "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/*" ! -path "*/cos.$INSTANCE/*/*" -type d -printf '%f\n' | sort -u | wc -l)" 1
fails "a second start is refused" 1 'starting' "$COSCTL" start app
ok "it can be changed meanwhile" "$COSCTL" set app requires='[]'
touch "$B/good"
wait $start
is "it is started when the other one is healthy" "$?" 0
ok "and runs" state_is app running
"$COSCTL" stop --timeout 0 --all
rm "$B/good"
"$COSCTL" set app requires='["db"]'
"$COSCTL" start app 2>"$T/app.err" &
start=$!
await state_is db running
"$COSCTL" stop app
wait $start
is "a stop calls the wait off" "$?" 1
like "and tells" "$(cat "$T/app.err")" 'was stopped while it started'
ok "the guest is as it was" state_is app defined
"$COSCTL" start app 2>"$T/app.err" &
start=$!
await state_is app starting
"$COSCTL" delete --force db
wait $start
is "one that is deleted meanwhile fails the start" "$?" 1
like "and is named" "$(cat "$T/app.err")" 'app requires db, which (has ended|was deleted)'
sleeper db "health={$check,\"retries\":1}"
fails "so does one that is unhealthy" 1 'app requires db, which is unhealthy' "$COSCTL" start app
touch "$B/good"
ok "it becomes healthy" await health_is db healthy
ok "and the start succeeds" "$COSCTL" start app
"$COSCTL" stop --timeout 0 --all
rm "$B/good"
"$COSCTL" set db health='{"retries":100}'
"$COSCTL" start app 2>/dev/null &
await state_is db running
old=$(cat "$T/run/cosd.pid")
kill -9 "$old"
other_worker() {
	[ -e "$T/run/cosd.pid" ] && [ "$(cat "$T/run/cosd.pid")" != "$old" ] && "$COSCTL" version
}
ok "worker killed while a guest waits" await other_worker
is "it is not started" "$(field app state)" defined
is "the other one runs on" "$(field db state)" running
touch "$B/good"
ok "and can be started" "$COSCTL" start app
"$COSCTL" delete --force --all

# --- a long chain ---
i=1
sleeper l001
while [ $i -lt 100 ]; do
	sleeper "$(printf 'l%03d' $((i + 1)))" "requires=[\"$(printf 'l%03d' $i)\"]"
	i=$((i + 1))
done
fails "a hundred that lead back" 2 '/requires: l001 requires l100' "$COSCTL" set l001 requires='["l100"]'
mark
ok "a chain of a hundred is started by its end" "$COSCTL" start l100
is "in order" "$(said start)" "$(printf 'l%03d ' $(seq 100))"
mark
ok "and stopped" "$COSCTL" stop --all --timeout 5
is "the other way" "$(said stop)" "$(printf 'l%03d ' $(seq 100 -1 1))"
"$COSCTL" delete --all

# --- priorities and autostart ---
for p in 5 0 9; do
	sleeper "a$p" autostart=true priority=$p
	sleeper "b$p" autostart=true priority=$p
done
sleeper off priority=9
sleeper needed
"$COSCTL" set a9 requires='["needed"]'
create bust autostart=true priority=7 -- /nosuch
mark
fails "autostart: one fails" 127 'start bust: ' "$COSCTL" start --autostart --parallel 1
is "the others are started, by priority" "$(said start)" "needed a9 b9 a5 b5 a0 b0 "
ok "what has no autostart is not" state_is off defined
ok "one that runs is none of it" sh -c "'$COSCTL' start --autostart 2>&1 | grep -c why: | grep -qx 1"
mark
ok "stop --all" "$COSCTL" stop --all --parallel 1 --timeout 5
is "the other way, what is required last" "$(said stop)" "a0 b0 a5 b5 a9 b9 needed "
"$COSCTL" set needed autostart=true priority=0
"$COSCTL" set bust autostart=false
mark
ok "one that was started for another is no error" "$COSCTL" start --autostart
"$COSCTL" set needed autostart=false
"$COSCTL" stop --all --timeout 5
ok "start --all takes every one" sh -c "'$COSCTL' start --all 2>/dev/null; [ \$('$COSCTL' list -o name --filter state=running | wc -l) = 8 ]"
fails "no names beside it" 2 'names beside --autostart' "$COSCTL" start --autostart a5
"$COSCTL" delete --force --all
rm "$B/good"

# --- how long a client waits ---
sleeper plain
ok "start --wait of a guest without a check" "$COSCTL" start --wait plain
sleeper w "health={$check,\"retries\":1000}"
fails "start --wait=1 of one that is not healthy yet" 8 'w is running, health: starting' "$COSCTL" start --wait=1 w
ok "the guest runs" state_is w running
"$COSCTL" stop --timeout 0 w
"$COSCTL" start --wait w 2>"$T/w.err" &
start=$!
await state_is w running
touch "$B/good"
wait $start
is "start --wait has its answer" "$?" 0
ok "when it is healthy" health_is w healthy
"$COSCTL" stop --timeout 0 w
rm "$B/good"
"$COSCTL" start --wait w 2>"$T/w.err" &
start=$!
await state_is w running
"$COSCTL" kill w
wait $start
is "one that is killed before" "$?" 1
like "is told" "$(cat "$T/w.err")" 'before it was healthy'
"$COSCTL" set w 'health={"retries":1}'
fails "so is one that becomes unhealthy" 1 'w runs and is unhealthy' "$COSCTL" start --wait w
create slow requires='["plain"]' -- sh -c 'trap "while [ ! -e /b/end ]; do sleep 0.1; done; exit 3" TERM; echo >/ready; while :; do sleep 0.1; done'
"$COSCTL" start slow
await "$COSCTL" exec slow -- test -e /ready
fails "stop --wait=1 of one that takes longer" 8 'slow is stopping' "$COSCTL" stop --wait=1 --timeout 60 slow
touch "$B/end"
ok "the stop goes on" await state_is slow defined
is "to its own end" "$(field slow last_end)" "exit 3"
fails "a time is whole seconds" 2 'whole seconds' "$COSCTL" start --wait=0.5 plain
plan_done
