#!/bin/sh
# tests/func/lifecycle.sh - a guest from create to delete, as a user does it
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template

out=$("$COSCTL" run --rm --template busybox t1 -- sh -c 'id; hostname; cat /proc/self/uid_map; exit 37')
is "run exits with the guest's status" "$?" 37
like "root inside" "$out" '^uid=0\(root\) gid=0\(root\)'
like "its own name" "$out" '^t1$'
like "64 Ki ids of its own" "$out" '^ +0 +[0-9]{6,} +65536$'
is "run --rm leaves no guest" "$("$COSCTL" list -o name)" ""

ok "create" "$COSCTL" create --template busybox g1 -- sleep 1000
is "defined" "$("$COSCTL" list --no-headers | awk '{print $2}')" defined
fails "a second one of that name" 5 "there is a guest named g1" "$COSCTL" create --template busybox g1
fails "exec needs a running guest" 125 "g1 is defined" "$COSCTL" exec g1 -- true
fails "stop needs one too" 3 "which is defined" "$COSCTL" stop g1
ok "start" "$COSCTL" start g1
ok "status of a running guest" "$COSCTL" status g1
is "exec" "$("$COSCTL" exec g1 -- echo hello)" hello
is "exec passes standard input" "$(echo through | "$COSCTL" exec g1 -- cat)" through
adj=$(cat /proc/self/oom_score_adj)
adj=$((adj < 0 ? 200 : adj > 800 ? 1000 : adj + 200))
is "the kernel prefers guests when memory runs out" "$(cat "/proc/$("$COSCTL" status g1 | awk '$1 == "pid" { print $2 }')/oom_score_adj")" "$adj"
is "what they make" "$("$COSCTL" run --rm --template busybox t2 -- sh -c '(cat /proc/self/oom_score_adj)')" "$adj"
is "and what is run in them" "$("$COSCTL" exec g1 -- cat /proc/self/oom_score_adj)" "$adj"
is "a -- of the command is its own" "$("$COSCTL" exec g1 echo a -- b -- c) $("$COSCTL" exec g1 -- echo -- x)" "a -- b -- c -- x"
fails "exec without a command" 125 'a name and a command' "$COSCTL" exec g1 --
fails "exec whose output is lost does not succeed" 125 'cannot be written: No space' \
	sh -c "'$COSCTL' exec g1 -- echo hello >/dev/full"
fails "and tells a status other than 0" 3 'cannot be written' sh -c "'$COSCTL' exec g1 -- sh -c 'echo hello; exit 3' >/dev/full"
is "a reader that has seen enough is no failure" "$("$COSCTL" exec g1 -- sh -c 'yes | head -n 100000' 2>&1 | head -n 1)" y
fails "help whose output is lost fails too" 1 'write: No space' sh -c "'$COSCTL' --help >/dev/full"
"$COSCTL" exec g1 -- sh -c 'echo hello >/dev/console'
await sh -c "'$COSCTL' logs g1 | grep -q hello"
fails "and logs" 1 'write: No space' sh -c "'$COSCTL' logs g1 >/dev/full"
"$COSCTL" exec g1 -- sh -c 'exit 9'
is "exec exits with the command's status" "$?" 9
fails "a command that is not there" 127 "nosuch" "$COSCTL" exec g1 -- nosuch
fails "a file that is no program" 126 "/etc/passwd" "$COSCTL" exec g1 -- /etc/passwd
ok "freeze" "$COSCTL" freeze g1
is "frozen" "$("$COSCTL" list --no-headers | awk '{print $2}')" frozen
fails "exec in a frozen guest" 125 "is frozen" "$COSCTL" exec g1 -- true
ok "thaw" "$COSCTL" thaw g1
# Its processes stop when they have CPU time, of which there is little.
"$COSCTL" create --template busybox busy cpu.rate=10% -- sh -c 'for i in 1 2 3 4; do yes >/dev/null & done; wait'
"$COSCTL" start busy
frozen=0
for _ in 1 2 3 4 5 6 7 8 9 10; do
	"$COSCTL" freeze busy && "$COSCTL" thaw busy && frozen=$((frozen + 1))
	sleep 0.03
done
is "a guest that its cpu.rate holds back can be frozen" "$frozen" 10
slot=$("$COSCTL" show busy | sed -n 's/.*"slot": \([0-9]*\).*/\1/p')
"$COSCTL" freeze busy
is "and has stopped when that is answered" "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/$slot/*" \
	\( -name cgroup.events -o -name freezer.state \) -exec grep -l 'frozen 1\|FROZEN' {} + | grep -q . && echo yes)" yes
ok "and be stopped then" "$COSCTL" delete --force busy
ok "restart" "$COSCTL" restart --timeout 1 g1
ok "stop" "$COSCTL" stop --timeout 1 g1
fails "delete of what is not there" 4 "no guest named g9" "$COSCTL" delete g9
ok "delete" "$COSCTL" delete g1
is "nothing is left in the list" "$("$COSCTL" list -o name)" ""
is "no control group is left" "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/*" -type d)" ""
is "no root is left" "$(ls "$T/state/cow/guests")" ""

ok "a range of guests" "$COSCTL" create --template busybox 'w{01..10}' -- sleep 1000
ok "started together" "$COSCTL" start 'w{01..10}'
is "ten run" "$("$COSCTL" list -o name --filter state=running | wc -l)" 10
ok "all deleted" "$COSCTL" delete --force --all
is "none left" "$("$COSCTL" list -o name)" ""

# Commands that are on their way in must not keep a guest from ending.
missed=0
for _ in 1 2 3 4 5 6 7 8 9 10; do
	"$COSCTL" create --template busybox k -- sleep 1000
	"$COSCTL" start k
	"$COSCTL" exec k -- true >"$T/exec1" 2>&1 &
	first=$!
	"$COSCTL" exec k -- sleep 50 >"$T/exec2" 2>&1 &
	second=$!
	"$COSCTL" freeze k 2>"$T/freeze" # or not: it takes what is on its way in along
	timeout 5 "$COSCTL" delete --force k 2>"$T/delete" || missed=$((missed + 1))
	wait $first $second
done
is "guests that are killed while commands start in them end" "$missed" 0
plan_done
