#!/bin/sh
# tests/func/templates.sh - templates that boot: Debian by mmdebstrap, what is in them and what is left of failures
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
cos_setup
COWFS=$TOP_BUILDDIR/cow-fs/cow-fs
STORE=$T/state/cow

under_work() {
	find "$STORE/tmp" "$STORE/trash" -mindepth 1
}

fails "an unknown kind" 2 'not a kind of template: busybox, debian' "$COSCTL" template build suse
fails "a suite that is an option" 2 'suite: "-x" is not of the form' "$COSCTL" template build debian --suite=-x
fails "a suite that is a path" 2 'is not of the form' "$COSCTL" template build debian --suite ../sid
fails "an unknown init" 2 'not one of systemd, sysvinit, none' "$COSCTL" template build debian --init upstart
fails "packages that are options" 2 'include: not names' "$COSCTL" template build debian --include bash,-o=x
fails "packages that are paths" 2 'include: not names' "$COSCTL" template build debian --include ./x.deb
fails "an empty package" 2 '/include' "$COSCTL" template build debian --include bash,,dash
fails "options of another kind" 2 'are for building debian' "$COSCTL" template build busybox --init none
fails "a name that is none" 2 'not the name of a template' "$COSCTL" template build debian A/B
is "and nothing is left of them" "$("$COSCTL" template list -o name)$(under_work)" ""

without() { # COMMAND...: as if mmdebstrap were not installed
	unshare -m sh -c 'for f in /usr/local/bin /usr/bin /bin /usr/sbin; do
			[ ! -e "$f/mmdebstrap" ] || mount --bind /dev/null "$f/mmdebstrap" || exit 99
		done
		exec "$@"' without "$@"
}
out=$(without "$COWFS" --state-dir "$T/state" template build debian --ids 1879048192 2>&1)
like "without mmdebstrap" "$out" 'mmdebstrap is not installed'
is "it says what to do, in three lines" "$(echo "$out" | wc -l):$(echo "$out" | tail -1)" "3:  install the package mmdebstrap"
fails "by hand it needs ids" 2 'need user ids' "$COWFS" --state-dir "$T/state" template build debian

# --- a device that a profile gives ---
cos_template
devices=$(tr -d '\n\t' <"$TOP_SRCDIR/profiles/nesting.json" | sed 's/^{"devices": *//; s/}$//')
is "no /dev/fuse by default" "$("$COSCTL" run --rm --template busybox f -- ls /dev | grep -c fuse)" 0
is "with the profile nesting it is there" \
	"$("$COSCTL" run --rm --template busybox f "devices=$devices" -- stat -c %t:%T:%a:%u /dev/fuse)" a:e5:666:0
if grep -qw fuse /proc/filesystems; then
	ok "and opens" "$COSCTL" run --rm --template busybox f "devices=$devices" -- sh -c ': <>/dev/fuse'
else
	skip "and opens" "fuse in the kernel"
fi
"$COSCTL" template delete busybox

if ! debian_build systemd --init systemd; then
	if [ -n "$missing" ]; then
		skip "building Debian" "$missing"
	else
		ok "building Debian" false
	fi
	plan_done
fi
ok "Debian is built" true
like "with what the host's apt has" "$(head -1 "$STORE/log/systemd.log")" '^mmdebstrap .*--variant=minbase'
is "nothing is left beside it" "$(under_work)" ""
root=$(echo "$STORE"/layers/*/root)
is "one layer" "$(ls "$STORE/layers" | wc -l):$(ls "$root/../" | tr '\n' ' ')" "1:meta.json root "
is "an empty machine-id" "$(stat -c %s "$root/etc/machine-id")" 0
is "no keys of ssh" "$(find "$root/etc" -name 'ssh_host_*')" ""
is "no lists or packages of apt" "$(find "$root/var/lib/apt/lists" "$root/var/cache/apt" -type f ! -name lock)" ""
is "nothing of the host's identity" "$(ls "$root/etc/hostname" "$root/etc/resolv.conf" 2>/dev/null)" ""
is "no device" "$(find "$root" -type b -o -type c -o -type s)" ""
is "no owner out of a guest's ids" "$(find "$root" -uid +65533 -o -gid +65533)" ""
is "no settings of the build" "$(ls "$root/etc/apt/apt.conf.d" "$root/etc/dpkg/dpkg.cfg.d" | grep -i mmdebstrap)" ""
ok "its own mirror" grep -q '^deb http' "$root/etc/apt/sources.list"
fails "a name that is taken" 5 'there is a template' "$COSCTL" template build debian systemd

fails "a package that is not there" 1 'mmdebstrap: .*nosuchpackage' \
	"$COSCTL" template build debian broken --include nosuchpackage
ok "its log is kept" grep -q nosuchpackage "$STORE/log/broken.log"
fails "a release that is not there" 1 'mmdebstrap: .*nosuch' "$COSCTL" template build debian broken --suite nosuch
is "nothing is left of both" "$("$COSCTL" template list -o name)$(under_work)" systemd

# --- killed, and given up ---
IDS=1879048192 # of nobody on this host, it is to be hoped
builders() {
	ps -eo pid=,uid= | awk -v base="$1" '$2 >= base && $2 < base + 65536'
}
gone() {
	[ -z "$(builders "$1")" ]
}
under_way() { # NAME
	grep -q "I: extracting archives" "$STORE/log/$1.log" 2>/dev/null
}
"$COWFS" --state-dir "$T/state" template build debian --name killed --ids $IDS >/dev/null 2>&1 &
pid=$!
i=0
until under_way killed || [ $i -gt 600 ]; do i=$((i + 1)); sleep 0.1; done
like "scripts run with ids of their own" "$(builders $IDS)" '^ *[0-9]+ +18790'
kill -KILL $pid
wait $pid 2>/dev/null
ok "a build that is killed leaves no process" await gone $IDS
is "and no template" "$("$COSCTL" template list -o name)" systemd
ok "what it leaves on disk" test -n "$(under_work)"
ok "is swept" "$COWFS" --state-dir "$T/state" sweep
is "all of it" "$(under_work)" ""
is "and nothing is mounted" "$(grep -c "$T/state/cow" /proc/self/mountinfo)" 0

"$COSCTL" template build debian given-up >/dev/null 2>&1 &
pid=$!
i=0
until under_way given-up || [ $i -gt 600 ]; do i=$((i + 1)); sleep 0.1; done
kill -TERM $pid
wait $pid 2>/dev/null
swept() {
	[ -z "$(under_work)" ]
}
ok "one whose client has gone is ended and swept" await swept
is "without a template" "$("$COSCTL" template list -o name)" systemd

# --- a guest of it, and one inside the guest ---
"$COSCTL" create --template systemd deb -- sh -c 'cat /etc/os-release; exec sleep 1000'
ok "a guest with a command needs no init" "$COSCTL" start deb
is_debian() {
	"$COSCTL" logs deb | grep -q '^ID=debian'
}
ok "it is Debian" await is_debian
"$COSCTL" delete --force deb

if ! debian_template podman --include podman,crun,busybox-static; then
	if [ -n "$missing" ]; then
		skip "podman in a guest" "$missing"
	else
		ok "podman in a guest" false
	fi
	plan_done
fi
"$COSCTL" create --template podman pod
ok "a guest with podman" "$COSCTL" start pod
is_up() { # degraded: services of podman's want the settings below first
	"$COSCTL" exec pod -- systemctl is-system-running 2>/dev/null | grep -Eq 'running|degraded'
}
ok "reaches its target" await is_up
"$COSCTL" exec pod -- sh -c 'mkdir -p /etc/containers /root/img/bin
	printf "[storage]\ndriver=\"vfs\"\nrunroot=\"/run/containers/storage\"\ngraphroot=\"/var/lib/containers/storage\"\n" \
		>/etc/containers/storage.conf
	printf "[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n" >/etc/containers/containers.conf
	cp /bin/busybox /root/img/bin/sh
	tar -C /root/img -c . | podman import - inner' >"$T/podman.log" 2>&1
out=$("$COSCTL" exec pod -- podman run --rm --network=none inner sh -c 'echo inside; sh --help >/dev/null 2>&1; exit 23' 2>>"$T/podman.log")
is "podman runs a container in it, and passes its status on" "$?" 23
is "and its output" "$out" inside
[ "$out" = inside ] || sed 's/^/# /' "$T/podman.log"
is "a second namespace of users is not needed, but can be had" \
	"$("$COSCTL" exec pod -- unshare -U -r id -u 2>&1)" 0
ok "the guest stops in order" "$COSCTL" stop pod
like "by itself" "$("$COSCTL" status pod)" 'last_end +signal 2'
plan_done
