#!/bin/sh
# tests/func/clone.sh - guests that are made of others, running and stopped; what there is only one of
. "$(dirname "$0")/lib.sh"
COSD_ARGS="--net-pool 10.67.0.0/24 --uplink none"
cos_setup
cos_template
run() { # GUEST COMMAND: in it, started if need be
	"$COSCTL" status "$1" >/dev/null 2>&1 || "$COSCTL" start "$1"
	"$COSCTL" exec "$1" -- sh -c "$2"
}
leftovers() { # what nobody's specification names
	ls "$T/state/cow/tmp" "$T/state/cow/guests" "$T/state/guests" | grep -E '^(g-|x)'
}
# What is to be killed must not be over: the file system cannot be so fast.
fill() { # GUEST MEGABYTES
	run "$1" "dd if=/dev/urandom of=/big bs=1M count=$2 2>/dev/null"
}

"$COSCTL" create --template busybox --hostname web.example s net.address='["10.67.0.77"]' \
	net.forward='[{"proto": "tcp", "host": 18087, "guest": 80}]' memory.max=64M -- sleep 1000
run s 'mkdir -p /etc/ssh; echo 0123 >/etc/machine-id; echo key >/etc/ssh/ssh_host_rsa_key;
	echo one >/note; ln -s nowhere /link; rm -rf /etc/motd; sync'

ok "a clone of a guest that runs" "$COSCTL" clone s live
is "has its files" "$(run live 'cat /note; readlink /link')" "one
nowhere"
is "an empty machine-id" "$(run live 'wc -c </etc/machine-id')" 0
fails "no ssh host keys" 1 '' "$COSCTL" exec live -- ls /etc/ssh/ssh_host_rsa_key
is "its name for a host name" "$(run live hostname)" live
is "and the limits" "$("$COSCTL" get live memory.max)" "$("$COSCTL" get s memory.max)"
is "the other one has kept its identity" "$(run s 'cat /etc/machine-id /etc/ssh/ssh_host_rsa_key')" "0123
key"
like "and its address" "$("$COSCTL" show s)" '10\.67\.0\.77'
fails "which the clone has not" 1 '' sh -c "'$COSCTL' show live | grep -F 10.67.0.77"
fails "nor the uuid" 1 '' sh -c "'$COSCTL' show live | grep -F \"\$('$COSCTL' show s | grep '\"uuid\"')\""
like "the event tells of whom" "$("$COSCTL" events)" 'clone +live +from="s"'
run live 'echo two >/note'
is "each goes its own way" "$(run s 'cat /note')" one

said=$("$COSCTL" clone s said 2>&1)
for key in hostname net.address net.forward; do
	like "$key is said not to be taken over" "$said" "said: $key=.* is not taken over"
done

"$COSCTL" stop --timeout 0 s
ok "clones of a stopped one, by a range" "$COSCTL" clone s 'c{1..3}'
is "are there" "$("$COSCTL" list -q | grep -c '^c[123]$')" 3
is "with its files" "$(run c2 'cat /note; wc -c </etc/machine-id')" "one
0"
is "and an identity of their own" "$(run c3 'ls /etc/ssh | wc -l')" 0
ok "a clone of a clone" "$COSCTL" clone c1 d
"$COSCTL" delete s c1
is "is not harmed when those go" "$(run d 'cat /note')" one

fails "no source" 4 'no guest named nobody' "$COSCTL" clone nobody x
fails "the name is taken" 5 'guest named c2 already' "$COSCTL" clone d c2
fails "by itself" 5 'guest named d already' "$COSCTL" clone d d
for name in ../x A '' 'a/b' -x; do
	fails "a clone named '$name'" 2 '' "$COSCTL" clone d -- "$name"
done
fails "nothing to be made" 2 'names of new ones' "$COSCTL" clone d
mkdir "$T/rootfs" "$T/rootfs/bin"
"$COSCTL" create --rootfs "$T/rootfs" r -- /bin/sh
fails "of one on a directory of the host" 1 'stands on a directory' "$COSCTL" clone r x
"$COSCTL" freeze d
fails "of a frozen one" 1 'd is frozen' "$COSCTL" clone d x
like "which stays frozen" "$("$COSCTL" status d)" 'frozen'
"$COSCTL" thaw d
is "one that fails does not stop the others" "$("$COSCTL" clone d c2 e 2>&1 >/dev/null | grep -c already)" 1
ok "which are made" "$COSCTL" show e
is "nothing is left of what failed" "$(leftovers)" ""

# Killed on the way: the job, the client, the worker.
"$COSCTL" create --template busybox big -- sleep 1000
fill big 200
pid_of_job() {
	pgrep -f "^cow-fs --state-dir $T/state .*clone" | head -n 1
}
"$COSCTL" clone big x >"$T/clone.log" 2>&1 &
client=$!
await pid_of_job
kill -9 "$(pid_of_job)"
wait "$client"
is "a job that is killed fails" "$?" 1
like "and says so" "$(cat "$T/clone.log")" 'cow-fs was killed'
await sh -c "! ls '$T/state/cow/tmp' | grep -q ."
is "it leaves nothing" "$(leftovers)" ""
like "the guest runs" "$("$COSCTL" status big)" running
is "and answers" "$(timeout 5 "$COSCTL" exec big -- echo yes)" yes

"$COSCTL" clone big x >"$T/clone.log" 2>&1 &
client=$!
await pid_of_job
fails "meanwhile the name is taken" 5 'x is being made' "$COSCTL" create --template busybox x -- true
fails "another clone of it has to wait" 1 'big is being cloned' "$COSCTL" clone big y
fails "a freeze as well" 1 'big is being cloned' "$COSCTL" freeze big
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
wait "$client"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
is "nothing is left when the worker is killed" "$(leftovers | grep -v '^g-')" ""
await sh -c "! ls '$T/state/cow/tmp' | grep -q ."
is "nor what was half made" "$(leftovers)" ""
like "the guest runs on" "$("$COSCTL" status big)" running
is "and is not frozen" "$(timeout 5 "$COSCTL" exec big -- echo yes)" yes
ok "then it can be cloned" "$COSCTL" clone big x
is "with all it has" "$(run x 'wc -c </big')" 209715200
worker=$(cat "$T/run/cosd.pid")
"$COSCTL" stop --timeout 0 big
"$COSCTL" clone big z &
client=$!
kill -9 "$worker"
wait "$client"
st=$?
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
is "with a stopped one it is all or nothing, too" "$(test -e "$T/state/guests/z.json" && echo yes || echo no)" \
	"$(test -e "$T/state/cow/guests/z" && echo yes || echo no)"
ok "and whoever was told has it" test "$st" != 0 -o -e "$T/state/guests/z.json"
ok "the one it was made of starts" "$COSCTL" start big
"$COSCTL" stop --timeout 0 big
"$COSCTL" clone big w >"$T/clone.log" 2>&1 &
client=$!
ok "also while it is being cloned" timeout 30 "$COSCTL" start big
wait "$client"
if [ $? = 0 ]; then
	is "and the clone is whole" "$(run w 'wc -c </big')" 209715200
else
	like "or the start came first" "$(cat "$T/clone.log")" 'big is starting'
fi
plan_done
