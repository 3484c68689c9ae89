# tests/func/net-lib.sh - a host and an outside of it in network namespaces of their own
#
# The test runs in the host's; the outside is at the other end of the uplink up0. Programs of the host
# speak in a guest's place through nsenter. To be sourced first, with all arguments of the test.
if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
	unshare --net true 2>/dev/null || { echo "1..0 # SKIP needs network namespaces"; exit 0; }
	exec unshare --net sh "$0" inside
fi
. "$(dirname "$0")/lib.sh"
unshare --net sleep 1000 &
outside_pid=$!
NETCONF=
net_teardown() {
	kill $outside_pid
	rm -f "$NETCONF"
	cos_teardown
	exit 1
}
trap net_teardown EXIT INT TERM
other_net() {
	[ "$(readlink /proc/self/ns/net)" != "$(readlink /proc/$outside_pid/ns/net)" ]
}
i=0
until other_net || [ $i -gt 100 ]; do
	i=$((i + 1))
	sleep 0.05
done
outside() {
	nsenter --target "$outside_pid" --net "$@"
}
add_uplink() {
	ip link add up0 type veth peer name eth0 netns "$outside_pid"
	ip addr add 192.0.2.1/24 dev up0
	ip link set up0 up
	outside ip addr add 192.0.2.2/24 dev eth0
	outside ip link set eth0 up
	ip route add default via 192.0.2.2
}
# net_setup JSON: a daemon with that configuration, and the template
net_setup() {
	NETCONF=$(mktemp)
	echo "$1" >"$NETCONF"
	COSD_ARGS="--config $NETCONF"
	cos_setup
	trap net_teardown EXIT INT TERM
	cos_template
	table=cos.$(echo "$INSTANCE" | tr - /)
	cp "$TOP_SRCDIR/tests/func/net-send.pl" "$T/send"
	cp "$TOP_SRCDIR/tests/func/net-take.pl" "$T/take"
}
net_done() {
	kill $outside_pid
	rm -f "$NETCONF"
	plan_done
}

field() { # GUEST KEY
	"$COSCTL" status "$1" | sed -n "s/^$2  *//p"
}
sleeper() { # NAME KEY=VALUE...
	"$COSCTL" create --template busybox "$@" -- sleep 1000
}
within() { # GUEST COMMAND...: a program of the host in the guest's network
	p=$(field "$1" pid)
	shift
	nsenter --target "$p" --net "$@"
}
count() { # GUEST WAY WHAT
	"$COSCTL" stats -o json "$1" | awk -v way="\"net_$2\"" -v what="\"$3\"" \
		'index($0, way) { on = 1 } on && index($0, what) { gsub(/[^0-9]/, ""); print; exit }'
}
counts() { # GUEST WAY PACKETS BYTES
	[ "$(count "$1" "$2" packets)" = "$3" ] && [ "$(count "$1" "$2" bytes)" = "$4" ]
}
class() { # LINK GUEST: the guest's line of tc
	link=$("$COSCTL" status -o json "$2" | sed -n 's/.*"link": *"cos\([0-9]*\)".*/\1/p')
	slot=$("$COSCTL" status -o json "$2" | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
	[ -n "$link" ] && tc class show dev "$1" | grep " c05:$(printf %x $((slot + 16))) "
}
ifb() {
	ip -o link show type ifb | sed -n 's/.*: \(cosifb[0-9]*\):.*/\1/p' | head -1
}
stop_daemon() {
	keeper=$(cat "$T/run/keep.pid")
	kill -TERM "$keeper"
	await sh -c "! [ -e '$T/run/keep.pid' ]"
}
ip link set lo up
outside ip link set lo up
add_uplink
