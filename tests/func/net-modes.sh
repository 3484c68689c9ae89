#!/bin/sh
# tests/func/net-modes.sh - guests on bridges, beside the uplink, and in the host's network
. "$(dirname "$0")/net-lib.sh"
# The uplink is a port of the host's own bridge br0, which has its address.
ip addr del 192.0.2.1/24 dev up0
ip link add br0 type bridge
ip link set up0 master br0
ip link set br0 up
ip addr add 192.0.2.1/24 dev br0
ip route replace default via 192.0.2.2
net_setup '{"net.pool": "10.86.0.0/24", "net.pool6": "fd86::/64", "net.cap": "100Mbit", "net.uplink": "up0"}'
mac_of() {
	within "$1" ip -o link show eth0 | sed -n 's/.*link.ether \([0-9a-f:]*\).*/\1/p'
}
link_of() {
	"$COSCTL" status -o json "$1" | sed -n 's/.*"link": *"\([^"]*\)".*/\1/p'
}
spoofed() {
	nft list counter bridge "$table" spoofed | sed -n 's/.*packets \([0-9]*\).*/\1/p'
}

reach() { # GUEST ADDRESS
	i=0
	until "$COSCTL" exec "$1" -- ping -c 1 -W 1 "$2" >/dev/null 2>&1; do
		i=$((i + 1))
		[ $i -lt 10 ] || return 1
	done
}

# --- keys that do not go together ---
refused() { # WHAT PATTERN ARGS...
	what=$1 pattern=$2
	shift 2
	fails "$what" 2 "$pattern" sleeper bad "$@"
}
refused "net.bridge without the mode" 'net.bridge: needs net.mode=bridge' net.bridge=br0
refused "a bridge's name with a slash" 'not the name of a link' net.mode=bridge net.bridge=../x
refused "and one that is too long" 'not the name of a link' net.mode=bridge net.bridge=abcdefghijklmnop
refused "an address with a length from the pool" 'has a length' 'net.address=["10.86.0.9/24"]'
refused "and one without on a bridge of the host" 'needs the length' net.mode=bridge net.bridge=br0 'net.address=["192.0.2.9"]'
refused "a gateway of the pool" 'net.gateway' 'net.gateway=["10.86.0.1"]'
refused "a gateway elsewhere" 'not in the network' net.mode=macvlan 'net.address=["192.0.2.9/24"]' 'net.gateway=["10.0.0.1"]'
refused "addresses in the host's network" 'no meaning' net.mode=host 'net.address=["192.0.2.9"]'
refused "ports without an address of the pool" 'net.forward: needs' net.mode=macvlan 'net.forward=[{"proto":"tcp","host":80}]'
refused "peers on a bridge" 'net.peers: needs' net.mode=bridge 'net.peers=[]'

# --- cosd's own bridge ---
sleeper b1 net.mode=bridge net.ceil=20Mbit
sleeper b2 net.mode=bridge
sleeper r1
ok "guests on a bridge" "$COSCTL" start b1 b2 r1
like "have addresses of the pool, with its network" "$("$COSCTL" exec b1 -- ip -4 addr show eth0)" 'inet 10\.86\.0\.[0-9]*/24'
is "their links are ports" "$(ip -o link show master "$(ip -o link show type bridge | sed -n 's/.*: \(cosbr[0-9]*\):.*/\1/p')" | wc -l)" 2
b1=$(field b1 ipv4) b2=$(field b2 ipv4) r1=$(field r1 ipv4)
ok "they reach each other" reach b1 "$b2"
like "directly" "$("$COSCTL" exec b1 -- ip neigh)" "$b2 .*$(mac_of b2)"
ok "and the host" reach b1 10.86.0.1
ok "and a routed guest" reach b1 "$r1"
ok "which reaches them" reach r1 "$b1"
ok "and the outside" reach b1 192.0.2.2
ok "by IPv6, too" reach b1 "$(field r1 ipv6)"
out_p=$(count b1 out packets)
out_b=$(count b1 out bytes)
within b1 perl "$T/send" 0 192.0.2.2 5000 50 1000
ok "what leaves counts" await counts b1 out $((out_p + 50)) $((out_b + 50 * 1042))
in_p=$(count b2 in packets)
in_b=$(count b2 in bytes)
within b1 perl "$T/send" 0 "$b2" 5000 30 500
arrived() { # neighbours also ask for each other's MAC
	[ $(($(count b2 in packets) - in_p)) -ge 30 ] && [ $(($(count b2 in bytes) - in_b)) -ge $((30 * 542)) ]
}
ok "and what arrives from a neighbour" await arrived
like "their classes are as others'" "$(class up0 b1)" 'ceil 20Mbit'
before=$(spoofed)
within b1 ip addr add 10.86.0.200/32 dev eth0
within b1 perl "$T/send" 10.86.0.200 192.0.2.2 9 5 100
within b1 perl "$T/send" 203.0.113.9 "$b2" 9 5 100
is "forged sources are dropped" "$(($(spoofed) - before))" 10
mac=$(mac_of b1)
within b1 ip link set eth0 address 02:c0:05:00:00:99
within b1 perl "$T/send" 0 "$b2" 9 3 100
more_spoofed() {
	[ $(($(spoofed) - before)) -gt 10 ]
}
ok "and so are forged MACs" await more_spoofed
fails "which reach nobody" 1 '' "$COSCTL" exec b1 -- ping -c 1 -W 1 "$b2"
within b1 ip link set eth0 address "$mac"
within b1 ip addr del 10.86.0.200/32 dev eth0
ok "the right one does" reach b1 "$b2"

# What a guest says of others' addresses, and of the way out, does not reach its neighbours.
before=$(spoofed)
# shellcheck disable=SC2016 # perl's variables
within b1 perl -e 'use Socket;
	socket(my $s, 10, SOCK_RAW, 58) or die $!; # AF_INET6, ICMPv6
	setsockopt($s, 41, 18, pack("i", 255)) or die $!; # IPV6_MULTICAST_HOPS
	setsockopt($s, 41, 17, pack("i", 0 + $ARGV[0])) or die $!; # IPV6_MULTICAST_IF
	my $all = Socket::pack_sockaddr_in6(0, Socket::inet_pton(10, "ff02::1"), 0 + $ARGV[0]);
	send($s, pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0), 0, $all) or die $!;' \
	"$(within b1 ip -o link show eth0 | cut -d: -f1)"
more_than_before() {
	[ "$(spoofed)" -gt "$before" ]
}
ok "a guest's router advertisement is dropped" await more_than_before
is "and is nobody's way" "$(within b2 ip -6 route show proto ra)" ""
before=$(spoofed)
within b1 sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding && echo 1 >/proc/sys/net/ipv6/conf/eth0/proxy_ndp' &&
	within b1 ip -6 neigh add proxy fe80::99 dev eth0
"$COSCTL" exec b2 -- ping -c 2 -W 1 fe80::99%eth0 >/dev/null 2>&1
ok "so is its answer for an address of another" await more_than_before
is "which nobody believes" "$(within b2 ip -6 neigh show fe80::99 | grep -c lladdr)" 0
within b1 ip -6 neigh del proxy fe80::99 dev eth0
within b1 sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding'
b2_6=$(field b2 ipv6)
within b1 ip -6 neigh flush dev eth0
ok "its own still is believed" reach b2 "$(field b1 ipv6)"
ok "and others' are by it" reach b1 "$b2_6"
"$COSCTL" set b1 net.pps=10
own=$(count b2 in packets)
within b1 perl "$T/send" 0 "$b2" 9 500 10
few() {
	[ $(($(count b2 in packets) - own)) -lt 100 ]
}
ok "net.pps holds on a bridge" few
"$COSCTL" set b1 net.pps=max
"$COSCTL" set b1 'net.forward=[{"proto":"tcp","host":8080,"guest":80}]'
"$COSCTL" exec b1 -- sh -c 'echo hello | nc -l -p 80' &
served() {
	[ "$(outside busybox nc -w 2 192.0.2.1 8080 </dev/null)" = hello ]
}
ok "ports of the host lead there" await served
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "the next worker knows them" reach b1 192.0.2.2
ip link del "$(ip -o link show type bridge | sed -n 's/.*: \(cosbr[0-9]*\):.*/\1/p')"
ok "a bridge that is deleted is made again" reach b1 "$b2"
ok "with the way to the outside" reach b1 192.0.2.2
"$COSCTL" set b2 net.mode=routed
"$COSCTL" restart --timeout 0 b2
like "a guest changes its mode at a start" "$("$COSCTL" exec b2 -- ip -4 addr show eth0)" "inet $b2/32"
within b1 ip neigh flush dev eth0
ok "and keeps its address" reach b1 "$b2"
"$COSCTL" set b1 net.mode=none net.ceil= net.forward=
own=$(count b1 out packets)
ok "what is set for later" "$COSCTL" exec b1 -- ping -c 1 -W 1 192.0.2.2
worker=$(cat "$T/run/cosd.pid")
kill -9 "$worker"
await sh -c "[ \"\$(cat '$T/run/cosd.pid')\" != $worker ] && '$COSCTL' version"
ok "is later, also for another worker" reach b1 192.0.2.2
"$COSCTL" stop --timeout 0 b1
no_route() {
	[ -z "$(ip route show "$b1")" ]
}
ok "its route goes with it" await no_route

# --- a bridge of the host ---
sleeper h1 net.mode=bridge net.bridge=nosuch
fails "a bridge that is not there" 2 'nosuch is no bridge' "$COSCTL" start h1
"$COSCTL" set h1 net.bridge=up0
fails "a link that is none" 2 'up0 is no bridge' "$COSCTL" start h1
ip link add br1 type bridge
"$COSCTL" set h1 net.bridge=br1
fails "one that does not have the uplink" 1 'up0 is no port of br1' "$COSCTL" start h1
ip link del br1
"$COSCTL" set h1 net.bridge=br0 'net.address=["192.0.2.50/24"]' 'net.gateway=["192.0.2.2"]' net.ceil=30Mbit
ok "one that has" "$COSCTL" start h1
ok "the guest is beside the host" await outside busybox ping -c 1 -W 1 192.0.2.50
ok "and reaches it" reach h1 192.0.2.1
like "with the way out that was asked for" "$("$COSCTL" exec h1 -- ip route)" 'default via 192.0.2.2'
out_p=$(count h1 out packets)
out_b=$(count h1 out bytes)
within h1 perl "$T/send" 0 192.0.2.2 5000 50 1000
left() { # the guest's own reports of multicast groups come when they like
	[ $(($(count h1 out packets) - out_p)) -ge 50 ] && [ $(($(count h1 out packets) - out_p)) -le 55 ] &&
		[ $(($(count h1 out bytes) - out_b)) -ge $((50 * 1042)) ]
}
ok "what leaves by the uplink is in its class" await left
in_p=$(count h1 in packets)
in_b=$(count h1 in bytes)
outside perl "$T/send" 0 192.0.2.50 5000 50 1000
ok "and so is what arrives" await counts h1 in $((in_p + 50)) $((in_b + 50 * 1042))
before=$(spoofed)
within h1 perl "$T/send" 203.0.113.9 192.0.2.2 9 5 100
is "forged sources are dropped" "$(($(spoofed) - before))" 5
sleeper h2 net.mode=bridge net.bridge=br0
ok "without an address it has to find one" "$COSCTL" start h2
within h2 ip addr add 192.0.2.60/24 dev eth0
ok "any will do" await outside busybox ping -c 1 -W 1 192.0.2.60
within h2 ip link set eth0 address 02:c0:05:00:00:98
fails "with its own MAC" 1 '' outside busybox ping -c 1 -W 1 192.0.2.60
like "guests have no say in the bridge's tree" "$(ip -d link show "$(link_of h1)")" 'guard on'
"$COSCTL" delete --force h1 h2

# --- beside the uplink ---
ip link set up0 nomaster
ip addr flush dev br0
ip link del br0
ip addr add 192.0.2.1/24 dev up0
ip route replace default via 192.0.2.2
sleeper m1 net.mode=macvlan 'net.address=["192.0.2.70/24"]' 'net.gateway=["192.0.2.2"]'
ok "a guest beside the uplink" "$COSCTL" start m1
ok "is reached from outside" await outside busybox ping -c 1 -W 1 192.0.2.70
ok "and reaches it" reach m1 192.0.2.2
fails "it has no limits" 1 'net.ceil needs a network that cosd shapes: net.mode is macvlan' "$COSCTL" set m1 net.ceil=1Mbit
fails "nor counters" 1 '' sh -c "'$COSCTL' stats -o json m1 | grep net_out"
cat >"$T/steal" <<'PERL'
use Socket;
my ($to, $class, $n) = @ARGV;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
setsockopt($s, SOL_SOCKET, 12, pack("I", $class)) or die "SO_PRIORITY: $!";
for (1 .. $n) { send($s, "x" x 100, 0, pack_sockaddr_in(9, inet_aton($to))) or die "send: $!"; }
PERL
slot=$("$COSCTL" status -o json r1 | sed -n 's/.*"slot": *\([0-9]*\).*/\1/p')
out_p=$(count r1 out packets)
within m1 perl "$T/steal" 192.0.2.2 $((0xc050000 + 16 + slot)) 50
is "and cannot use another's class" "$(count r1 out packets)" "$out_p"
"$COSCTL" restart --timeout 0 m1
ok "it can be restarted" await outside busybox ping -c 1 -W 1 192.0.2.70
"$COSCTL" delete --force m1

# --- the host's network ---
sleeper n1 net.mode=host
ok "a guest in the host's network" "$COSCTL" start n1
is "sees the host's links" "$("$COSCTL" exec n1 -- ls /sys/class/net | sort)" "$(ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/' | sort)"
is "is in its namespace" "$(readlink "/proc/$(field n1 pid)/ns/net")" "$(readlink /proc/self/ns/net)"
fails "cannot change it" 2 'not permitted' "$COSCTL" exec n1 -- ip link set lo down
fails "nor what sysfs has" 1 '' "$COSCTL" exec n1 -- sh -c 'echo 1400 >/sys/class/net/up0/mtu'
fails "and has no limits of a network" 1 'net.rate needs a network that cosd shapes: net.mode is host' "$COSCTL" set n1 net.rate=1Mbit
mkdir "$T/shared"
sleeper n2 net.mode=host "binds=[{\"source\":\"$T/shared\",\"target\":\"/mnt\"}]"
ok "also one with binds" "$COSCTL" start n2
is "is there" "$(readlink "/proc/$(field n2 pid)/ns/net")" "$(readlink /proc/self/ns/net)"
like "and one that is the host's root" "$("$COSCTL" run --rm --template busybox n3 net.mode=host userns=false -- ls /sys/class/net)" up0

"$COSCTL" delete --force --all
stop_daemon
is "nothing is left" "$(ip -o link | grep -c cos)$(nft list ruleset | grep -c cos)$(ip route | grep -c 10.86)" 000
net_done
