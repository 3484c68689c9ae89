#!/bin/sh
# tests/func/ledger.sh - what guests used: counted once whatever is killed, proven, billed; a full disk, damage
. "$(dirname "$0")/lib.sh"
for tool in pgrep setpriv unshare nsenter; do
	command -v $tool >/dev/null || { echo "1..0 # SKIP needs $tool"; exit 0; }
done
conf=$(mktemp "${TMPDIR:-/tmp}/cos-conf.XXXXXX")
echo '{"ledger.interval": 1}' >"$conf"
COSD_ARGS="--config $conf"
export COSD_ARGS
cos_setup
trap 'umount_ledger; cos_teardown; rm -f "$conf"; exit 1' EXIT INT TERM
cos_template

field() { # GUEST FIELD: a sum of the ledger
	"$COSCTL" usage -o json "$1" | sed -n "s/^ *\"$2\": \"\\{0,1\\}\\([^\",]*\\).*/\\1/p"
}
cpu() { # GUEST: microseconds of CPU time in the ledger
	echo $(($(field "$1" cpu_user_usec) + $(field "$1" cpu_system_usec)))
}
kernel_cpu() { # GUEST: as the kernel counts it
	"$COSCTL" stats -o json "$1" | sed -n 's/^ *"cpu_usec": \([0-9]*\).*/\1/p'
}
has_usage() { # GUEST
	[ "$(field "$1" seen_usec)" -gt 0 ]
}
event() {
	"$COSCTL" events | grep -q "$1"
}
accountant() {
	pgrep -P "$(cat "$T/run/cosd.pid")" -f -- '--accountant'
}
another_accountant() { # OLD
	pid=$(accountant) && [ "$pid" != "$1" ]
}
kill_accountant() {
	old=$(accountant)
	kill -KILL "$old"
	await another_accountant "$old"
}
kill_worker() {
	old=$(cat "$T/run/cosd.pid")
	kill -KILL "$old"
	await another_worker "$old"
}
another_worker() { # OLD
	[ "$(cat "$T/run/cosd.pid")" != "$1" ] && "$COSCTL" version
}
umount_ledger() {
	[ -z "${small:-}" ] || umount -l "$small" 2>/dev/null
	small=
}
uuid_of() {
	"$COSCTL" show "$1" | sed -n 's/^ *"uuid": "\(.*\)".*/\1/p'
}

# --- what it is known by ---
"$COSCTL" create --template busybox g cpu.rate=max -- sh -c 'while [ ! -e /enough ]; do :; done; sleep 1000'
first=$(uuid_of g)
like "a guest has a uuid" "$first" '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$'
fails "it cannot be changed" 2 'fixed when a guest is created' "$COSCTL" set g uuid=01234567-89ab-4def-8123-456789abcdef
fails "another guest cannot have it" 5 'the uuid is that of g' "$COSCTL" create --template busybox h "uuid=$first" -- true
fails "what is none is refused" 2 'not a UUID' "$COSCTL" create --template busybox h uuid=01234567-89AB-4def-8123-456789abcdef -- true

# --- killed at any time ---
"$COSCTL" start g
ok "its use is in the ledger" await has_usage g
for round in 1 2 3 4; do
	kill_worker
	kill_accountant
	sleep "0.$round"
done
keeper=$(cat "$T/run/keep.pid")
kill -KILL "$keeper"
await "$COSCTL" version
kill_worker
"$COSCTL" exec g -- touch /enough
sleep 0.5 # exec's own use
counted=$(kernel_cpu g)
ok "stop" "$COSCTL" stop --timeout 0 g
has_exit() {
	[ "$(field g exits)" = 1 ]
}
ok "its end is in the ledger" await has_exit
ledger=$(cpu g)
ok "nothing is lost, nothing is twice ($ledger of $counted us)" test "$((ledger - counted))" -ge -20000 -a "$((ledger - counted))" -le 200000
seen=$(field g seen_usec) gap=$(field g gap_usec) span=$(field g span_usec)
ok "what was not seen is a gap" test "$((span - seen - gap))" -ge -200000 -a "$((span - seen - gap))" -le 1000000
ok "the chain is good" "$COSCTL" usage --verify g
like "with its head" "$("$COSCTL" usage --verify g)" "^g +$first +[0-9]+ +good +[0-9a-f]{64}$"

# --- another run, another guest ---
"$COSCTL" start g
has_more() {
	[ "$(cpu g)" -gt "$ledger" ]
}
ok "a second run adds to the first" await has_more
"$COSCTL" delete --force g
"$COSCTL" run --rm --template busybox g -- sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done'
two_rows() {
	[ "$("$COSCTL" usage --no-headers g | wc -l)" = 2 ]
}
ok "a new guest of the name is another one" await two_rows
is "each has a uuid" "$("$COSCTL" usage -o csv --no-headers g | cut -d, -f2 | sort -u | wc -l)" 2
is "one is found by its uuid" "$("$COSCTL" usage -o csv --no-headers "$first" | cut -d, -f1,2)" "g,$first"
like "a short run is whole" "$("$COSCTL" usage -o csv g | awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $2 != "'"$first"'" && NR > 1 { print $c["exits"], ($c["cpu_user_usec"] > 0), $c["gap_s"] }')" '^1 1 0.00$'

# --- asking ---
fails "of whom the ledger knows nothing" 4 'has nothing of nosuch' "$COSCTL" usage nosuch
fails "no time" 2 'take a time ago' "$COSCTL" usage --since yesterday
fails "no day" 2 'take a time ago' "$COSCTL" usage --since 2026-02-30
fails "times the wrong way round" 2 'is after' "$COSCTL" usage --since 1h --until 2h
is "a time before all of it" "$("$COSCTL" usage --no-headers --until 2020-01-01)" ""
all=$("$COSCTL" usage -o csv --no-headers --by owner | cut -d, -f4)
parts=$("$COSCTL" usage -o csv --no-headers --by interval --step 1s | awk -F, '{ n += $4 } END { print n }')
is "intervals add up to the whole" "$parts" "$all"
printf '{"currency": "EUR", "rates": {"seen_usec": "3600", "cpu_user_usec": "0.5"}}' >"$T/card"
like "a bill" "$("$COSCTL" usage --rates "$T/card" "$first")" '^g +seen_usec +[0-9.]+ +hour +3600.000000 +[0-9.]+$'
total=$("$COSCTL" usage --rates "$T/card" -o json "$first" | sed -n 's/^ *"total": "\(.*\)".*/\1/p')
sum=$("$COSCTL" usage --rates "$T/card" -o csv --no-headers "$first" | awk -F, '{ n += $6 } END { printf "%.6f", n }')
is "its items add up" "$(printf '%.6f' "$total")" "$sum"
printf '{"currency": "EUR", "rates": {"cpu_user_usec": 0.5}}' >"$T/card"
fails "a price that is a number" 2 'card:1: /rates/cpu_user_usec: is not a price' "$COSCTL" usage --rates "$T/card"
printf '{"currency": "EUR", "rates": {"cpu": "1"}}' >"$T/card"
fails "a price of nothing" 2 'is no metric' "$COSCTL" usage --rates "$T/card"

# --- whose usage ---
"$COSCTL" run --rm --template busybox mine owner=12345 -- sh -c 'i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done'
ok "an owner's guest" await has_usage mine
as_owner() {
	setpriv --reuid 12345 --regid 12345 --clear-groups -- "$T/cosctl" --socket "$T/run/user.sock" "$@"
}
chmod 755 "$T"
cp "$COSCTL" "$T/cosctl"
is "a user sees the own ones" "$(as_owner usage -o name)" mine
fails "and no others" 4 'has nothing of g' as_owner usage g
ok "and can verify them" as_owner usage --verify

# --- a change ---
if command -v sqlite3 >/dev/null; then
	sqlite3 "$T/state/ledger/ledger.db" 'UPDATE record SET cpu_user_usec = cpu_user_usec + 1 WHERE seq = 2'
	like "is found" "$("$COSCTL" usage --verify "$first")" 'record (interval 2|minute [0-9]+) was changed'
	"$COSCTL" usage --verify >"$T/out"
	is "with status 1" "$?" 1
else
	skip "a changed record is found" "sqlite3"
fi

# --- the host was started anew: another boot id, nothing in the runtime directory ---
"$COSCTL" create --template busybox again -- sh -c 'while :; do :; done'
"$COSCTL" start again
ok "before: it is counted" await has_usage again
worker=$(cat "$T/run/cosd.pid") keeper=$(cat "$T/run/keep.pid") acct=$(accountant)
kill -KILL "$keeper" "$worker" "$acct"
gone() {
	! readlink "/proc/$1/exe" >/dev/null
}
await gone "$keeper"
await gone "$worker"
await gone "$acct"
for group in /sys/fs/cgroup/unified/cos.$INSTANCE /sys/fs/cgroup/cos.$INSTANCE; do
	for kill in "$group"/*/cgroup.kill; do
		[ ! -e "$kill" ] || echo 1 >"$kill"
	done
done
before=$(sqlite3 "$T/state/ledger/ledger.db" "SELECT sum(cpu_user_usec + cpu_system_usec) FROM record WHERE level = 0 AND name = 'again'" 2>/dev/null)
rm -rf "$T/run"
echo 01234567-89ab-4def-8123-456789abcdef >"$T/boot_id"
echo '{"ledger.interval": 1}' >"$conf"
# shellcheck disable=SC2016,SC2086
unshare -m sh -c 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"' sh "$T/boot_id" \
	"$COSD" --instance "$INSTANCE" --state-dir "$T/state" --runtime-dir "$T/run" $COSD_ARGS >>"$T/cosd.log" 2>&1 </dev/null &
ok "cosd of the next boot" await "$COSCTL" version
# no guest could have a /proc of its own while the host's is covered in part
nsenter -t "$(cat "$T/run/cosd.pid")" -m -- umount /proc/sys/kernel/random/boot_id
is "the guest does not run" "$("$COSCTL" list --no-headers again | awk '{print $2}')" defined
if [ -n "$before" ]; then
	is "what it used is there, once" "$(cpu again)" "$before"
else
	skip "what it used is there, once" "sqlite3"
fi
"$COSCTL" start again
grows() {
	[ "$(cpu again)" -gt "${before:-0}" ]
}
ok "and it counts on" await grows
ok "the chain goes on" "$COSCTL" usage --verify again
"$COSCTL" stop --timeout 0 again

# --- a full disk ---
small=$T/state/ledger
pid=$(cat "$T/run/cosd.pid")
if nsenter -t "$pid" -m -- mount -t tmpfs -o size=700k,mode=0700 tmpfs "$small"; then
	kill_accountant
	"$COSCTL" create --template busybox busy -- sh -c 'while [ ! -e /enough ]; do :; done; sleep 1000'
	"$COSCTL" start busy
	ok "a guest of the small disk" await has_usage busy
	nsenter -t "$pid" -m -- dd if=/dev/zero of="$small/filler" bs=4k 2>/dev/null
	ok "a full disk is an event" await event 'ledger-fault.*ENOSPC'
	sleep 2
	nsenter -t "$pid" -m -- rm "$small/filler"
	ok "and so is its end" await event ledger-good
	"$COSCTL" exec busy -- touch /enough
	sleep 0.5
	counted=$(kernel_cpu busy)
	"$COSCTL" stop --timeout 0 busy
	has_end() {
		[ "$(field busy exits)" = 1 ]
	}
	ok "the guest's end" await has_end
	ledger=$(cpu busy)
	ok "nothing was lost ($ledger of $counted us)" test "$((ledger - counted))" -ge -20000 -a "$((ledger - counted))" -le 200000
	is "nor is there a gap" "$(field busy gap_s)" 0.0
	ok "the chain is good" "$COSCTL" usage --verify busy
	nsenter -t "$pid" -m -- umount -l "$small"
	kill_accountant
else
	skip "a full disk" "mount of a tmpfs"
fi
small=

# --- damage ---
"$COSCTL" start again
dd if=/dev/urandom of="$T/state/ledger/ledger.db" bs=4096 seek=1 count=20 conv=notrunc 2>/dev/null
rm -f "$T/state/ledger/ledger.db-wal" "$T/state/ledger/ledger.db-shm"
kill_accountant
ok "a damaged data base is an event" await event ledger-damaged
ok "it is kept" ls "$T/state/ledger/"ledger.db.damaged-*
ok "and the ledger goes on" await has_usage again
ok "with a good chain" "$COSCTL" usage --verify
is "nothing is negative" "$("$COSCTL" usage -o csv --no-headers | grep -c -- ',-')" 0
rm -f "$conf"
plan_done
