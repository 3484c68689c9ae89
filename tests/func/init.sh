#!/bin/sh
# tests/func/init.sh - guests that run their own init: up, down in order, poweroff and reboot inside
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
cos_setup
cos_template

state_is() { # NAME STATE
	[ "$("$COSCTL" list -o csv --no-headers --filter "name=$1" | cut -d, -f2)" = "$2" ]
}
pid_of() {
	"$COSCTL" status "$1" | sed -n 's/^pid *//p'
}
end_of() {
	"$COSCTL" status "$1" | sed -n 's/^last_end *//p'
}
rebooted() { # NAME OLDPID
	p=$(pid_of "$1")
	[ -n "$p" ] && [ "$p" != "$2" ]
}
# NAME UP: the life of a guest with its own init; UP is a command that succeeds when it is up.
life() {
	name=$1
	up=$2
	ok "$name starts" "$COSCTL" start "$name"
	ok "$name is up" await "$up" "$name"
	t=$(date +%s)
	ok "$name stops" "$COSCTL" stop "$name"
	ok "$name does so in less than 10 seconds" test $(($(date +%s) - t)) -lt 10
	like "$name ends by itself" "$(end_of "$name")" '^signal [12]$'
	"$COSCTL" start "$name"
	ok "$name stops while it starts" "$COSCTL" stop "$name"
	like "$name does that in order, too" "$(end_of "$name")" '^signal [12]$'
	"$COSCTL" start "$name"
	ok "$name is up again" await "$up" "$name"
	p=$(pid_of "$name")
	"$COSCTL" exec "$name" -- reboot >/dev/null 2>&1
	ok "reboot in $name starts it again" await rebooted "$name" "$p"
	ok "$name is up after that" await "$up" "$name"
	"$COSCTL" exec "$name" -- poweroff >/dev/null 2>&1
	ok "poweroff in $name stops it" await state_is "$name" defined
	is "$name ended by a halt" "$(end_of "$name")" "signal 2"
	ok "no events of a kill" test -z "$("$COSCTL" events | grep -E "(kill|stop-timeout) +$name ")"
}
login() { # NAME
	"$COSCTL" logs "$1" | tail -3 | grep -q "$1 login:"
}
missing_or_failed() { # DESCRIPTION
	if [ -n "$missing" ]; then
		skip "$1" "$missing"
	else
		ok "$1" false
	fi
}

# --- busybox ---
"$COSCTL" create --template busybox bb
bb_up() {
	"$COSCTL" logs bb | tail -1 | grep -q 'Please press Enter'
}
life bb bb_up
like "its log has the end" "$("$COSCTL" logs bb)" 'Requesting system poweroff'
"$COSCTL" set bb stop_signal=WINCH
"$COSCTL" start bb
ok "an init that does not understand" "$COSCTL" stop --timeout 1 bb
is "is killed when the time is over" "$(end_of bb)" "signal 9"
"$COSCTL" delete bb

# --- systemd ---
sd_up() {
	[ "$("$COSCTL" exec "$1" -- systemctl is-system-running 2>/dev/null)" = running ]
}
if debian_template systemd --init systemd; then
	"$COSCTL" create --template systemd sd init=guest
	life sd sd_up
	like "its log has the end" "$("$COSCTL" logs sd)" 'Reached target.*(System Reboot|Power.?[Oo]ff|Halt|final)'
	"$COSCTL" start sd
	await sd_up sd
	is "no unit has failed" "$("$COSCTL" exec sd -- systemctl --failed --no-legend)" ""
	is "it knows that it is in a container" "$("$COSCTL" exec sd -- systemd-detect-virt)" container-other
	ok "a login on the console" await login sd
	is "/run is a tmpfs" "$("$COSCTL" exec sd -- stat -f -c %T /run)" tmpfs
	id1=$("$COSCTL" exec sd -- cat /etc/machine-id)
	"$COSCTL" create --template systemd sd2
	"$COSCTL" start sd2
	await sd_up sd2
	id2=$("$COSCTL" exec sd2 -- cat /etc/machine-id)
	like "a machine-id of its own" "$id1" '^[0-9a-f]{32}$'
	ok "that no other guest has" test "$id1" != "$id2"
	"$COSCTL" exec sd -- sh -c 'printf "[Service]\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c \"echo stopped >/var/in-order\"\n" \
		>/etc/systemd/system/probe.service; systemctl start probe'
	ok "both stop" "$COSCTL" stop sd sd2
	"$COSCTL" start sd
	await sd_up sd
	is "services are stopped in order" "$("$COSCTL" exec sd -- cat /var/in-order)" stopped
	"$COSCTL" freeze sd
	ok "a frozen one stops in order, too" "$COSCTL" stop sd
	is "by itself" "$(end_of sd)" "signal 2"

	# What is counted for each user of the host must not be shared by guests: perl has no inotify, but syscall().
	case $(uname -m) in
	x86_64) nr=294 ;;
	aarch64) nr=26 ;;
	*) nr= ;;
	esac
	"$COSCTL" start sd sd2
	await sd_up sd
	await sd_up sd2
	if [ -n "$nr" ]; then
		"$COSCTL" exec sd -- perl -e "1 while syscall($nr, 0) >= 0; open F, '>/run/full'; sleep 1000" &
		user=$!
		ok "a guest takes all inotify instances that it can get" await "$COSCTL" exec sd -- test -e /run/full
		ok "the host still gets some" perl -e "exit(syscall($nr, 0) < 0)"
		ok "and so does another guest" "$COSCTL" exec sd2 -- perl -e "exit(syscall($nr, 0) < 0)"
		kill $user
		wait $user 2>/dev/null
	else
		skip "inotify instances" "the number of inotify_init1 on this machine"
	fi
	"$COSCTL" delete --force sd sd2
else
	missing_or_failed "systemd"
fi

# --- sysvinit ---
if debian_template sysvinit --init sysvinit; then
	"$COSCTL" create --template sysvinit sv
	sv_up() {
		[ "$("$COSCTL" exec "$1" -- /sbin/runlevel 2>/dev/null)" = "N 2" ]
	}
	life sv sv_up
	like "its log has the end" "$("$COSCTL" logs sv)" 'Will now (halt|restart|switch off)'
	"$COSCTL" start sv
	await sv_up sv
	ok "a login on the console" await login sv
	"$COSCTL" set sv stop_signal=PWR
	ok "its other word for halt" "$COSCTL" stop sv
	is "is understood" "$(end_of sv)" "signal 2"
else
	missing_or_failed "sysvinit"
fi
plan_done
