#!/bin/sh
# tests/func/vm-net.sh - machines in the network: addresses, rates, counters, forged sources, what is left
. "$(dirname "$0")/net-lib.sh"
[ -e /dev/kvm ] || modprobe kvm-amd 2>/dev/null || modprobe kvm-intel 2>/dev/null
[ -e /dev/kvm ] || { echo "1..0 # SKIP no /dev/kvm"; kill $outside_pid; trap - EXIT; exit 0; }
ip link set up0 mtu 9000
outside ip link set eth0 mtu 9000
net_setup '{"net.pool": "10.88.0.0/24", "net.pool6": "fd88::/64", "net.cap": "100Mbit"}'

ping_of() { # NAME COUNT SIZE KEY=VALUE...: a machine that asks the outside for echoes
	name=$1
	line="test=ping to=192.0.2.2 count=$2 size=$3"
	shift 3
	"$COSCTL" create --type vm --kernel "$TOP_BUILDDIR/tests/vmm/guest" --cmdline "$line" "$name" \
		vm.memory=64M "$@"
}
says() { # GUEST WORDS in its log
	"$COSCTL" logs "$1" | grep -q -- "$2"
}
link_of() {
	"$COSCTL" status -o json "$1" | sed -n 's/.*"link": *"\([^"]*\)".*/\1/p'
}
msec() {
	echo $(($(date +%s%N) / 1000000))
}

classes() {
	tc class show dev up0 | wc -l
}
before=$(classes)
ping_of m1 1 56
ok "a machine with a card starts" "$COSCTL" start m1
ok "it finds the gateway" await says m1 gateway
ok "its card has the uplink's MTU" says m1 'mtu 9000'
ok "it gets an answer from outside" await says m1 'echoes 1'
is "from an address of the pool" "$("$COSCTL" status m1 | sed -n 's/^ipv4 *//p')" 10.88.0.2
ping_of m2 300 1000 net.ceil=2Mbit
began=$(msec)
"$COSCTL" start m2
link=$(link_of m2)
like "its link is a tap with its name" "$(ip -d link show "$link")" 'alias m2'
like "in the instance's group" "$(ip -o link show "$link")" ' group '
ok "many answers" await says m2 'echoes 300'
took=$(($(msec) - began))
ok "no faster than the ceiling ($took ms)" [ "$took" -ge 1200 ]
sent() {
	"$COSCTL" usage -o json m2 | sed -n 's/.*"net_out_bytes": *\([0-9]*\).*/\1/p' | grep -Eq '^3[0-9]{5}$'
}
ok "the ledger knows what it sent" await sent
link_gone() {
	! ip link show "$1" 2>/dev/null
}
ok "the tap goes with it" await link_gone "$link"
is "and its class" "$(classes)" "$before"

"$COSCTL" create --type vm --kernel "$TOP_BUILDDIR/tests/vmm/guest" --cmdline test=button stay vm.memory=64M \
	vm.acpi=false
"$COSCTL" start stay
await says stay waiting
link=$(link_of stay)
kill -9 "$(cat "$T/run/cosd.pid")"
await "$COSCTL" version
ok "a machine's link stays when the worker is lost" ip link show "$link"
like "with its class" "$(tc class show dev up0)" 'class htb'
ok "a ceiling can be set" "$COSCTL" set stay net.ceil=1Mbit
like "which the class has" "$(tc class show dev up0)" 'ceil 1Mbit'
kill -9 "$("$COSCTL" status stay | sed -n 's/^pid *//p')"
ok "it goes when cos-vmm is killed" await link_gone "$link"
"$COSCTL" delete --force stay
"$COSCTL" create --type vm --kernel "$TOP_BUILDDIR/tests/vmm/guest" --cmdline test=list none vm.memory=64M net.mode=none
"$COSCTL" start none
ok "without a network there is no card" await says none 'device 4'
ok "no device 1" sh -c "! $COSCTL logs none | grep -q 'device 1\$'"
ping_of bridged 1 56 net.mode=bridge
"$COSCTL" start bridged
ok "on a bridge it gets an answer, too" await says bridged 'echoes 1'
"$COSCTL" delete --all --force
no_links() {
	! ip -o link | grep -q 'alias m'
}
ok "no link is left" await no_links
net_done
