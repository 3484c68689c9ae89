#!/bin/sh
# tests/func/unify.sh - guests' equal files become one while they run or not; what nobody needs, what is damaged
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
field() { # KEY: of the first object that has it in a JSON text
	grep -o "\"$1\": *[0-9]*" | head -n 1 | grep -o '[0-9]*$'
}
job() {
	pgrep -f "^cow-fs --state-dir $T/state .*unify" | head -n 1
}
job_files() { # NAME: of the job's control groups, in each hierarchy that has it
	ls -d "/sys/fs/cgroup/cos.$INSTANCE"/job.*"/$1" "/sys/fs/cgroup/"*"/cos.$INSTANCE"/job.*"/$1" 2>/dev/null
}
no_groups() {
	[ -z "$(job_files .)" ]
}
metric() {
	"$TOP_BUILDDIR/cosctl/cos-exporter" --print | sed -n "s/^cos_background_$1 //p"
}
size=300000
head -c $size /dev/urandom >"$T/data"

for g in a b s; do
	"$COSCTL" create --template busybox $g -- sleep 1000
	"$COSCTL" start $g
	"$COSCTL" cp "$T/data" $g:/data
	"$COSCTL" exec $g -- sh -c 'touch -d "2020-01-01 00:00:00" /data; echo mine >/small'
done
"$COSCTL" stop --timeout 0 s
"$COSCTL" exec b -- sh -c 'sleep 1000 <>/data & echo $! >/pid'
sleep 0.1
before=$(find "$T/state/cow/guests" "$T/state/cow/pool" -type f | xargs cat | sha256sum)

out=$("$COSCTL" unify --dry-run -o json a)
is "a dry run tells what would be" "$(echo "$out" | field swapped)" 1
is "and changes nothing" "$(find "$T/state/cow/guests" "$T/state/cow/pool" -type f | xargs cat | sha256sum)" "$before"
like "nor is it an event" "$("$COSCTL" events | grep -c unify)" '^0$'

out=$("$COSCTL" unify -o json a)
is "a guest that runs" "$(echo "$out" | field swapped)" 1
ok "of which the file's data goes" test "$(echo "$out" | field freed_bytes)" -ge $size
ok "it was frozen for that" test "$(echo "$out" | field frozen_usec)" -gt 0
is "it has the same file" "$("$COSCTL" exec a -- sha256sum /data | cut -d ' ' -f 1)" "$(sha256sum <"$T/data" | cut -d ' ' -f 1)"
like "an event tells of it" "$("$COSCTL" events)" 'unify +a .*files=1'
out=$("$COSCTL" unify -o json b s)
is "a file that is being written stays" "$(echo "$out" | field busy)" 1
is "one of a guest at rest is found in the pool" "$(echo "$out" | grep -o '"found": *1' | wc -l)" 1
"$COSCTL" exec b -- sh -c 'kill $(cat /pid)'
like "the table of all" "$("$COSCTL" unify --all)" '^b +1 +[0-9.]+K +0'
stub=$(stat -c '%b %s' "$T/state/cow/guests/a/up/data")
ok "takes no space for it" test "${stub% *}" -le 8 -a "${stub#* }" = $size
is "one object is stored" "$(find "$T/state/cow/pool/.c" -type f | wc -l)" 1
is "again there is nothing to do" "$("$COSCTL" unify -o json a | field swapped)" 0
"$COSCTL" exec a -- sh -c 'echo more >>/data'
is "a write is the guest's own" "$("$COSCTL" exec a -- sh -c 'wc -c </data')" $((size + 5))
is "and nobody else's" "$("$COSCTL" exec b -- sh -c 'wc -c </data')" $size
"$COSCTL" start s
is "the one at rest starts with it" "$("$COSCTL" exec s -- sha256sum /data | cut -d ' ' -f 1)" "$(sha256sum <"$T/data" | cut -d ' ' -f 1)"

fails "nobody" 4 'no guest named nobody' "$COSCTL" unify nobody
fails "no name" 2 'no name given' "$COSCTL" unify
fails "names beside --all" 2 'beside --all' "$COSCTL" unify --all a
"$COSCTL" freeze a
fails "a frozen guest" 1 'a is frozen' "$COSCTL" unify a
like "stays frozen" "$("$COSCTL" status a)" frozen
"$COSCTL" thaw a
mkdir "$T/rootfs" "$T/rootfs/bin"
"$COSCTL" create --rootfs "$T/rootfs" r -- /bin/sh
fails "a guest on a directory of the host" 1 'stands on a directory' "$COSCTL" unify r
ok "is left out of all" "$COSCTL" unify --all

# Whatever ends it, the guest runs on with whole files.
"$COSCTL" create --template busybox w -- sleep 1000
"$COSCTL" start w
"$COSCTL" exec w -- sh -c 'mkdir /d; i=0; while [ $i -lt 1500 ]; do i=$((i + 1)); head -c 20000 /dev/urandom >/d/$i; done
	touch -d "2020-01-01 00:00:00" /d/*; cd /d; sha256sum * >/sums'
sleep 0.1
whole() {
	timeout 60 "$COSCTL" exec w -- sh -c 'cd /d && sha256sum -c -s /sums'
}
"$COSCTL" unify w >"$T/unify.log" 2>&1 &
client=$!
await job
kill -STOP "$(job)"
ok "it has control groups of its own" test -n "$(job_files .)"
is "in all hierarchies that the daemon uses" "$(grep -c "/cos.$INSTANCE/job\." "/proc/$(job)/cgroup")" "$(job_files . | wc -l)"
like "which get a small share of CPUs" "$(job_files cpu.shares | xargs -r cat; job_files cpu.weight | xargs -r cat)" '^20[0-9]?$'
if [ -n "$(job_files '*bfq.weight')" ]; then
	like "and of disks" "$(job_files '*bfq.weight' | xargs cat)" '(^| )20$'
else
	skip "and of disks" "bfq"
fi
is "it is told" "$(metric jobs)" 1
used=$(metric cpu_seconds_total)
kill -CONT "$(job)"
fails "a freeze has to wait" 1 'w is being unified' "$COSCTL" freeze w
fails "and a clone" 1 'w is being unified' "$COSCTL" clone w x
kill -9 "$(job)"
wait "$client"
is "a job that is killed fails" "$?" 1
like "and says so" "$(cat "$T/unify.log")" 'cow-fs was killed'
ok "its groups go" await no_groups
is "it is not at work" "$(metric jobs)" 0
ok "what it used is not forgotten" awk "BEGIN { exit !($(metric cpu_seconds_total) >= $used && $used > 0) }"
ok "files are whole" whole
"$COSCTL" unify w >"$T/unify.log" 2>&1 &
client=$!
await job
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
wait "$client"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
is "the job ends with the worker" "$(job)" ""
ok "and its groups with both" await no_groups
like "the guest runs on" "$("$COSCTL" status w)" running
ok "with whole files" whole
"$COSCTL" unify w >"$T/unify.log" 2>&1 &
client=$!
await job
kill "$client"
await sh -c "! pgrep -f '^cow-fs --state-dir $T/state .*unify'"
ok "and with the client" whole
is "nothing of it is left to be seen" "$(ls -A "$T/state/cow/guests/w/up" | grep -c cos-sw)" 0
"$COSCTL" unify w >"$T/unify.log" 2>&1 &
client=$!
await job
"$COSCTL" stop --timeout 0 w
wait "$client"
"$COSCTL" unify w >"$T/unify2.log" 2>&1 &
client=$!
await job
ok "a start does not wait for it" "$COSCTL" start w
wait "$client"
ok "files are whole then" whole
ok "in the end all is done" "$COSCTL" unify w
ok "and whole" whole
is "once" "$(ls -A "$T/state/cow/guests/w/up" | grep -c cos-sw)" 0
ok "no groups are left" await no_groups

# What nobody needs, and what is damaged.
"$COSCTL" delete --force w
out=$("$COSCTL" gc -o json)
is "gc keeps what is young" "$(echo "$out" | field removed)" 0
ok "and counts it" test "$(echo "$out" | field young)" -ge 1500
ok "a dry run" test "$("$COSCTL" gc --grace 0 --dry-run -o json | field removed)" -ge 1500
ok "removes nothing" test "$(find "$T/state/cow/pool/.c" -type f | wc -l)" -ge 1500
like "without grace they go" "$("$COSCTL" gc --grace 0)" '^[0-9]{4} of [0-9]{4} stored files removed, .*M of '
is "but for what is needed" "$(find "$T/state/cow/pool/.c" -type f | wc -l)" 2
like "an event tells" "$("$COSCTL" events)" 'gc .*removed=1[0-9]{3}'
fails "a bad time" 2 'takes a time' "$COSCTL" gc --grace soon
fails "gc of somebody" 2 'takes no names' "$COSCTL" gc a
ok "all that is stored is whole" "$COSCTL" scrub
like "an event tells it, too" "$("$COSCTL" events)" 'scrub .*bad=0'
object=$(find "$T/state/cow/pool/.c" -type f -size ${size}c)
printf X | dd of="$object" bs=1 seek=5000 conv=notrunc 2>/dev/null
out=$("$COSCTL" scrub --dry-run)
is "damage is a status" "$?" 1
like "and told by its digest" "$out" "^$(sha256sum <"$T/data" | cut -d ' ' -f 1) damaged$"
like "and an event" "$("$COSCTL" events)" 'damage .*what="damaged"'
"$COSCTL" cp "$T/data" a:/copy
ok "a guest that has a copy" "$COSCTL" exec a -- sync
like "repairs it" "$("$COSCTL" scrub)" '1 damaged, 1 repaired, 0 put aside'
"$COSCTL" exec a -- rm /copy
printf X | dd of="$object" bs=1 seek=5000 conv=notrunc 2>/dev/null
like "without one it is put aside" "$("$COSCTL" scrub)" '1 damaged, 0 repaired, 1 put aside'
like "which is an event" "$("$COSCTL" events)" 'damage .*what="put-aside"'
ok "and never again" "$COSCTL" scrub
plan_done
