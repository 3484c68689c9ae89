#!/bin/sh
# tests/fault/full-disk.sh - the disk of the state directory is full in each thing that writes to it
#
# Each must fail with what to do, leave nothing half made, and succeed once there is space again.
. "$(dirname "$0")/../func/lib.sh"
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
command -v mkfs.ext4 >/dev/null || { echo "1..0 # SKIP mkfs.ext4 is missing"; exit 0; }
T=$(mktemp -d "${TMPDIR:-/tmp}/cos-test.XXXXXX")
top=$T
INSTANCE=test-$$
COS_SOCKET=$T/run/cosd.sock
export COS_SOCKET
tear_down() {
	KEEP_LOGS=1
	cos_teardown
	while grep -q " $top/state " /proc/self/mountinfo && umount "$top/state"; do :; done
	rm -rf "$top"
}
trap 'tear_down; exit 1' EXIT INT TERM
mkdir -m 700 "$T/state"
truncate -s 96M "$T/image"
mkfs.ext4 -q -m 0 -O ^has_journal "$T/image" && mount -o loop "$T/image" "$T/state" 2>"$T/mount.log" ||
	{ echo "1..0 # SKIP no loop device: $(cat "$T/mount.log")"; trap - EXIT; tear_down; exit 0; }
cos_start_daemon
cos_template

fill() {
	dd if=/dev/zero of="$T/state/fill" bs=64k conv=fsync 2>/dev/null
	dd if=/dev/zero of="$T/state/fill2" bs=1k conv=fsync 2>/dev/null
}
empty() {
	rm -f "$T/state/fill" "$T/state/fill2"
	sync -f "$T/state"
}
# usage: full NAME WORDS COMMAND...   it fails on a full disk with advice, and WORDS in the error
full() {
	full_name=$1
	full_re=$2
	shift 2
	fill
	said=$("$@" 2>&1 >/dev/null)
	st=$?
	empty
	ok "$full_name fails" test "$st" = 1
	like "... with why" "$said" "why: .*($full_re).*(ENOSPC|[Nn]o space)"
	like "... and what to do" "$said" 'do: +.*free space'
	is "... and leaves nothing" "$(ls "$T/state/cow/tmp" | grep -c .)" 0
}
bytes() { # the digest of a guest's file
	"$COSCTL" exec "$1" -- sha256sum "$2" | cut -d ' ' -f 1
}

mkdir "$T/src"
head -c 3000000 /dev/urandom >"$T/src/big"
full "an import" '.' "$COSCTL" template import i "$T/src"
is "there is no such template" "$("$COSCTL" template list -q)" busybox
ok "with space it can be imported" "$COSCTL" template import i "$T/src"

full "a create" '.' "$COSCTL" create --template busybox g -- sleep 1000
is "there is no such guest" "$("$COSCTL" list -q)" ""
is "nor files of one" "$(ls "$T/state/cow/guests" "$T/state/guests" | grep -c '^g')" 0
ok "with space it can be created" "$COSCTL" create --template busybox g -- sleep 1000
"$COSCTL" start g
"$COSCTL" cp "$T/src/big" g:/big
"$COSCTL" cp "$T/src/big" g:/other
"$COSCTL" exec g -- sh -c 'touch -d "2020-01-01 00:00:00" /big /other; sync'
want=$(sha256sum <"$T/src/big" | cut -d ' ' -f 1)

if "$TOP_BUILDDIR/cow-fs/cow-fs" --state-dir "$T/state" limits | grep -q '^ok *loop-image'; then
	full "a create with a file system of its own" . "$COSCTL" create --template busybox l disk.quota=loop disk.max=32M -- true
	is "there is no such guest" "$("$COSCTL" list -q)" g
	fill
	rm "$T/state/fill2"
	truncate -s -60k "$T/state/fill"
	like "when it gets full in the midst mke2fs says so" "$("$COSCTL" create --template busybox l disk.quota=loop disk.max=32M -- true 2>&1)" 'mke2fs: No space left'
	is "leaves nothing" "$("$COSCTL" list -q; ls "$T/state/cow/tmp")" g
	empty
	ok "with space it can be created" "$COSCTL" create --template busybox l disk.quota=loop disk.max=32M -- true
	"$COSCTL" delete l
else
	skip "a create with a file system of its own" "a loop device and mke2fs"
fi

full "a clone of a running guest" '.' "$COSCTL" clone g c
is "there is no such guest" "$("$COSCTL" list -q)" g
is "nor files of one" "$(ls "$T/state/cow/guests" "$T/state/guests" | grep -c '^c')" 0
ok "the guest runs on" "$COSCTL" exec g -- true
ok "with space it can be cloned" "$COSCTL" clone g c
"$COSCTL" start c

fill
"$COSCTL" unify g >"$T/unify.log" 2>&1
empty
is "after a unification on a full disk files are whole" "$(bytes g /big) $(bytes g /other)" "$want $want"
ok "with space it can be unified" "$COSCTL" unify g
is "files are whole then" "$(bytes g /big) $(bytes g /other)" "$want $want"
is "and are stubs" "$(stat -c %b "$T/state/cow/guests/g/up/other" | grep -c '^[0-8]$')" 1

full "a change" '.' "$COSCTL" set g 'env={"A": "'"$(head -c 6000 /dev/zero | tr '\0' a)"'"}'
is "which is not made" "$("$COSCTL" get g env)" "$("$COSCTL" get c env)"
"$COSCTL" stop --timeout 0 g
full "a snapshot" '.' "$COSCTL" snapshot g s
is "there is none" "$("$COSCTL" snapshot -q g)" ""
ok "with space it can be taken" "$COSCTL" snapshot g s
"$COSCTL" start g
"$COSCTL" exec g -- sh -c 'echo new >/note; sync'
"$COSCTL" stop --timeout 0 g
full "a clone of one at rest" '.' "$COSCTL" clone g d
is "there is no such guest" "$("$COSCTL" list -q | grep -c '^d$')" 0
ok "with space it can be cloned" "$COSCTL" clone g d
full "a way back" '.' "$COSCTL" restore g s
ok "the guest is as it was" "$COSCTL" start g
is "with its files" "$("$COSCTL" exec g -- cat /note) $(bytes g /big)" "new $want"
"$COSCTL" stop --timeout 0 g
ok "with space it can go back" "$COSCTL" restore g s

fill
ok "a guest can be deleted on a full disk" "$COSCTL" delete d
ok "and one that runs be stopped" "$COSCTL" stop --timeout 0 c
empty
ok "guests start" "$COSCTL" start g c
is "with whole files" "$(bytes g /big) $(bytes c /big)" "$want $want"
ok "all that is stored is whole" "$COSCTL" scrub
echo "1..$tap_n"
trap - EXIT
tear_down
[ "$tap_failed" = 0 ]
