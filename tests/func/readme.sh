#!/bin/sh
# tests/func/readme.sh - the commands of README.md work as they are printed there
#
# Those are the lines that begin with "# cosctl". One fails if its error is printed below it.
. "$(dirname "$0")/lib.sh"
cos_setup
PATH=$(dirname "$COSCTL"):$PATH

# usage: try COMMAND SAYS   SAYS: the line below it
try() {
	case $1 in *--type\ vm*)
		skip "$1" "a kernel and a template that the host may not have"
		return
		;;
	esac
	case $2 in
	"cosctl: "* | "wget: "*)
		out=$(sh -c "$1" 2>&1)
		ok "$1: fails" test $? != 0
		like "... as printed" "$(printf '%s\n' "$out" | head -n 1)" "^$2\$"
		;;
	*) ok "$1" sh -c "$1" ;;
	esac
}

tab=$(printf '\t')
command=
while IFS= read -r line; do
	line=${line#"$tab"}
	[ -z "$command" ] || try "$command" "$line" </dev/null
	command=
	case $line in "# cosctl "*) command=${line#"# "} ;; esac
done <"$TOP_SRCDIR/README.md"
ok "there were some" test "$tap_n" -gt 15
plan_done
