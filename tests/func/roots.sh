#!/bin/sh
# tests/func/roots.sh - root file systems: directories of the host, imported templates, binds, and full disks
. "$(dirname "$0")/lib.sh"
BUSYBOX=$(command -v busybox) || { echo "1..0 # SKIP no busybox"; exit 0; }
cos_setup
cos_template

mkroot() { # DIR
	mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/proc" "$1/sys" "$1/dev" "$1/root"
	cp "$BUSYBOX" "$1/bin/busybox"
	for a in sh cat chmod chown date dd echo env hostname id ln ls mkdir mkfifo mv pwd readlink rm sleep stat touch true; do
		ln -s busybox "$1/bin/$a"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n' >"$1/etc/passwd"
	printf 'root:x:0:\nweb:x:33:\nmail:x:8:web\n' >"$1/etc/group"
}
run() { # NAME ARGUMENTS...: of run, with its status
	timeout 30 "$COSCTL" run --rm "$@" </dev/null
}
nothing_left() {
	[ -z "$("$COSCTL" list -o name)" ] && [ -z "$(ls "$T/state/cow/guests")" ] &&
		[ -z "$(ls "$T/state/guests")" ] && [ -z "$(ls "$T/run/guests")" ]
}

# --- a directory of the host ---
R=$T/root
mkroot "$R"
echo original >"$R/etc/file"
chmod 640 "$R/etc/file"
fingerprint() {
	(cd "$R" && find . -printf '%p %m %U %G %s %l %T@\n' | sort && find . -type f -exec sha256sum {} + | sort)
}
fingerprint >"$T/before"
is "a directory is a root" "$(run --rootfs "$R" x -- /bin/cat /etc/file)" original
is "its owner inside is the owner outside" "$(run --rootfs "$R" x -- /bin/stat -c %u:%g:%a /etc/file)" 0:0:640
fails "without the command in it" 127 '/bin/nothere: not found in the guest' "$COSCTL" run --rm --rootfs "$R" x -- /bin/nothere
fails "a command that is no program" 126 '/etc/passwd: Permission denied' "$COSCTL" run --rm --rootfs "$R" x -- /etc/passwd
fails "without an init" 127 '/sbin/init' "$COSCTL" run --rm --rootfs "$R" x
fails "a file as root" 125 'Not a directory' "$COSCTL" run --rm --rootfs "$R/etc/file" x -- /bin/true
fails "nothing as root" 125 'No such file' "$COSCTL" run --rm --rootfs "$T/nothing" x -- /bin/true
fails "create says so too" 1 'No such file' "$COSCTL" create --rootfs "$T/nothing" x -- /bin/true
fails "a file system whose owners cannot be mapped" 125 'its file system cannot' "$COSCTL" run --rm --rootfs /proc x -- /bin/true
mkdir "$T/empty"
fails "an empty directory" 127 'not found in the guest' "$COSCTL" run --rm --rootfs "$T/empty" x -- /bin/true
is "which stays empty" "$(ls -A "$T/empty")" ""
ln -s root "$T/link"
ok "a link on the command line is followed by the client" run --rootfs "$T/link" x -- /bin/true
fails "one in a specification is not followed" 1 'symbolic link' "$COSCTL" create "rootfs=$T/link" x -- /bin/true
ok "nothing is left of all these" nothing_left

"$COSCTL" create --rootfs "$R" 'r{1..2}' -- /bin/sleep 1000
"$COSCTL" start r1 r2
"$COSCTL" exec r1 -- sh -c 'echo changed >/etc/file; chmod 777 /bin; chown 33:33 /root; rm -rf /tmp /etc/passwd; mkdir /new; mv /bin/date /bin/when'
is "a guest changes what it sees" "$("$COSCTL" exec r1 -- sh -c 'cat /etc/file; ls -d /new; stat -c %a /bin')" "changed
/new
777"
is "another guest of the directory does not see it" "$("$COSCTL" exec r2 -- sh -c 'cat /etc/file; ls -d /new; ls -d /tmp' 2>/dev/null)" "original
/tmp"
"$COSCTL" restart --timeout 0 r1
is "changes last over a restart" "$("$COSCTL" exec r1 -- sh -c 'cat /etc/file; ls -d /tmp' 2>/dev/null)" changed
fingerprint >"$T/after"
is "the directory itself is as it was" "$(diff "$T/before" "$T/after")" ""
"$COSCTL" delete --all --force

# --- who, where, with what ---
put() { # ARGUMENTS...
	run --rootfs "$R" "$@" 2>&1
}
like "user by name, with the groups that list him" "$(put --user web x -- /bin/id | sed 's/([a-z]*)//g')" '^uid=33 gid=33 groups=(33,)?8$'
is "by id" "$(put --user 33 x -- /bin/id -g)" 33
is "by an id without an entry" "$(put --user 4711 x -- /bin/sh -c 'id -u; id -g')" "4711
0"
is "by ids" "$(put --user 12:34 x -- /bin/sh -c 'id -u; id -g')" "12
34"
is "by name and group's name" "$(put --user web:mail x -- /bin/sh -c 'id -u; id -g')" "33
8"
is "home follows" "$(put --user web x -- /bin/sh -c 'echo $HOME')" /srv
fails "a user who is not there" 125 'user nobody: not in' "$COSCTL" run --rm --rootfs "$R" --user nobody x -- /bin/true
fails "a group that is not there" 125 'group none: not in' "$COSCTL" run --rm --rootfs "$R" --user 1:none x -- /bin/true
fails "an id beyond the guest's" 125 'user 70000: the guest has ids 0 to 65535' "$COSCTL" run --rm --rootfs "$R" --user 70000 x -- /bin/true
for u in 4294967295 1:4294967295 -1 1:; do
	fails "user $u" 125 'user|group' "$COSCTL" run --rm --rootfs "$R" "--user=$u" x -- /bin/true
done
is "cwd" "$(put --cwd /etc x -- /bin/pwd)" /etc
fails "one that is not there" 125 'cwd /nowhere' "$COSCTL" run --rm --rootfs "$R" --cwd /nowhere x -- /bin/true
# shellcheck disable=SC2016 # the guest's shell
is "env" "$(put --env A=b --env EMPTY= --env PATH=/bin --env 'S=a b' x -- /bin/sh -c 'echo "$A|$EMPTY|$PATH|$S|$container|$LANG"')" "b||/bin|a b|cos|C.UTF-8"
is "nothing of the daemon's environment" "$(COS_TEST=1 put x -- /bin/env | grep -c 'COS\|SHLVL=[2-9]')" 0
is "hostname" "$(put hostname=other.example x -- /bin/sh -c 'hostname; cat /etc/hostname')" "other.example
other.example"
like "hosts" "$(put x -- /bin/cat /etc/hosts)" '^127.0.1.1[[:space:]]+x$'
is "manage=false writes nothing" "$(put manage=false x -- /bin/ls /etc | tr '\n' ' ')" "file group passwd "
fails "a time zone that is not there" 125 'timezone' "$COSCTL" run --rm --rootfs "$R" timezone=Mars/Base x -- /bin/true
mkdir -p "$R/usr/share/zoneinfo/Here"
echo TZif >"$R/usr/share/zoneinfo/Here/There"
is "one that is" "$(put timezone=Here/There x -- /bin/readlink /etc/localtime)" /usr/share/zoneinfo/Here/There
ok "nothing is left of all these" nothing_left

# --- files that the guest has prepared for us ---
trap_root() { # NAME COMMAND...: what a guest did to its /etc before the next start
	name=$1
	shift
	"$COSCTL" create --rootfs "$R" "$name" -- /bin/sleep 1000
	"$COSCTL" start "$name"
	"$COSCTL" exec "$name" -- sh -c "$*"
	"$COSCTL" stop --timeout 0 "$name"
}
echo untouched >"$T/victim"
trap_root link "rm /etc/hosts /etc/hostname /etc/resolv.conf; ln -s $T/victim /etc/hosts; ln -s /bin/busybox /etc/hostname; ln -s /proc/1/mem /etc/resolv.conf"
ok "links in the place of our files: it starts" timeout 20 "$COSCTL" start link
is "they are replaced" "$("$COSCTL" exec link -- sh -c 'cat /etc/hostname; stat -c %F /etc/hosts /etc/resolv.conf')" "link
regular file
regular file"
ok "what they led to is not written" "$COSCTL" exec link -- /bin/busybox true
trap_root fifo "rm /etc/hosts /etc/resolv.conf /etc/passwd; mkfifo /etc/hosts /etc/resolv.conf /etc/passwd"
ok "FIFOs: it starts" timeout 20 "$COSCTL" start fifo
is "and they are replaced" "$("$COSCTL" exec fifo -- stat -c %F /etc/hosts)" "regular file"
trap_root dir "rm /etc/hosts; mkdir /etc/hosts; touch /etc/hosts/x"
fails "a directory: a clear failure" 1 'write /etc/hosts in the guest' timeout 20 "$COSCTL" start dir
fails "with advice" 1 'manage=false' timeout 20 "$COSCTL" start dir
ok "that helps" "$COSCTL" set dir manage=false
ok "indeed" "$COSCTL" start dir
trap_root etc "rm -rf /etc; ln -s $T /etc"
fails "/etc as a link to the host" 1 '/etc of the guest' timeout 20 "$COSCTL" start etc
for d in dev proc sys; do
	trap_root "m$d" "mkdir /t; touch /t/x; true"
done
is "the host's files are as they were" "$(cat "$T/victim"; ls "$T" | grep -c '^hosts')" "untouched
0"
"$COSCTL" delete --all --force
rm -r "${R:?}/dev"
ln -s "$T" "$R/dev"
fails "/dev as a link out of the root" 125 'dev in the root' "$COSCTL" run --rm --rootfs "$R" x -- /bin/true
rm "$R/dev"
mkdir "$R/dev"
rmdir "$R/proc"
ok "mount points that are missing are made" run --rootfs "$R" x -- /bin/ls /proc/self
ok "but not in the directory" test ! -e "$R/proc"
mkdir "$R/proc"

# --- binds ---
mkdir "$T/shared"
echo hello >"$T/shared/file"
chown 0:0 "$T/shared"
"$COSCTL" create --rootfs "$R" --bind "$T/shared:/mnt/a" --bind "$T/shared:/mnt/b:ro" --bind "$T/victim:/mnt/file" binds -- /bin/sleep 1000
ok "binds" "$COSCTL" start binds
is "are readable" "$("$COSCTL" exec binds -- cat /mnt/a/file /mnt/b/file /mnt/file)" "hello
hello
untouched"
ok "writable" "$COSCTL" exec binds -- touch /mnt/a/new
is "by owners as inside" "$(stat -c %u:%g "$T/shared/new") $("$COSCTL" exec binds -- stat -c %u:%g /mnt/b/new)" "0:0 0:0"
fails "or not" 1 'Read-only' "$COSCTL" exec binds -- touch /mnt/b/new
"$COSCTL" exec binds -- sh -c 'mount -o remount,rw,bind /mnt/b; touch /mnt/b/hole' >/dev/null 2>&1
ok "and not after a remount by the guest's root" test ! -e "$T/shared/hole"
ok "another owner's file" "$COSCTL" exec --user 33 binds -- sh -c '! touch /mnt/a/x 2>/dev/null'
"$COSCTL" exec binds -- chown 33:33 /mnt/a/new
is "is his outside too" "$(stat -c %u:%g "$T/shared/new")" 33:33
"$COSCTL" delete --force binds
fails "a bind of nothing" 125 "bind source $T/nothing" "$COSCTL" run --rm --rootfs "$R" --bind "$T/nothing:/mnt" x -- /bin/true
fails "a bind over a file in the way" 125 'mount target' "$COSCTL" run --rm --rootfs "$R" --bind "$T/shared:/etc/file/x" x -- /bin/true
fails "a directory over a file" 125 'mount target /etc/file .*Not a directory' "$COSCTL" run --rm --rootfs "$R" --bind "$T/shared:/etc/file" x -- /bin/true
fails "a file over a directory" 125 'mount target /etc .*Is a directory' "$COSCTL" run --rm --rootfs "$R" --bind "$R/etc/file:/etc" x -- /bin/true
fails "what helps is told" 125 'do: .*as its source is' "$COSCTL" run --rm --rootfs "$R" --bind "$R/etc/file:/etc" x -- /bin/true
ln -s /etc "$R/out"
ln -s ../../../../.. "$R/up"
"$COSCTL" run --rm --rootfs "$R" --bind "$T/shared:/up/tmp/hole" x -- /bin/true >"$T/out" 2>&1
ok "a target through links stays in the root" test ! -e /tmp/hole
rm "$R/out" "$R/up"
ok "nothing is left of all these" nothing_left

# --- templates ---
mkroot "$T/tree"
ln -s /etc/passwd "$T/tree/abs"
ln "$T/tree/etc/passwd" "$T/tree/hard"
mknod "$T/tree/null" c 1 3
mkfifo "$T/tree/fifo"
tar -C "$T/tree" --exclude=./null -cf "$T/t.tar" .
for z in gzip xz zstd; do
	if command -v $z >/dev/null; then
		$z -k -q "$T/t.tar"
	fi
done
ok "import of a directory" "$COSCTL" template import dir "$T/tree"
for f in "$T"/t.tar*; do
	n=${f##*/}
	n=$(echo "$n" | tr -d .)
	ok "import of ${f##*/}" "$COSCTL" template import "$n" "$f"
	is "and a guest of it" "$(run --template "$n" x -- /bin/sh -c 'cat /abs /hard | sort -u | wc -l; stat -c %F /fifo' 2>&1 | tail -1)" fifo
done
[ -e "$T/t.tar.zst" ] || skip "import of t.tar.zst" zstd
fails "a name that is taken" 5 'there is a template' "$COSCTL" template import dir "$T/tree"
is "device nodes are not taken over" "$(run --template dir x -- /bin/sh -c '[ -c /null ] && dd if=/null of=/dev/null 2>&1' | grep -c records)" 0
echo no archive >"$T/bad.tar"
fails "what is no archive" 1 'archive' "$COSCTL" template import bad "$T/bad.tar"
head -c 300000 "$T/t.tar" >"$T/cut.tar"
fails "half an archive" 1 '.' "$COSCTL" template import bad "$T/cut.tar"
fails "a device" 1 'neither a directory nor' "$COSCTL" template import bad /dev/null
mkdir "$T/evil"
echo evil >"$T/evil/x"
tar -C "$T/evil" -cPf "$T/dots.tar" --transform 's,^x,../../../../../tmp/cos-evil,' x
tar -C "$T/evil" -cPf "$T/root.tar" --transform 's,^x,/tmp/cos-evil,' x
for f in dots root; do
	"$COSCTL" template import "$f" "$T/$f.tar" >"$T/out" 2>&1
	ok "a path out of the root ($f) does not leave it" test ! -e /tmp/cos-evil
	"$COSCTL" template delete "$f" >/dev/null 2>&1
done
mkdir "$T/sl"
ln -s /tmp "$T/sl/d"
tar -C "$T/sl" -cf "$T/slip.tar" d
mkdir "$T/sl2" "$T/sl2/d"
echo evil >"$T/sl2/d/cos-evil"
tar -C "$T/sl2" -rf "$T/slip.tar" d/cos-evil
"$COSCTL" template import slip "$T/slip.tar" >"$T/out" 2>&1
ok "nor through a link that came first" test ! -e /tmp/cos-evil
"$COSCTL" template delete slip >/dev/null 2>&1
"$COSCTL" create --template dir user -- /bin/true
fails "a template in use stays" 1 'use' "$COSCTL" template delete dir
"$COSCTL" delete user
ok "one that nobody uses goes" "$COSCTL" template delete dir
is "nothing half made is left" "$("$COSCTL" template list -o name | grep -c '^bad$')" 0

# --- a full disk ---
"$COSCTL" delete --all --force
kill -TERM "$(cat "$T/run/keep.pid")"
await test ! -e "$T/run/keep.pid"
rm -rf "$T/state"
mkdir "$T/state"
truncate -s 12M "$T/disk"
mkfs.ext4 -q -m 0 -O ^has_journal "$T/disk"
mount -o loop,nosuid,nodev "$T/disk" "$T/state" || { skip "a full disk" "loop devices"; plan_done; }
cos_start_daemon
cos_template
"$COSCTL" create --template busybox full -- sleep 1000
ok "a guest on a small disk" "$COSCTL" start full
"$COSCTL" exec full -- sh -c 'echo kept >/kept; dd if=/dev/zero of=/fill bs=64k' >"$T/out" 2>&1
like "meets its end" "$(cat "$T/out")" 'No space left'
sync -f "$T/state"
dd if=/dev/zero of="$T/state/rest" bs=1k 2>/dev/null # what the file system had set aside for later
sync -f "$T/state"
fails "a template is refused" 1 'No space left' "$COSCTL" template build busybox second
is "and nothing of it is listed" "$("$COSCTL" template list -o name)" busybox
fails "a guest is refused" 1 'No space left' "$COSCTL" create --template busybox more -- true
fails "and one to run" 125 'No space left' "$COSCTL" run --template busybox more -- true
fails "set is refused" 1 'No space left' "$COSCTL" set full cpu.share=300
is "and changes nothing" "$("$COSCTL" get full cpu.share)" 100
is "none is listed" "$("$COSCTL" list -o name)" full
is "exec works" "$("$COSCTL" exec full -- cat /kept)" kept
ok "the guest stops" "$COSCTL" stop --timeout 0 full
ok "the daemon lives" "$COSCTL" version
ok "delete needs no space" "$COSCTL" delete full
again() {
	"$COSCTL" template build busybox second
}
ok "and gives some back" await again
is "to guests too" "$("$COSCTL" run --rm --template second more -- echo here)" here
ok "nothing is left" nothing_left
is "not even in passing" "$(find "$T/state/cow" -maxdepth 2 -name '*.new*' -o -maxdepth 2 -name '*~')" ""

# --- a file system that cannot map owners: the daemon ends by itself ---
mkdir "$T/lower" "$T/upper" "$T/work" "$T/over"
on_overlay() { # COMMAND...: with an overlay on $T/over
	unshare -m sh -c 'mount -t overlay -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" cos-test "$1/over" && shift && exec "$@"' \
		sh "$T" "$@"
}
if on_overlay true 2>/dev/null; then
	fails "a state directory on an overlay" 1 'owners' on_overlay timeout 60 "$COSD" --instance "$INSTANCE-x" \
		--state-dir "$T/over/state" --runtime-dir "$T/x-run"
	is "leaves no pid and no group" "$(ls "$T/x-run" | grep pid)$(find /sys/fs/cgroup -name "cos.$INSTANCE-x" -type d)" ""
else
	skip "a state directory on an overlay" "an overlay on $(stat -f -c %T "$T")"
fi
plan_done
