#!/bin/sh
# tests/func/cp.sh - files into and out of guests: what goes where, hostile trees, and what is cut short
. "$(dirname "$0")/lib.sh"
for tool in busybox pgrep tar setpriv; do
	command -v "$tool" >/dev/null || { echo "1..0 # SKIP no $tool"; exit 0; }
done
cos_setup
cos_template
cp_() {
	timeout 60 "$COSCTL" cp "$@"
}
in_g() { # a shell command in the guest
	"$COSCTL" exec -T g -- sh -c "$1" </dev/null
}
copiers() { # processes of this daemon that copy
	pgrep -f -- "--state-dir $T/state .*guest (read|write)"
}
copying() {
	[ -n "$(copiers)" ]
}
idle() {
	[ -z "$(copiers)" ]
}
"$COSCTL" create --template busybox g memory.max=64M -- sleep 100000
fails "a guest that does not run" 3 'g is defined' cp_ g:/etc/passwd "$T/x"
fails "nor can it be written to" 3 'g is defined' cp_ "$0" g:/
"$COSCTL" start g
W=$T/w
mkdir "$W"
cd "$W" || exit 1

# --- what goes where ---

echo file >f
mkdir -p d/sub d/empty
echo below >d/sub/g
ln -s sub d/link
ln d/sub/g d/same
chmod 640 f
chmod 555 d/empty
touch -d '2001-02-03 04:05:06.789012345' f d/sub/g d/empty
ok "a file to a new name" cp_ f g:/root/new
is "its data" "$(in_g 'cat /root/new')" file
is "mode and time are kept, the owner is root" "$(in_g 'stat -c %a:%u:%g:%Y /root/new')" "640:0:0:$(stat -c %Y f)"
ok "a file into a directory" cp_ f g:/root
is "under its name" "$(in_g 'cat /root/f')" file
ok "a file over a file" cp_ d/sub/g g:/root/f
is "which has the new data" "$(in_g 'cat /root/f')" below
fails "to a directory that is not there" 1 'nosuch' cp_ f g:/nosuch/f
fails "a slash says that it is one" 1 'nosuch' cp_ f g:/root/nosuch/
ok "a directory to a new name" cp_ d g:/root/d2
ok "a directory into a directory" cp_ d g:/root
ok "once more, over itself" cp_ d g:/root
ok "what is in a directory" cp_ d/. g:/srv-new
is "each is whole" "$(in_g 'cd /root; cat d2/sub/g d/link/g /srv-new/same')" "below
below
below"
is "links stay links" "$(in_g 'readlink /root/d/link; stat -c %h /root/d/same')" "sub
2"
is "directories keep mode and time" "$(in_g 'stat -c %a:%Y /root/d/empty')" "555:$(stat -c %Y d/empty)"
ok "several into a directory" cp_ f d g:/tmp/
is "all are there" "$(in_g 'ls /tmp')" "d
f"
fails "several to a name" 1 'nosuch' cp_ f d g:/tmp/nosuch
fails "a directory over a file" 5 'stands where' cp_ d g:/root/f
in_g 'mkdir -p /root/into/f'
fails "a file over a directory of its name" 5 'a directory stands' cp_ f g:/root/into

in_g 'chmod 604 /root/new; chown 3:4 /root/new; cd /root/d; ln -s /etc/passwd abs'
ok "a file out of the guest" cp_ g:/root/new .
is "mode and time are kept, the owner is the caller" "$(stat -c %a:%u:%g:%y new)" "604:0:0:$(stat -c %y f)"
ok "a directory out of the guest" cp_ g:/root/d out
is "it came back the same" "$(cd out && cat sub/g same && readlink link abs && stat -c %a:%Y empty)" "$(
	cd d && cat sub/g same && readlink link && echo /etc/passwd && stat -c %a:%Y empty)"
is "a link of the guest is not followed here" "$(stat -c %F out/abs)" "symbolic link"
ok "with --follow-link it is followed there" cp_ -L g:/root/d/abs follow
is "to the guest's file" "$(cat follow)" "$(in_g 'cat /etc/passwd')"
ok "several out of guests" cp_ g:/root/new g:/root/d/sub out
is "into a directory" "$(cat out/new out/sub/g)" "file
below"
ok "a file that tells no length" cp_ g:/proc/version version
is "is read to its end" "$(cat version)" "$(in_g 'cat /proc/version')"
ok "the guest's own mounts are seen" in_g 'mkdir /m && mount -t tmpfs m /m && echo mounted >/m/f'
ok "out of them" cp_ g:/m/f m
ok "and into them" cp_ f g:/m/g
is "a tmpfs" "$(cat m; in_g 'cat /m/g')" "mounted
file"
ok "all of the guest" cp_ g:/ all
is "with its mounts" "$(cat all/m/f all/root/d/sub/g)" "mounted
below"
is "but not what the kernel shows" "$(ls all/proc all/sys)" "all/proc:

all/sys:"
fails "what is not there" 1 'No such file' cp_ g:/root/nosuch .
fails "what is not there, here" 1 'No such file' cp_ nosuch g:/root
fails "no guest on either side" 2 'one side has to be GUEST:PATH' cp_ f d
fails "guests on both" 2 'one side has to be GUEST:PATH' cp_ g:/root/f g:/root/x
fails "no such guest" 4 'nosuch' cp_ f nosuch:/
echo colon >a:b
ok "a colon in a name of the host" cp_ ./a:b g:/root/
is "with its directory" "$(in_g 'cat /root/a:b')" colon

# --- streams ---

tar c d | cp_ - g:/m
is "a tar stream into a directory" "$(in_g 'cat /m/d/sub/g')" below
fails "only into a directory" 1 'directory' sh -c "tar c d | '$COSCTL' cp - g:/root/f"
mkdir by-tar by-busybox
is "a tar stream out of the guest" "$(cp_ g:/root/d - | tar x -C by-tar && cat by-tar/d/sub/g)" below
is "busybox reads it too" "$(cp_ g:/root/d - | busybox tar x -C by-busybox -f - && cat by-busybox/d/sub/g)" below
fails "what is compressed is refused" 1 'not a tar archive' sh -c "tar cz d | '$COSCTL' cp - g:/m"
fails "what is cut off too" 1 'cut off' sh -c "tar c d | head -c 3000 | '$COSCTL' cp - g:/m"
tar c -P --transform 's,^d/sub/g$,../../etc/evil,' d/sub/g >dotdot.tar
fails "names that lead out" 1 '"\.\."' sh -c "'$COSCTL' cp - g:/m <dotdot.tar"
ln -s /etc l
tar c l >l.tar
rm l && mkdir l && echo evil >l/evil
tar rf l.tar l/evil
fails "a link in the way" 5 'stands where' sh -c "'$COSCTL' cp - g:/m <l.tar"
is "nothing came out of the directory" "$(in_g 'ls /etc/evil /evil 2>/dev/null')" ""
truncate -s 10G holes && echo end >>holes
ok "a file with holes" timeout 30 "$COSCTL" cp holes g:/m/
ok "and back" timeout 30 "$COSCTL" cp g:/m/holes back
is "has them" "$(stat -c %s back; tail -c 4 back; [ "$(stat -c %b back)" -lt 1000 ] && echo small)" "10737418244
end
small"
rm -f holes back

# --- owners and set-id bits ---

echo x >own
chown 1000:1001 own
chmod 6755 own
cp_ own g:/root/own1
cp_ -a own g:/root/own2
is "set-id bits and owners go only with --archive" "$(in_g 'stat -c %a:%u:%g /root/own1 /root/own2')" "755:0:0
6755:1000:1001"
cp_ g:/root/own2 own1
cp_ --archive g:/root/own2 own2
is "and come only with it" "$(stat -c %a:%u:%g own1 own2)" "755:0:0
6755:1000:1001"
chown 70000 own
fails "an owner that no guest has" 1 'outside of 0 to 65535' cp_ -a own g:/root/own3
is "and no such file" "$(in_g 'ls /root/own3 2>/dev/null')" ""
cp "$COSCTL" "$T/client" # where others can reach it
user() { # the client as user 1234 in a directory of his own
	mkdir -p "$T/user" && chown 1234 "$T/user" && chmod 711 "$T" "$W" && chmod 755 "$T/run"
	(cd "$T/user" && COS_SOCKET=$T/run/user.sock setpriv --reuid 1234 --regid 1234 --clear-groups timeout 60 "$T/client" "$@")
}
fails "another user's guest" 7 'belongs to user' user cp g:/etc/passwd .
"$COSCTL" set g owner=1234
ok "the owner's" user cp -a g:/root/own2 .
is "as the owner's file" "$(stat -c %a:%u:%g "$T/user/own2")" "755:1234:1234"
ok "and back" user cp own2 g:/root/own4
echo secret >"$T/secret" && chmod 600 "$T/secret"
fails "what the owner may not read" 1 'Permission denied' user cp "$T/secret" g:/root/secret
is "is not in the guest, not even in part" "$(in_g 'ls /root/secret 2>/dev/null')" ""
fails "where the owner may not write" 1 'Permission denied' user cp g:/etc/passwd "$T/state"

# --- guests that mean harm ---

in_g 'mkdir /evil; cd /evil; mkfifo fifo; echo x >good; ln -s ../../../../../../etc/cos-evil esc; mkdir "new
line"; echo y >"new
line/f"; printf "\033[31m" >"$(printf "\033[31m")"'
ok "fifos are not waited for" cp_ g:/evil .
is "the rest is there" "$(cat evil/good evil/*line/f)" "x
y"
is "what was left out is told" "$(cp_ g:/evil evil2 2>&1)" "cosctl: g:/evil: 1 left out: devices, fifos or sockets"
fails "a fifo alone" 2 'fifo' cp_ g:/evil/fifo .
fails "a device" 2 'device' cp_ g:/dev/null .
fails "into a link that leads nowhere good" 1 'No such file' cp_ f g:/evil/esc/x
is "nothing was made on the host" "$(ls /etc/cos-evil 2>&1 | grep -c 'No such')" 1
in_g 'ln -s /proc/1/root /evil/magic; ln -s /proc/1/cwd/etc/passwd /evil/magic2'
fails "magic links are not followed" 1 'Permission denied|Too many' cp_ g:/evil/magic/etc/passwd .
fails "nor at the end" 1 '' cp_ -L g:/evil/magic2 .
mkdir victim && echo mine >victim/.profile
in_g 'mkdir -p /v/victim2; echo evil >/v/.profile'
ok "a guest's directory goes below its own name" cp_ g:/v/victim2 victim
is "and touches nothing beside it" "$(cat victim/.profile)" mine
ln -s "$T/secret" victim/trap
in_g 'echo overwritten >/v/trap'
ok "a link at the destination" cp_ g:/v/trap victim
is "is replaced, not written through" "$(cat victim/trap "$T/secret")" "overwritten
secret"
fails "a fifo at the destination" 5 'neither a file nor a directory' sh -c "mkfifo ff; '$COSCTL' cp g:/v/trap ff"
fails "a device at the destination" 5 'neither a file nor a directory' cp_ g:/v/trap /dev/null
ok "which is still one" test -c /dev/null
"$COSCTL" exec g -- sh -c 'echo $$ >/grower; mkdir /grow; cd /grow; i=0; while [ $i -lt 200000 ]; do : >$i; i=$((i+1)); done' </dev/null >/dev/null 2>&1 &
grower=$!
await in_g '[ -e /grow/2000 ]'
ok "a directory that grows ends" cp_ g:/grow grow
ok "and has what was there" test -e grow/1999
"$COSCTL" exec g -- sh -c 'echo $$ >/churner; cd /grow; while :; do rm -f 1*; for i in 1 2 3 4 5 6 7 8 9; do : >1$i; done; done' </dev/null >/dev/null 2>&1 &
churner=$!
ok "one whose files come and go" cp_ g:/grow grow2
in_g 'kill $(cat /grower /churner)'
wait $grower $churner 2>/dev/null
in_g 'mkdir /deep; cd /deep; i=0; while [ $i -lt 300 ]; do mkdir d && cd d; i=$((i+1)); done'
fails "directories in directories in directories" 2 'nested deeper' cp_ g:/deep deep
rm -rf grow grow2 deep

# --- the process that copies ---

in_g 'head -c 20000000 /dev/zero >/big'
stall() { # a copy out that stands still; $reader and $client are its processes
	mkfifo stalled
	sleep 1000 <stalled &
	reader=$!
	"$COSCTL" cp g:/big - >stalled 2>"$W/stall.err" &
	client=$!
	await copying
	copier=$(copiers)
}
unstall() {
	kill $reader 2>/dev/null
	wait $reader $client 2>/dev/null
	st=$?
	rm -f stalled
}
stall
await grep -q '^Seccomp:.2' "/proc/$copier/status"
is "it has few capabilities, no new privileges and a filter" \
	"$(awk '/^(CapPrm|CapBnd|NoNewPrivs|Seccomp):/ { print $2 }' "/proc/$copier/status" | tr '\n' ' ')" \
	"000000000000001b 000000000000001b 1 2 "
guest=$("$COSCTL" list -o json g | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
ns() {
	readlink "/proc/$copier/ns/$1"
}
ns_of_guest() {
	readlink "/proc/$guest/ns/$1"
}
is "the guest's root and users" "$(ns mnt) $(ns user)" "$(ns_of_guest mnt) $(ns_of_guest user)"
is "but not its processes" "$(ns pid)" "$(readlink /proc/self/ns/pid)"
like "it stands in the guest's groups" "$(cat "/proc/$copier/cgroup")" ":memory:/.*$INSTANCE|^0::/.*$INSTANCE.*/exec"
is "the guest does not see it" "$(in_g 'grep -l "[g]uest.read" /proc/[0-9]*/cmdline 2>/dev/null')" ""
is "it has no descriptor but its pipes and what it reads" \
	"$(find "/proc/$copier/fd" -type l -exec readlink {} + | sed 's/:.*//' | sort -u | tr '\n' ' ')" "/ /big /dev/null pipe "
kill $client
ok "it ends with its client" await idle
unstall
stall
"$COSCTL" freeze g
kill $client
sleep 0.2
"$COSCTL" thaw g
ok "also when the guest was frozen" await idle
unstall
fails "no copy while it is frozen" 1 'frozen' sh -c "'$COSCTL' freeze g; '$COSCTL' cp g:/big .; s=\$?; '$COSCTL' thaw g; exit \$s"
stall
kill -9 "$copier"
unstall
is "a copier that is killed is told" "$st $(grep -c 'was killed' stall.err)" "1 1"
stall
"$COSCTL" stop --timeout 0 g
ok "it ends with its guest" await idle
unstall
is "which is told" "$st $(grep -c 'ended meanwhile' stall.err)" "3 1"
"$COSCTL" start g
stall
kill -9 "$(cat "$T/run/cosd.pid")"
ok "it ends with the daemon" await idle
unstall
is "which is told" "$st" 9
await "$COSCTL" version
head -c 100000 /dev/zero >half
mkfifo slow
tar c half >half.tar
(head -c 50000 half.tar && exec sleep 1000) >slow &
feeder=$!
"$COSCTL" cp - g:/root <slow &
client=$!
await in_g '[ -e /root/half ]'
kill $client
ok "a copy into the guest that is cut short ends" await idle
is "and leaves no file in part" "$(in_g 'ls /root/half 2>/dev/null')" ""
kill $feeder
wait $feeder $client 2>/dev/null

# --- its cost is the guest's ---

"$COSCTL" create --template busybox small memory.max=16M -- sleep 100000
"$COSCTL" start small
head -c 40000000 /dev/urandom >forty
ok "a file larger than the guest's memory" cp_ forty small:/forty
ok "comes back" cp_ small:/forty forty2
ok "the same" cmp forty forty2
"$COSCTL" exec small -- sh -c 'mkdir /m; mount -t tmpfs m /m' </dev/null
fails "its memory is bounded by the guest's limit" 1 'was killed|No space' cp_ forty small:/m/
"$COSCTL" delete --force small
rm -f forty forty2

# --- without a user namespace ---

"$COSCTL" create --template busybox raw userns=false -- sleep 100000
"$COSCTL" start raw
ok "into a guest of the host's users" cp_ d raw:/root/d
ok "and out" cp_ raw:/root/d raw
is "the same" "$(cat raw/sub/g)" below
fails "what the kernel shows cannot be replaced" 1 'kernel' cp_ f raw:/proc/sys/kernel/hostname
"$COSCTL" delete --force raw

"$COSCTL" delete --force g
ok "no process is left" idle
ok "no group of a guest is left" await sh -c "! find /sys/fs/cgroup -path '*$INSTANCE*' -name exec 2>/dev/null | grep -q ."
cd / || exit 1
plan_done
