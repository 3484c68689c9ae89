#!/bin/sh
# tests/kern/fallback.sh - guests without the calls that only newer kernels have
. "$(dirname "$0")/../func/lib.sh"

# The mounts of process PID, without their numbers.
mounts_of() {
	sed 's/^[0-9]* [0-9]* //' "/proc/$1/mountinfo" | sort
}

check_guests() { # WHAT
	is "$1: a guest runs" "$("$COSCTL" run --rm --template busybox a -- sh -c 'id -u; exit 5'; echo $?)" \
		"0
5"
	is "$1: it writes over its layers" "$("$COSCTL" run --rm --template busybox a -- \
		sh -c 'rm /bin/vi && echo new >/etc/motd && cat /etc/motd && stat -c %u:%g /etc/motd')" \
		"new
0:0"
	ok "$1: a guest that stays" "$COSCTL" create --template busybox b -- sleep 1000
	ok "$1: starts" "$COSCTL" start b
	is "$1: the template is as it was" "$("$COSCTL" exec b -- sh -c 'ls /bin/vi; cat /etc/motd 2>&1')" \
		"/bin/vi
cat: can't open '/etc/motd': No such file or directory"
	like "$1: an overlay is its root" "$("$COSCTL" exec b -- cat /proc/self/mountinfo)" ' / / .* overlay '
	ok "$1: stop" "$COSCTL" stop --timeout 1 b
	ok "$1: delete" "$COSCTL" delete b
}

check_without() { # FEATURES
	COSD_ARGS="--without $1"
	cos_setup
	cos_template
	before=$(mounts_of "$(cat "$T/run/cosd.pid")")
	check_guests "without $1"
	is "without $1: no mount is left" "$(mounts_of "$(cat "$T/run/cosd.pid")")" "$before"
	cos_teardown
}

check_without overlay-layer-fd
check_without overlay-layer-fd,overlay-lowerdir-plus
# Asked for all, the daemon takes what the kernel has.
check_without nothing
plan_done
