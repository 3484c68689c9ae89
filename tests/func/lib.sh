# tests/func/lib.sh - a private daemon for a functional test, and TAP in shell
#
# A test sources this file, calls cos_setup, makes its checks and ends with plan_done. $T is a directory of
# its own, $COSCTL the client (its socket is in COS_SOCKET), $COSD_ARGS further arguments of the daemon.
# Whatever happens, the trap ends the guests, the daemon and the mounts that this test made, and no others.

TOP_BUILDDIR=${TOP_BUILDDIR:-$(cd "$(dirname "$0")/../../build/obj" && pwd)}
TOP_SRCDIR=${TOP_SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
COSD=$TOP_BUILDDIR/cosd/cosd
COSCTL=$TOP_BUILDDIR/cosctl/cosctl
# With --enable-asan: what lives as long as a program is not freed at its end, and that is no finding.
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0"
tap_n=0
tap_failed=0

ok() { # DESCRIPTION COMMAND...: the command succeeds
	desc=$1
	shift
	tap_n=$((tap_n + 1))
	"$@" >"$T/ok.log" 2>&1
	st=$?
	if [ "$st" = 0 ]; then
		echo "ok $tap_n - $desc"
	else
		echo "not ok $tap_n - $desc"
		echo "# $* ended with $st"
		sed 's/^/# /' "$T/ok.log" | head -20
		tap_failed=$((tap_failed + 1))
	fi
}

is() { # DESCRIPTION GOT WANTED: equal texts
	tap_n=$((tap_n + 1))
	if [ "$2" = "$3" ]; then
		echo "ok $tap_n - $1"
	else
		echo "not ok $tap_n - $1"
		printf '# got:    %s\n# wanted: %s\n' "$2" "$3"
		tap_failed=$((tap_failed + 1))
	fi
}

like() { # DESCRIPTION TEXT ERE: the text has a line that matches
	tap_n=$((tap_n + 1))
	if printf '%s\n' "$2" | grep -Eq -- "$3"; then
		echo "ok $tap_n - $1"
	else
		echo "not ok $tap_n - $1"
		printf '%s\n' "$2" | sed 's/^/# got: /' | head -20
		echo "# wanted: $3"
		tap_failed=$((tap_failed + 1))
	fi
}

fails() { # DESCRIPTION STATUS ERE COMMAND...: exit status and a line of stderr
	desc=$1
	want=$2
	re=$3
	shift 3
	got=$("$@" 2>&1 >/dev/null)
	st=$?
	tap_n=$((tap_n + 1))
	if [ "$st" = "$want" ] && printf '%s\n' "$got" | grep -Eq -- "$re"; then
		echo "ok $tap_n - $desc"
	else
		echo "not ok $tap_n - $desc"
		echo "# $* ended with $st, wanted $want and /$re/"
		printf '%s\n' "$got" | sed 's/^/# /' | head -10
		tap_failed=$((tap_failed + 1))
	fi
}

skip() { # DESCRIPTION WHAT-IS-MISSING
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

plan_done() {
	echo "1..$tap_n"
	cos_teardown
	trap - EXIT
	[ "$tap_failed" = 0 ]
	exit $?
}

# Waits until COMMAND succeeds, at most 10 seconds.
await() {
	i=0
	until "$@" >/dev/null 2>&1; do
		i=$((i + 1))
		[ "$i" -lt 200 ] || return 1
		sleep 0.05
	done
}

cos_start_daemon() {
	# shellcheck disable=SC2086 # words
	"$COSD" --instance "$INSTANCE" --state-dir "$T/state" --runtime-dir "$T/run" ${COSD_ARGS:-} \
		>>"$T/cosd.log" 2>&1 </dev/null &
	await test -e "$T/run/cosd.pid" || { echo "Bail out! cosd does not start"; cat "$T/cosd.log"; exit 1; }
	await "$COSCTL" version || { echo "Bail out! cosd does not answer"; cat "$T/cosd.log"; exit 1; }
}

cos_setup() {
	[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
	T=$(mktemp -d "${TMPDIR:-/tmp}/cos-test.XXXXXX")
	INSTANCE=test-$$
	COS_SOCKET=$T/run/cosd.sock
	export COS_SOCKET
	trap 'cos_teardown; exit 1' EXIT INT TERM
	cos_start_daemon
}

cos_template() {
	"$COSCTL" template build busybox >"$T/template.log" 2>&1 || { cat "$T/template.log"; exit 1; }
}

cos_teardown() {
	[ -n "${T:-}" ] && [ -d "$T" ] || return 0
	"$COSCTL" delete --all --force >/dev/null 2>&1
	keeper=$(cat "$T/run/keep.pid" 2>/dev/null)
	[ -z "$keeper" ] || kill -TERM "$keeper" 2>/dev/null
	i=0
	while [ -n "$keeper" ] && readlink "/proc/$keeper/exe" >/dev/null && [ "$i" -lt 200 ]; do
		i=$((i + 1))
		sleep 0.05
	done
	! grep -q " $T/state " /proc/self/mountinfo || await umount "$T/state"
	[ -z "${KEEP_LOGS:-}" ] && rm -rf "$T"
	T=
}
