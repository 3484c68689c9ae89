#!/bin/sh
# tests/func/snapshot.sh - snapshots of guests' files through the daemon
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template
put() { # GUEST TEXT: runs it once, to write /note
	"$COSCTL" start "$1" && "$COSCTL" exec "$1" -- sh -c "echo '$2' >/note; rm -f /etc/motd; sync" && "$COSCTL" stop --timeout 0 "$1"
}
note() {
	"$COSCTL" start "$1" && "$COSCTL" exec "$1" -- cat /note
	"$COSCTL" stop --timeout 0 "$1"
}
"$COSCTL" create --template busybox g -- sleep 1000
ok "a guest writes" put g one
ok "is kept as it is" "$COSCTL" snapshot g first
is "which is listed" "$("$COSCTL" snapshot -q g)" first
like "as what it is now" "$("$COSCTL" snapshot --no-headers g)" '^first .* true$'
fails "a tag is taken once" 5 'first' "$COSCTL" snapshot g first
ok "it writes again" put g two
like "and differs" "$("$COSCTL" snapshot --no-headers g)" '^first .* false$'
ok "is kept again" "$COSCTL" snapshot g second
ok "and changed once more" put g three
ok "and goes back" "$COSCTL" restore g first
is "to what it was" "$(note g)" one
ok "and forth" "$COSCTL" restore g second
is "to what it was then" "$(note g)" two
ok "one can be deleted" "$COSCTL" snapshot --delete g first
is "the other stays" "$("$COSCTL" snapshot -q g)" second
is "and the guest" "$(note g)" two
fails "what is deleted cannot be gone back to" 2 'first' "$COSCTL" restore g first
fails "nor deleted again" 2 'first' "$COSCTL" snapshot --delete g first
for tag in ../x A '' 'a/b'; do
	fails "a tag named '$tag'" 2 '' "$COSCTL" snapshot g "$tag"
done
fails "of nobody" 4 'no guest named nobody' "$COSCTL" snapshot nobody x
fails "a tag is needed" 2 'a name and a tag' "$COSCTL" restore g
"$COSCTL" start g
fails "not of one that runs" 1 'g is running' "$COSCTL" snapshot g third
fails "nor back" 1 'g is running' "$COSCTL" restore g second
ok "its snapshots are listed all the same" "$COSCTL" snapshot g
"$COSCTL" stop --timeout 0 g
mkdir "$T/rootfs" "$T/rootfs/bin"
"$COSCTL" create --rootfs "$T/rootfs" r -- /bin/sh
fails "a directory of the host has none" 1 '' "$COSCTL" snapshot r x
like "they are events" "$("$COSCTL" events)" 'snapshot-deleted .*first'
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
is "another worker knows them" "$("$COSCTL" snapshot -q g)" second
"$COSCTL" delete g
"$COSCTL" create --template busybox g -- sleep 1000
is "another guest of the name has none" "$("$COSCTL" snapshot -q g)" ""
plan_done
