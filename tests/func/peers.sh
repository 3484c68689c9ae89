#!/bin/sh
# tests/func/peers.sh - what those who come from other runtimes rely on, and no other test looks at
# shellcheck disable=SC1091,SC2016 # lib.sh; expanded in the guest
. "$(dirname "$0")/lib.sh"
cos_setup
cos_template

run() { # ARGUMENTS of cosctl run
	timeout 30 "$COSCTL" run --rm --template busybox "$@" 2>&1 </dev/null
}
inside() { # NAME COMMAND...
	timeout 30 "$COSCTL" exec "$@" 2>&1 </dev/null
}

# --- /dev/stdout and its kin can be opened anew, by whoever runs the command ----------------------

write='echo a >/dev/stdout; echo b >/proc/self/fd/2; cat </dev/stdin'
for key in userns=true userns=false; do
	for user in 0 1000; do
		is "$key: the first command's pipes are uid $user's" "$(run --user $user x $key -- sh -c "$write")" "a
b"
		"$COSCTL" create --template busybox --user $user g $key -- sh -c \
			'echo a >/dev/stdout; echo b >/dev/console; exec sleep 1000'
		"$COSCTL" start g
		has_both() {
			[ "$("$COSCTL" logs g | tr -d '\r' | tr '\n' ' ')" = "a b " ]
		}
		ok "$key: its console is uid $user's" await has_both
		is "$key: and so are the pipes of exec" "$(inside g sh -c "$write")" "a
b"
		is "$key: which bring what is put in" \
			"$(echo in | timeout 30 "$COSCTL" exec g -- cat /dev/stdin 2>&1)" in
		like "$key: a terminal is the user's and tty's" \
			"$(inside --tty g -- sh -c 'echo >/dev/stdout; stat -c "%u:%g %a" $(tty)')" \
			"^$user:5 620"
		"$COSCTL" delete --force g
	done
done

plan_done
