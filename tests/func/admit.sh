#!/bin/sh
# tests/func/admit.sh - what guests reserve together: bounded by the host and the over-commit policy
. "$(dirname "$0")/lib.sh"
CONF=$(mktemp)
echo '{"overcommit.memory": 10}' >"$CONF"
COSD_ARGS="--config $CONF"
cos_setup
cos_template
cpus=$("$COSCTL" capacity -o json | awk '/"resource": "cpu"/ { on = 1 } on && /"total"/ { gsub(/[^0-9]/, ""); print; exit }')
[ -n "$cpus" ] || cpus=$("$COSCTL" capacity -o json | tr -d ' \n' | sed 's/.*"reserved":[0-9]*,"resource":"cpu","total":\([0-9]*\).*/\1/')
sleeper() {
	"$COSCTL" create --template busybox "$@" -- sleep 1000
}
weight() { # GUEST: of its group, where 100 is cpu.share's default
	slot=$("$COSCTL" status -o json "$1" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	f=$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/$slot/cpu.shares" 2>/dev/null | head -1)
	if [ -n "$f" ]; then
		awk '{ print int($1 * 100 / 1024) }' "$f"
	else
		cat "$(find /sys/fs/cgroup -path "*/cos.$INSTANCE/$slot/cpu.weight" | head -1)"
	fi
}

# --- CPU ---
for v in cpu.reserve=-1 cpu.reserve=1025 cpu.reserve=x; do
	fails "$v is refused" 2 'cpu.reserve' sleeper bad "$v"
done
fails "so is more than the rate" 2 'is above cpu.rate' sleeper bad cpu.reserve=500m cpu.rate=250m
fails "and a reserve of idle time" 2 'cpu.reserve' sleeper bad cpu.reserve=500m cpu.idle=true
half=$((cpus / 2))
sleeper r1 "cpu.reserve=${half}m"
sleeper r2 "cpu.reserve=${half}m"
sleeper r3 cpu.reserve=10m
sleeper o1
ok "half of the CPUs" "$COSCTL" start r1
ok "and the other half" "$COSCTL" start r2
fails "no more" 6 'cpu.reserve=10m: guests that run have .*: 0 is left' "$COSCTL" start r3
like "the advice names the key" "$("$COSCTL" start r3 2>&1)" 'overcommit.cpu'
like "capacity tells" "$("$COSCTL" capacity -o csv | grep '^cpu')" ",$cpus,$cpus,$cpus"
"$COSCTL" stop --timeout 0 r2
ok "when one ends there is room" "$COSCTL" start r3
fails "set is bounded, too" 6 'guests that run have' "$COSCTL" set r3 "cpu.reserve=${cpus}m"
ok "up to what is left" "$COSCTL" set r3 "cpu.reserve=$((cpus / 4))m"
"$COSCTL" start o1
enough() { # r1 has half of all weights or more
	a=$(weight r1) b=$(weight r3) c=$(weight o1)
	[ $((a * 100 / (a + b + c))) -ge 49 ] && [ "$c" -ge 99 ] && [ "$c" -le 100 ]
}
ok "its weight keeps the half: $(weight r1) $(weight r3) $(weight o1)" enough
"$COSCTL" stop --timeout 0 r3
"$COSCTL" set r1 cpu.reserve=0
plain() {
	[ "$(weight r1)" = "$(weight o1)" ]
}
ok "without a reserve it is as others" plain
"$COSCTL" set r1 "cpu.reserve=${half}m"
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
r1_half() {
	a=$(weight r1) c=$(weight o1)
	[ $((a * 100 / (a + c))) -ge 49 ]
}
ok "another worker keeps it" r1_half
fails "and the bound" 6 'guests that run have' "$COSCTL" set o1 "cpu.reserve=${cpus}m"

# --- memory, a tenth of which may be reserved ---
total=$(awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo)
like "the policy is told" "$("$COSCTL" capacity -o csv | grep '^memory')" ",$total,$((total / 10)),"
"$COSCTL" create --template busybox m1 memory.max=max "memory.reserve=$((total / 5))" -- true
fails "more is refused" 6 "memory.reserve=.* may be reserved" "$COSCTL" start m1
echo '{"overcommit.memory": 90, "overcommit.cpu": 200}' >"$CONF"
kill -HUP "$(cat "$T/run/keep.pid")"
doubled() {
	"$COSCTL" capacity -o csv | grep "^cpu" | grep -q ",$cpus,$((cpus * 2)),"
}
ok "a reload changes the policy" await doubled
"$COSCTL" set r2 "cpu.reserve=${cpus}m"
ok "and then CPUs are promised twice" "$COSCTL" start r2
rm -f "$CONF"
plan_done
