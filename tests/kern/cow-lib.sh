# tests/kern/cow-lib.sh - what the tests that call cow-fs share; sourced
cowfs=${COW_FS:-${TOP_BUILDDIR:-.}/cow-fs/cow-fs}
n=0 failed=0

# usage: is NAME COMMAND...   the command succeeds
is() {
	name=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		sed 's/^/# /' "$dir/out" "$dir/err"
		failed=1
	fi
}

# usage: exits STATUS ARG...   cow-fs with ARG ends with STATUS
exits() {
	want=$1
	shift
	"$cowfs" --state-dir "$dir/state" "$@" >"$dir/out" 2>"$dir/err"
	status=$?
	[ $status -eq "$want" ]
}

# usage: scratch NAME   makes $dir, with a state directory in it; it goes at the end, with $dir/m unmounted
scratch() {
	[ -x "$cowfs" ] || { echo "1..0 # SKIP $cowfs is not built"; exit 0; }
	[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
	dir=$(mktemp -d "/tmp/$1.XXXXXX") || exit 99
	trap 'umount "$dir/m" 2>/dev/null; rm -rf "$dir"' EXIT
	trap 'exit 99' HUP INT TERM
	mkdir -m 700 "$dir/state"
}

# usage: finish   the plan, and the exit status
finish() {
	echo "1..$n"
	exit $failed
}
