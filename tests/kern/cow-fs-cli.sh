#!/bin/sh
# tests/kern/cow-fs-cli.sh - cow-fs as the daemon and people call it: options, output, exit statuses
. "${TOP_SRCDIR:-.}/tests/kern/cow-lib.sh"

scratch cow-fs-cli
mkdir -p "$dir/src/etc" "$dir/src/bin"
echo one >"$dir/src/etc/file"
tar -C "$dir/src" -cf "$dir/src.tar" .

is 'help' exits 0 --help
is 'no command' exits 2
is 'an unknown command' exits 2 template frobnicate
is 'an unknown option' exits 2 template list --frobnicate
is 'a word too many' exits 2 sweep now
is 'no source' exits 2 template import a
is 'a source twice' exits 2 template import a "$dir/src" --fd 0
is 'a bad name' exits 2 template import A/B "$dir/src"
is 'a missing source' exits 1 template import a "$dir/nothing"
is 'a device as a source' exits 1 template import a /dev/null
is 'a missing state directory' exits 1 --state-dir "$dir/nothing" template list
is 'an empty list' exits 0 template list

is 'import a directory' exits 0 template import d:1 "$dir/src"
is 'is silent' test ! -s "$dir/out" -a ! -s "$dir/err"
is 'the name is taken' exits 5 template import d:1 "$dir/src"
is 'in three lines: what, why, what to do' test "$(wc -l <"$dir/err")" -eq 3
is 'import an archive' exits 0 template import t "$dir/src.tar"
gzip -c "$dir/src.tar" >"$dir/src.tar.gz"
is 'from standard input' exits 0 template import in - <"$dir/src.tar.gz"
piped() { cat "$dir/src.tar.gz" | exits 0 template import pipe -; }
is 'from a pipe' piped
is 'from a descriptor, as the daemon does' \
	exits 0 --json-errors --progress template import fd --fd 3 3<"$dir/src.tar"
is 'with progress' grep -q '^progress 4 4$' "$dir/out"
is 'from a directory by descriptor' exits 0 template import fdd --fd 3 3<"$dir/src"
is 'more data than allowed' exits 1 --max-bytes 3 template import big "$dir/src.tar"

is 'an error for the daemon' exits 1 --json-errors template import g "$dir/src/etc/file"
is 'is one line of JSON' test "$(wc -l <"$dir/err")" -eq 1
is 'with its name' grep -q '^{"error":"BadImage","what":"import g","why":".*","todo":".*"}$' \
	"$dir/err"
is 'no such template' exits 4 --json-errors template delete nothing

is 'list' exits 0 template list
is 'has a line for each' test "$(grep -c -E '^(d:1|t|in|pipe|fd|fdd) ' "$dir/out")" -eq 6
is 'list for programs' exits 0 template list -o json
is 'is one array' grep -q '^\[{"name":"d:1",.*"source":"dir",.*"users":0}.*\]$' "$dir/out"
is 'an unknown form' exits 2 template list -o xml

if [ -x /bin/busybox ] && exits 0 template build busybox --name bb:1; then
	is 'build busybox' exits 5 template build busybox --name bb:1
	exits 0 template delete bb:1
else
	n=$((n + 1))
	echo "ok $n - build busybox # SKIP no static /bin/busybox"
fi
is 'an unknown kind' exits 2 template build suse
is 'Debian needs ids' exits 2 template build debian
is 'that are a number' exits 2 template build debian --ids root
is 'and more than one' exits 2 template build debian --ids 4294967295
is 'no option as a suite' exits 2 template build debian --ids 1879048192 --suite=-x
is 'busybox has no suite' exits 2 template build busybox --suite stable

if exits 0 selftest; then
	head -c 40000 /dev/urandom >"$dir/data"
	is 'make a root' exits 0 root make g1 t
	is 'and another' exits 0 root make g2 t --domain red
	is 'no template' exits 4 root make g3 nothing
	is 'neither template nor directory' exits 2 root make g3
	is 'nor both' exits 2 root make g3 t --rootfs "$dir/src"
	is 'a directory' exits 0 root make g3 --rootfs "$dir/src"
	is 'a directory that is not there' exits 1 root make g5 --rootfs "$dir/nothing"
	mkdir "$dir/m"
	is 'mount it' exits 0 root mount g1 "$dir/m"
	cp "$dir/data" "$dir/m/one" && cp "$dir/data" "$dir/m/two"
	touch -d '1 hour ago' "$dir/m/one" "$dir/m/two"
	is 'not twice' exits 1 root mount g1 "$dir/m"
	is 'nor removed' exits 1 root remove g1
	is 'nor unified as a stopped one' exits 1 unify g1
	umount "$dir/m"
	sleep 0.1
	is 'dry' exits 0 unify g1 --dry-run -o json
	is 'in one object' grep -q '^{"seen":2,"candidates":2,"hashed_bytes":80000,.*"swapped":2,.*}$' "$dir/out"
	is 'unify' exits 0 unify g1
	is 'two files' grep -q '^swapped  *2$' "$dir/out"
	is 'its usage' exits 0 usage g1 -o json
	is 'tells own and shared apart' grep -q '"stubs":2,"shared_bytes":80000,' "$dir/out"
	is 'how to limit it' exits 0 limits
	is 'each way is told' test "$(grep -cE '^(ok|NO) ' "$dir/out")" = 2
	is 'clone' exits 0 clone g1 g4
	is 'a snapshot' exits 0 snapshot make g1 s
	is 'its list' exits 0 snapshot list g1
	is 'has it' grep -q '^s .* yes$' "$dir/out"
	is 'back' exits 0 snapshot restore g1 s
	is 'mount the clone' exits 0 root mount g4 "$dir/m"
	is 'it has the files' cmp "$dir/data" "$dir/m/two"
	umount "$dir/m"
	is 'no snapshot' exits 2 snapshot restore g1 t
	is 'delete it' exits 0 snapshot delete g1 s
	is 'scrub' exits 0 scrub
	is 'one object is whole' grep -q '^objects  *1$' "$dir/out"
	object=$(find "$dir/state/cow/pool" -type f | head -n 1)
	printf X | dd of="$object" bs=1 seek=100 conv=notrunc 2>/dev/null
	is 'damage is found' exits 1 scrub --dry-run
	is 'and told' grep -qE '^[0-9a-f]{64} damaged$' "$dir/out"
	is 'and repaired' exits 0 scrub --progress --from "$dir"
	is 'for the daemon too' grep -qE '^found [0-9a-f]{64} repaired$' "$dir/out"
	is 'remove' exits 0 root remove g1
	is 'remove the clone' exits 0 root remove g4
	is 'remove the other' exits 0 root remove g2
	is 'and the one on a directory' exits 0 root remove g3
	is 'a limit that is too low' exits 2 root make l t --disk-max 1K
	is 'or none' exits 2 root make l t --disk-inodes x
	is 'an unknown quota' exits 2 root make l t --disk-quota zfs
	is 'with advice' grep -q 'cow-fs limits' "$dir/err"
	is 'an image without a size' exits 2 root make l t --disk-quota loop
	is 'nobody to limit' exits 4 root limit l --disk-max 20M
	exits 0 limits
	cp "$dir/out" "$dir/limits"
	exits 0 root make l t
	grep -q '^ok *project' "$dir/limits" || is 'one without a quota gets no limit' exits 1 root limit l --disk-max 20M
	exits 0 root remove l
	if grep -q '^ok *loop-image' "$dir/limits"; then
		is 'a loop image' exits 0 root make l t --disk-quota loop --disk-max 16M --disk-inodes 100
		is 'is all that is made' test "$(ls "$dir/state/cow/guests/l" | tr '\n' ' ')" = 'disk.img root.json '
		is 'mount it' exits 0 root mount l "$dir/m"
		is 'which has its size' test "$(stat -f -c %b "$dir/m")" -le 4096 -a "$(stat -f -c %c "$dir/m")" -le 130
		umount "$dir/m"
		is 'it does not shrink' exits 1 root limit l --disk-max 1M
		is 'and says so' grep -q 'only grows' "$dir/err"
		is 'nor has it snapshots' exits 1 snapshot make l s
		is 'which says what to do instead' grep -q 'clone it while it is stopped' "$dir/err"
		exits 0 root mount l "$dir/m" && mkdir "$dir/m/etc/ssh" && echo key >"$dir/m/etc/ssh/ssh_host_key" &&
			head -c 3000000 /dev/urandom >"$dir/m/data" && cp "$dir/m/data" "$dir/data"
		is 'nor is it cloned while it is mounted' exits 1 clone l l2
		is 'which says so' grep -q 'l runs' "$dir/err"
		umount "$dir/m"
		is 'but then' exits 0 clone l l2
		is 'once' exits 5 clone l l2
		exits 0 root mount l2 "$dir/m"
		is 'with all files' cmp "$dir/data" "$dir/m/data"
		is 'but for keys' test ! -e "$dir/m/etc/ssh/ssh_host_key" -a -d "$dir/m/etc/ssh"
		is 'in as much space' test "$(stat -f -c %b "$dir/m")" -le 4096
		umount "$dir/m"
		is 'remove it, too' exits 0 root remove l2
		is 'remove it' exits 0 root remove l
		hidden() { # mke2fs is not there
			unshare -m sh -c 'f=$(readlink -f "$(command -v mke2fs || echo /sbin/mke2fs)"); shift
				mount --make-rprivate / && mount --bind /dev/null "$f" && exec "$@"' - x "$cowfs" \
				--state-dir "$dir/state" "$@" >"$dir/out" 2>"$dir/err"
			[ $? = 1 ]
		}
		is 'without mke2fs there is none' hidden root make l t --disk-quota loop --disk-max 16M
		is 'which is said' grep -q 'mke2fs of e2fsprogs is not installed' "$dir/err"
		is 'and leaves nothing' test -z "$(ls "$dir/state/cow/tmp" "$dir/state/cow/guests" | grep -v :)"
	else
		n=$((n + 1))
		echo "ok $n - a loop image # SKIP $(grep '^NO *loop' "$dir/limits")"
	fi
	is 'sweep their layers' exits 0 sweep
	is 'gc in the time of grace' exits 0 gc
	is 'keeps it' grep -q '^young  *1$' "$dir/out"
	is 'gc without' exits 0 gc --grace 0
	is 'removes it' grep -q '^removed  *1$' "$dir/out"
	is 'a bad time' exits 2 gc --grace soon
	is 'half of a running guest' exits 2 unify g1 --merged "$dir/m"
else
	n=$((n + 1))
	echo "ok $n - unify # SKIP $(grep '^NO' "$dir/out")"
fi

mkdir "$dir/state/cow/guests/g"
printf '{"template":"t","layers":["%032d"]}' 0 >"$dir/state/cow/guests/g/root.json"
is 'an option of another command' exits 2 --dry-run template delete t
is 'is not passed over' grep -q -e --dry-run "$dir/err"
is 'nor is -o' exits 2 -o json template delete t
is 'what is in use is not deleted' exits 1 --json-errors template delete t
is 'and is told so' grep -q '"error":"InUse".*stands on template t: g' "$dir/err"
rm -r "$dir/state/cow/guests/g"
for t in d:1 t in pipe fd fdd; do
	is "delete $t" exits 0 template delete $t
done
is 'sweep' exits 0 sweep
is 'leaves an empty store' test -z "$(find "$dir/state/cow" -mindepth 2 -type f)"
echo 3 >"$dir/state/cow/format"
is 'a newer format is refused' exits 1 template list
is 'with advice' grep -q 'upgrade cos' "$dir/err"

finish
